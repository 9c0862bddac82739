"""Which labels mean anomaly: of samples in memory, and in the label column of a table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from r2ad2.columns import as_seconds
from r2ad2.encoding import InputTypeError
from r2ad2.support.messages import count, did_you_mean, quoted, reason_of

logger = logging.getLogger(__name__)


def encode_labels(
    y: Any, n_samples: int, anomaly_label: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find out which of two labels means anomaly.

    Args:
        y: labels (n_samples,) of at most two values; None: no anomaly is known.
        n_samples: how many there must be.
        anomaly_label: the one that means anomaly; by default the greater of two, and 1.

    Returns:
        The classes (normal, anomaly), and labels (n_samples,): 1 = known anomaly, 0 = all others.

    Raises:
        ValueError: for another number of labels or classes, missing labels, or no normal sample.
    """
    if y is None:
        return np.array([0, 1 if anomaly_label is None else anomaly_label]), np.zeros(
            n_samples, dtype=np.int64
        )
    if isinstance(y, str):
        raise ValueError(f"y must hold the labels, got {quoted(y)}: pass a column of your table")
    y = column_or_1d(y, warn=True)
    if len(y) != n_samples:
        raise ValueError(f"X has {count(n_samples, 'sample')}, but y has {count(len(y), 'label')}")
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
        anomaly = anomaly_label
        if len(classes) == 2 and anomaly not in classes.tolist():
            raise ValueError(
                f"anomaly_label={quoted(anomaly_label)} is none of the labels "
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
            "label %s counts as anomaly, %s as normal: say by anomaly_label if it is so",
            *map(quoted, classes[::-1].tolist()),
        )
    n_known = int(is_anomaly.sum())
    if n_known > len(y) - n_known:
        logger.warning(
            "known anomalies outnumber normal samples, %s to %s: is the anomaly's label the right "
            "one?",
            f"{n_known:,}",
            f"{len(y) - n_known:,}",
        )
    # Fixed-width texts may have to be longer than those of y.
    pair = np.array([normal, anomaly], dtype=None if y.dtype.kind in "US" else y.dtype)
    return pair, is_anomaly.astype(np.int64)


def _texts(column: pd.Series) -> pd.Series:
    """Values as texts; whole numbers without a decimal point, so that 1, 1.0 and "1" agree."""
    if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(str).str.strip()
    return column.astype(object).map(lambda value: f"{value:g}")


@dataclass(frozen=True)
class TableSource:
    """How a labelled table is read: its label column, what counts as anomaly, what to leave out.

    Attributes:
        label: name of the label column.
        anomalous: values that mean a known anomaly; all others are normal or unlabelled.
        normal: values that mean normal; all others are known anomalies.
        drop: columns to leave out.
        header: whether a CSV file names its columns.
        timestamps: columns of texts that are dates.
    """

    label: str
    anomalous: Sequence[str] = field(default=())
    normal: Sequence[str] = field(default=())
    drop: Sequence[str] = field(default=())
    header: bool = True
    timestamps: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        if self.anomalous and self.normal:
            raise ValueError("name either the anomalous or the normal label values, not both")

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def features(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table without label and dropped columns, which need not be there.

        Raises:
            ValueError: if a column of timestamps holds anything else.
        """
        table = table.drop(columns=[self.label, *self.drop], errors="ignore")
        seconds = {n: as_seconds(n, table[n]) for n in self.timestamps if n in table}
        return table.assign(**{n: pd.to_datetime(v, unit="s") for n, v in seconds.items()})

    def column(self, table: pd.DataFrame) -> pd.Series:
        """Return the label column.

        Raises:
            ValueError: if there is no such column.
        """
        if self.label not in table:
            raise ValueError(
                f"there is no label column {self.label!r}{did_you_mean(self.label, table.columns)}"
            )
        column = table[self.label]
        if isinstance(column, pd.DataFrame):
            raise ValueError(
                f"there are {column.shape[1]} label columns {self.label!r}: rename the others"
            )
        return column

    def labels(self, table: pd.DataFrame, *, partial: bool = False) -> np.ndarray:
        """Return 1 for known anomalies and 0 for all other rows.

        Args:
            table: rows with the label column.
            partial: whether these are only some rows of the table, so that the named values may
                be absent.

        Raises:
            ValueError: if there is no label column, or its values are not clear.
        """
        column = self.column(table)
        named = list(self.anomalous) or list(self.normal)
        try:
            n_missing = int(column.isna().sum())
        except ArithmeticError as error:  # of decimal numbers whose comparison is an error
            raise ValueError(
                f"label column {self.label!r} holds a number that nothing can be compared with"
            ) from error
        if n_missing and not self.anomalous:
            raise ValueError(
                f"label column {self.label!r} is empty in {count(n_missing, 'row')}: fill it, or "
                "name the anomalous values, then all other rows count as normal"
            )
        texts = _texts(column)
        if named:
            return self._by_name(texts, named, partial)
        values = sorted(texts.unique())
        if not set(values) <= {"0", "1"}:
            first = ", ".join(map(quoted, values[:5]))
            raise ValueError(
                f"label column {self.label!r} holds {count(len(values), 'different value')} "
                f"({first}{', ...' if len(values) > 5 else ''}) instead of 0 and 1: say which mean "
                "anomaly (--anomaly) or normal (--normal)"
            )
        return (texts == "1").to_numpy(dtype=np.int64)

    def _by_name(self, texts: pd.Series, named: list[str], partial: bool) -> np.ndarray:
        if not partial and not texts.isin(named).any():
            raise ValueError(
                f"label column {self.label!r} holds none of {', '.join(map(repr, named))}; it "
                f"holds {', '.join(map(quoted, sorted(map(str, texts.unique()))[:5]))}"
            )
        found = texts.isin(named).to_numpy()
        return (found if self.anomalous else ~found).astype(np.int64)
