"""Tables whose normal rows all come from one distribution, and shifts of them."""

from __future__ import annotations

import numpy as np
import pandas as pd


def payments(seed: int, n: int = 600, anomaly_share: float = 0.0) -> pd.DataFrame:
    """Draw payments; anomalies have large amounts in one shop."""
    random = np.random.default_rng(seed)
    odd = random.random(n) < anomaly_share
    return pd.DataFrame(
        {
            "amount": random.lognormal(np.where(odd, 6, 3), 0.5),
            "age": random.normal(40, 8, n),
            "shop": np.where(odd, "online", random.choice(["food", "fuel", "online"], n)),
        }
    )


def _where(X: pd.DataFrame, column: str, value: object, share: float) -> pd.DataFrame:
    chosen = np.random.default_rng(7).random(len(X)) < share
    return X.assign(**{column: X[column].mask(chosen, value)})


# Column that moves, and how.
SHIFTS = {
    "scaled": ("age", lambda X: X.assign(age=X["age"] * 1.3)),
    "new category": ("shop", lambda X: _where(X, "shop", "kiosk", 0.06)),
    "missing number": ("age", lambda X: _where(X, "age", np.nan, 0.06)),
    "missing text": ("shop", lambda X: _where(X, "shop", None, 0.06)),
    "out of range": ("age", lambda X: _where(X, "age", 500.0, 0.25)),
    "fewer of a category": ("shop", lambda X: X.assign(shop=X["shop"].replace("fuel", "food"))),
}
