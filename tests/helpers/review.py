"""Reviews of a small table, by a detector that needs no training, for tests of the page."""

from __future__ import annotations

import numpy as np
import pandas as pd

from r2ad2.review import ReviewSession
from tests.helpers.detectors import DistanceDetector

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


def payments(n: int, n_anomalies: int = 0) -> pd.DataFrame:
    """Make rows of which the last ones are anomalies; texts are hostile to web pages."""
    rng = np.random.default_rng(n)
    amount = rng.normal(100, 10, n)
    amount[n - n_anomalies :] += 100
    return pd.DataFrame(
        {
            "amount": amount.round(2),
            "hour": rng.integers(0, 24, n),
            f"kind {HOSTILE}": rng.choice([HOSTILE, "plain"], n),
        }
    )


def payment_session(folder, n: int = 70, *, learns: bool = True, **options) -> ReviewSession:
    """Make a review of `payments`, with ids, whose detector promises a false-positive rate."""
    train = payments(400)
    detector = DistanceDetector(false_positive_rate=0.05, random_state=0).fit(train)
    ids = pd.DataFrame({"id": [f"T{i} {HOSTILE}" for i in range(n)]})
    return ReviewSession(
        detector,
        payments(n, 10),
        train if learns else None,
        labels=folder / "labels.csv",
        ids=ids,
        **options,
    )
