"""How a labelled table is read: the label column, what counts as an anomaly, what to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.support.messages import count, did_you_mean, quoted
from r2ad2.tables.dates import as_seconds


def _label_texts(column: pd.Series) -> pd.Series:
    """Write labels as texts; whole numbers without a decimal point, so that 1, 1.0, "1" agree."""
    if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(str).str.strip()
    return column.astype(object).map(lambda value: f"{value:g}")


@dataclass(frozen=True)
class TableSource:
    """How a labelled table is read: its label column, what counts as an anomaly, what to leave out.

    Attributes:
        label: name of the label column; empty if there is none.
        anomalous: label values of known anomalies; all other rows are normal or unlabelled.
        normal: label values of normal rows; all other rows are known anomalies.
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
        if (self.anomalous or self.normal) and not self.label:
            raise ValueError(
                "anomalous or normal label values need the name of the label column (command line: "
                "--anomaly and --normal need --label)"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    def features(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the table without label and dropped columns, which may be absent.

        Raises:
            ValueError: if a timestamp column holds other values.
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
            partial: whether these are only some rows of the table, which may lack the named values.

        Raises:
            ValueError: if there is no label column, or its values are not clear.
        """
        column = self.column(table)
        named = list(self.anomalous) or list(self.normal)
        try:
            n_missing = int(column.isna().sum())
        except ArithmeticError as error:  # signalling NaN of decimal numbers
            raise ValueError(
                f"label column {self.label!r} holds a number that cannot be compared (sNaN)"
            ) from error
        if n_missing and not self.anomalous:
            raise ValueError(
                f"label column {self.label!r} is empty in {count(n_missing, 'row')}: fill it, or "
                "name the anomalous values, then all other rows count as normal"
            )
        texts = _label_texts(column)
        if named:
            return self._by_name(texts, named, partial)
        values = sorted(texts.unique())
        if not set(values) <= {"0", "1"}:
            first = ", ".join(map(quoted, values[:5]))
            raise ValueError(
                f"label column {self.label!r} holds {count(len(values), 'different value')} "
                f"({first}{', ...' if len(values) > 5 else ''}) instead of 0 and 1: name those "
                "that mean anomaly (--anomaly) or normal (--normal)"
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
