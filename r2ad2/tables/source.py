"""How a labelled table is read: the label column, what counts as an anomaly, what to leave out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from r2ad2.support.messages import count, did_you_mean, quoted
from r2ad2.tables.values import as_texts, check_format, missing_texts

_MAX_LABELS = 1000  # enough for an error message that lists them
_WHOLE = re.compile(r"([+-]?)0*(\d+)(\.0*)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def label_text(value: Any) -> str:
    """Write a label so that different spellings agree: 1, "1.0" and " 1"; True and "TRUE"."""
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    if whole:
        return f"{'-' if whole[1] == '-' and whole[2] != '0' else ''}{whole[2]}"
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    return f"{number:.0f}" if number.is_integer() and abs(number) < 2**53 else repr(number)


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
        separator: the character between values; empty: found in each file.
        decimal: the decimal sign of numbers in texts; empty: found in training, then ".".
        encoding: encoding of text files; empty: UTF-8, or as the byte order mark says.
        types: kind of columns by name: "number", "boolean", "category" or "date".
        formats: format of date columns by name: "iso", "time", "epoch" or of strptime.
    """

    label: str
    anomalous: Sequence[str] = field(default=())
    normal: Sequence[str] = field(default=())
    drop: Sequence[str] = field(default=())
    header: bool = True
    timestamps: Sequence[str] = field(default=())
    separator: str = ""
    decimal: str = ""
    encoding: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.anomalous and self.normal:
            raise ValueError("name either the anomalous or the normal label values, not both")
        if (self.anomalous or self.normal) and not self.label:
            raise ValueError(
                "anomalous or normal label values need the name of the label column (command line: "
                "--anomaly and --normal need --label)"
            )

        if self.decimal not in ("", ".", ","):
            raise ValueError(f"the decimal sign must be . or , got {self.decimal!r}")
        for name, format_ in self.formats.items():
            check_format(name, format_)

    def relabelled(
        self, label: str = "", anomalous: Sequence[str] = (), normal: Sequence[str] = ()
    ) -> TableSource:
        """Return the same with another label column or meaning of its values, where given.

        The label column of before is not a feature either.
        """
        drop = (*self.drop, self.label) if label and label != self.label else self.drop
        changed = replace(self, label=label or self.label, drop=drop)
        if not (anomalous or normal):
            return changed
        return replace(changed, anomalous=tuple(anomalous), normal=tuple(normal))

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

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
        spelt = column.astype(str).str.strip()
        texts = spelt.map({text: label_text(text) for text in spelt.unique()})
        if pd.api.types.is_numeric_dtype(column.dtype):
            spelt = texts
        if named:
            return self._by_name(texts, spelt, column.notna(), named, partial)
        values = sorted(texts.unique())
        if not set(values) <= {"0", "1"}:
            first = ", ".join(map(quoted, values[:5]))
            raise ValueError(
                f"label column {self.label!r} holds {count(len(values), 'different value')} "
                f"({first}{', ...' if len(values) > 5 else ''}) instead of 0 and 1: name those "
                "that mean anomaly (--anomaly) or normal (--normal)"
            )
        return (texts == "1").to_numpy(dtype=np.int64)

    def _by_name(
        self,
        texts: pd.Series,
        spelt: pd.Series,
        present: pd.Series,
        named: list[str],
        partial: bool,
    ) -> np.ndarray:
        found = (texts.isin(set(map(label_text, named))) & present).to_numpy(dtype=bool)
        if not partial and not found.any():
            raise ValueError(
                f"label column {self.label!r} holds none of {', '.join(map(repr, named))}; it "
                f"holds {', '.join(map(quoted, sorted(spelt[present].unique())[:5]))}"
            )
        return (found if self.anomalous else ~found).astype(np.int64)

    def label_column(self, array: pa.Array) -> pd.Series:
        """Return labels as read from a file; texts like "NA" are missing unless they are named."""
        texts = as_texts(array)
        if texts is None:
            return array.to_pandas(types_mapper=pd.ArrowDtype)
        trimmed = pc.utf8_trim_whitespace(texts)
        named = pa.array([*self.anomalous, *self.normal], pa.string())
        missing = pc.and_not(missing_texts(trimmed), pc.is_in(trimmed, value_set=named))
        return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed).to_pandas()


class LabelReader:
    """Reads the labels of a table chunk by chunk.

    Args:
        source: which values mean anomaly.
    """

    def __init__(self, source: TableSource):
        self.source = source
        self._values: dict[Any, None] = {}  # the first ones, for a message
        self._found = False  # whether a named value occurred, be it after those
        named = source.anomalous or source.normal
        self._absent = {label_text(value): value for value in named}

    def read(self, array: pa.Array) -> np.ndarray:
        """Return 1 for known anomalies and 0 for all other rows (n,).

        Raises:
            ValueError: if the labels are not clear.
        """
        column = self.source.label_column(array)
        if self._absent or len(self._values) < _MAX_LABELS:
            values = column.dropna().unique().tolist()
            for text in map(label_text, values):
                self._absent.pop(text, None)
            if len(self._values) < _MAX_LABELS:
                self._values |= dict.fromkeys(values)
        labels = self.source.labels(column.to_frame(self.source.label), partial=True)
        self._found = self._found or bool((labels == bool(self.source.anomalous)).any())
        return labels

    @property
    def notes(self) -> list[str]:
        """What the user should know: named values that did not occur."""
        if not self._absent:
            return []
        values = ", ".join(map(quoted, self._absent.values()))
        return [f"no row has the label {values} in column {quoted(self.source.label)}"]

    def check(self) -> None:
        """Check that the named values occurred.

        Raises:
            ValueError: if none of them did.
        """
        if not self._found:
            values = pd.Series(list(self._values), dtype=object)
            self.source.labels(values.to_frame(self.source.label))
