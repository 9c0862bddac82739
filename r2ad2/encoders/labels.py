"""Which of two labels means anomaly, for samples in memory."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from r2ad2.encoders.base import InputTypeError
from r2ad2.support.messages import count, quoted, reason_of

logger = logging.getLogger(__name__)


def encode_labels(
    y: Any, n_samples: int, anomaly_label: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find out which of two labels means anomaly.

    Args:
        y: labels (n_samples,) with up to two different values; None: no anomaly is known.
        n_samples: the number of samples.
        anomaly_label: the label that means anomaly, as a value or as its spelling ("true", "1.0");
            by default the greater of two, else 1. Without y, normal is 0, or 1 if 0 is the anomaly.

    Returns:
        The classes (normal, anomaly), and labels (n_samples,): 1 = known anomaly, 0 = all others.

    Raises:
        ValueError: for another number of labels or classes, missing labels, or no normal sample.
    """
    if y is None:
        anomaly = 1 if anomaly_label is None else anomaly_label
        normal = 1 if _have_same_spelling(anomaly, 0) or anomaly == 0 else 0  # "0" and False, too
        return np.array([normal, anomaly]), np.zeros(n_samples, dtype=np.int64)
    if isinstance(y, str):
        raise ValueError(f"y must hold the labels, got {quoted(y)}: pass a column of your table")
    y = column_or_1d(y, warn=True)
    if len(y) != n_samples:
        raise ValueError(f"X has {count(n_samples, 'sample')}, but y has {count(len(y), 'label')}")
    if y.dtype.kind in "mM":
        raise InputTypeError("y holds dates or durations, not labels: label known anomalies 1")
    try:
        n_missing = int(pd.isna(y).sum())
        if n_missing:
            raise ValueError(f"Input y contains NaN: {count(n_missing, 'missing label')}")
        check_classification_targets(y)
        classes = np.unique(y)
    except (TypeError, ArithmeticError) as error:
        raise InputTypeError(
            f"y holds labels that cannot be compared: {reason_of(error)}"
        ) from error
    if len(classes) > 2:
        first = ", ".join(map(quoted, classes[:5].tolist()))
        raise ValueError(
            "Only binary classification is supported. The type of the target is multiclass: y has "
            f"{len(classes)} different labels ({first}{', ...' if len(classes) > 5 else ''}); "
            "label known anomalies 1 and all other samples 0"
        )
    is_numeric = y.dtype.kind in "iufb"
    if anomaly_label is None:
        anomaly = classes[1] if len(classes) == 2 else (1 if is_numeric else "anomaly")
    else:
        anomaly = as_spelt(anomaly_label, classes.tolist())
        if len(classes) == 2 and anomaly not in classes.tolist():
            raise ValueError(
                f"anomaly_label={quoted(anomaly_label)} is not one of the labels "
                f"{', '.join(map(quoted, classes.tolist()))}"
            )
    is_anomaly = y == anomaly
    if is_anomaly.all():
        raise ValueError(
            f"all {len(y):,} samples are labelled anomalous ({quoted(anomaly)}): no normal rows to "
            "learn from, only one class"
        )
    normal = classes[classes != anomaly][0]
    if anomaly_label is None and not is_numeric and len(classes) == 2:
        logger.warning(
            "label %s counts as the anomaly, %s as normal: confirm or change it with anomaly_label",
            *map(quoted, classes[::-1].tolist()),
        )
    n_known = int(is_anomaly.sum())
    if n_known > len(y) - n_known:
        logger.warning(
            "known anomalies outnumber normal samples, %s to %s: is the anomaly label correct?",
            f"{n_known:,}",
            f"{len(y) - n_known:,}",
        )
    # The default normal or anomaly label may be longer than the fixed-width texts of y.
    dtype = None if y.dtype.kind in "US" else y.dtype
    try:
        pair = np.array([normal, anomaly], dtype=dtype)
    except ValueError as error:  # a text where labels are numbers
        raise ValueError(
            f"anomaly_label={quoted(anomaly_label)} is not of the type of the only label, "
            f"{quoted(classes.tolist()[0])}"
        ) from error
    return pair, is_anomaly.astype(np.int64)


def as_spelt(label: Any, classes: list[Any]) -> Any:
    """Return the only class that is spelt like a label, else the label itself."""
    if label in classes:
        return label
    alike = [value for value in classes if _have_same_spelling(label, value)]
    return alike[0] if len(alike) == 1 else label


def _have_same_spelling(label: Any, value: Any) -> bool:
    """Compare without regard to case, and numbers by their value: "1.0" is 1, "TRUE" is True."""
    texts = [str(one).strip().casefold() for one in (label, value)]
    try:
        return texts[0] == texts[1] or float(texts[0]) == float(texts[1])
    except ValueError:
        return False
