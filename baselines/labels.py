"""What methods that learn from known anomalies require of the labels."""

from __future__ import annotations

import numpy as np


def require_known_anomalies(method: str, y: np.ndarray, least: int = 1) -> None:
    """Check that there are enough known anomalies to learn from.

    Args:
        method: its name, for the message.
        y: labels (n,), 1 = known anomaly.
        least: how many the method needs.

    Raises:
        ValueError: if there are fewer.
    """
    if np.count_nonzero(y == 1) < least:
        needed = "one known anomaly" if least == 1 else f"{least} known anomalies"
        it = "it" if least == 1 else "them"
        raise ValueError(f"{method} needs at least {needed} to train on: label {it} 1 in y")
