"""Learns the encoding of tables, in memory or chunk by chunk."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as pd_types

from r2ad2.encoders.base import mean_of_present
from r2ad2.encoders.column_sample import ColumnSample, row_priorities
from r2ad2.encoders.columns import (
    CONVERTERS,
    UNKNOWN_TEXT,
    check_table,
    column_kind,
    not_expressible,
)
from r2ad2.encoders.scaling import SCALINGS
from r2ad2.support.messages import count, quoted
from r2ad2.tables.schema import is_identifier
from r2ad2.tables.values import other_spelling

logger = logging.getLogger(__name__)

# The largest number of slots of a category column; less frequent texts share the slot of unknown
# ones.
_MAX_CATEGORIES = 1000
# Days and points in time, with the year first (ISO 8601) or last.
_DATE = re.compile(r"\d{4}-[01]\d-[0-3]\d([T ]\d.*)?|[0-3]?\d([./])[0-3]?\d\2(19|20)\d\d( \d.*)?")
# From this number of rows on, the number of different texts is checked while reading.
_EARLY_ROWS = 100_000


class _TextStatistics:
    """The different texts of a column, and whether they are categories."""

    def __init__(self, name: str):
        self._name = name
        self._declared = True  # the column's type says that it holds categories
        self._n_rows = 0
        self._in_use: Counter[str] = Counter()
        self._counts: dict[str, int] = {}
        self._first_rows: dict[str, int] = {}

    def update(self, column: pd.Series, in_use: np.ndarray) -> None:
        self._declared &= isinstance(column.dtype, pd.CategoricalDtype)
        present = column.notna().to_numpy()
        texts = column[present].astype(str)
        self._in_use.update(Counter(texts[in_use[present]].tolist()))
        counts = {str(text): n for text, n in texts.value_counts(sort=False).items()}
        "".join(counts).encode()  # an error for texts that UTF-8 cannot express
        if not counts.keys() <= self._counts.keys():
            first = texts[~texts.duplicated()]
            for row, text in zip(first.index.tolist(), first.tolist(), strict=True):
                self._first_rows.setdefault(text, self._n_rows + row)
        for text, n in counts.items():
            self._counts[text] = self._counts.get(text, 0) + n
        self._n_rows += len(column)
        if self._n_rows >= _EARLY_ROWS:  # do not collect millions of identifiers
            self._require_few(complete=False)

    def _require_no_dates(self) -> None:
        if not self._declared and self._counts and all(map(_DATE.fullmatch, self._counts)):
            raise ValueError(
                f"column {quoted(self._name)} holds dates as texts, like "
                f"{quoted(next(iter(self._counts)))}: convert them with pd.to_datetime (command "
                "line: name the column with --datetime), or drop it"
            )

    def _require_few(self, complete: bool = True) -> None:
        n_texts, n_present = len(self._counts), sum(self._counts.values())
        found = is_identifier(n_texts, n_present if complete else None, self._n_rows)
        if not self._declared and found:
            self._require_no_dates()  # these have another remedy
            raise ValueError(
                f"column {quoted(self._name)} holds {len(self._counts):,} different texts in "
                f"{count(self._n_rows, 'row')}: an identifier says nothing about new rows, drop it"
            )

    def _require_no_numbers(self) -> None:
        texts = list(self._counts)
        is_text = pd.to_numeric(pd.Series(texts), errors="coerce").isna()
        others = [text for text, odd in zip(texts, is_text, strict=True) if odd]
        n_others = sum(self._counts[text] for text in others)
        n_present = sum(self._counts.values())
        if not self._declared and 0 < n_others <= 0.5 * n_present:
            odd = min(others, key=lambda text: self._first_rows[text])
            raise ValueError(
                f"column {quoted(self._name)} looks numeric, but row {self._first_rows[odd]} holds "
                f'{quoted(odd)}: correct the value, leave it empty (with missing="indicator"), '
                'or make the column a category with astype("category")'
            )

    def categories(self) -> list[str]:
        """Return the sorted texts of the rows in use: all, or the most frequent ones.

        Codes that are spelt in two ways, "80" and "80.0", are one category.

        Raises:
            ValueError: if most of them are numbers, all are dates, or there are too many.
        """
        self._require_no_numbers()
        self._require_no_dates()
        self._require_few()
        counts = {text: n for text, n in self._in_use.items() if text != UNKNOWN_TEXT}
        for text in [text for text in counts if text.endswith(".0")]:
            if (other := other_spelling(text)) != text and other in counts:
                counts[other] += counts.pop(text)
        if len(counts) > _MAX_CATEGORIES:
            logger.warning(
                "column %s holds %s different texts: the %s most frequent ones get a slot each, "
                "all others share one",
                quoted(self._name),
                f"{len(counts):,}",
                f"{_MAX_CATEGORIES:,}",
            )
        # Of equally frequent texts the first in the alphabet: the order of the rows has no effect.
        frequent = sorted(counts, key=lambda text: (-counts[text], text))
        return sorted(frequent[:_MAX_CATEGORIES])


class TableStatistics:
    """What a `TableEncoder` learns, collected from a training table chunk by chunk.

    Args:
        missing: how to treat missing values: "error" or "indicator".
        scaling: how to scale numeric columns, a name in `SCALINGS`.
    """

    def __init__(self, missing: str = "error", scaling: str = "minmax") -> None:
        self.n_rows = 0
        self._scaling = SCALINGS[scaling]
        self._samples: dict[str, ColumnSample] = {}
        self._missing = missing
        self._kinds: dict[str, str] = {}
        self._ranges: dict[str, tuple[float, float]] = {}
        self._means: dict[str, tuple[float, int]] = {}
        self._text_statistics: dict[str, _TextStatistics] = {}
        self._types: dict[str, set[str]] = {}

    def update(
        self, samples: pd.DataFrame, is_normal: np.ndarray, in_use: np.ndarray | None = None
    ) -> None:
        """Add the next rows; ranges are learnt from the normal ones, categories from all.

        Args:
            samples: the rows.
            is_normal: (rows,) whether to learn ranges from a row.
            in_use: (rows,) whether to learn categories from a row; by default from all.

        Raises:
            ValueError: for rows that cannot be encoded, or not like earlier rows.
        """
        table = check_table(samples, self._missing)
        if in_use is None:
            in_use = np.ones(len(table), dtype=bool)
        if not self.n_rows:
            self._kinds = {str(name): column_kind(str(name), table[name]) for name in table}
        dtypes = table.dtypes.to_dict()
        for name, kind in self._kinds.items():
            if kind == "number":
                self._types.setdefault(name, set()).add(_number_type(dtypes[name]))
        plain = [name for name in self._kinds if dtypes[name] == np.float64]
        block = table[plain].to_numpy()  # much faster than column by column
        rows = self.n_rows + np.flatnonzero(is_normal)
        if not np.isfinite(block).all():
            plain = []  # checking column by column names the culprit
        done = set(plain)
        for name, kind in self._kinds.items():
            if name in done and kind == "number":
                continue
            column = table[name]
            if column_kind(name, column) != kind and column.notna().any():
                raise ValueError(
                    f"column {quoted(name)} holds {column_kind(name, column)}s, but {kind}s in the "
                    "earlier rows: give it one type"
                )
            if kind == "text":
                statistics = self._text_statistics.setdefault(name, _TextStatistics(name))
                try:
                    statistics.update(column, in_use)
                except UnicodeEncodeError as error:
                    raise not_expressible(name, column) from error
                continue
            values = CONVERTERS[kind](name, column)
            if kind == "number":
                self._widen([name], values[is_normal, np.newaxis], rows)
        if plain:
            self._widen(plain, block[is_normal], rows)
        self.n_rows += len(table)

    def _widen(self, names: list[str], normal: np.ndarray, rows: np.ndarray) -> None:
        """Widen the ranges of columns to include their normal values (rows, columns)."""
        if not len(normal):
            return
        if self._scaling.needs_sample:
            priorities = row_priorities(rows)
            for name, values in zip(names, normal.T, strict=True):
                self._samples.setdefault(name, ColumnSample()).update(values, priorities)
        # These skip NaN.
        low, high = np.fmin.reduce(normal, axis=0), np.fmax.reduce(normal, axis=0)
        for name, lowest, highest in zip(names, low, high, strict=True):
            before = self._ranges.get(name, (lowest, highest))
            self._ranges[name] = (
                float(np.fmin(before[0], lowest)),
                float(np.fmax(before[1], highest)),
            )
        if self._missing == "indicator":
            for name, mean, n in zip(names, *mean_of_present(normal), strict=True):
                earlier, n_earlier = self._means.get(name, (0.0, 0))
                share = int(n) / max(n_earlier + int(n), 1)
                self._means[name] = (
                    earlier * (1 - share) + float(mean) * share,
                    n_earlier + int(n),
                )

    def result(self) -> dict[str, Any]:
        """Return the arguments of the `TableEncoder` for these rows.

        Raises:
            ValueError: if none of them was normal, or a text column holds no categories.
        """
        numbers = [name for name, kind in self._kinds.items() if kind == "number"]
        if any(name not in self._ranges for name in numbers) or not self.n_rows:
            raise ValueError("there are no normal rows to learn the encoding from")
        # A column without a single normal value is constant.
        ranges = {name: tuple(np.nan_to_num(self._ranges[name]).tolist()) for name in numbers}
        low, high = zip(*ranges.values(), strict=True) if ranges else ((), ())
        samples = [self._samples[name] for name in numbers if name in self._samples]
        types = {name: kinds.pop() for name, kinds in self._types.items() if len(kinds) == 1}
        return {
            "columns": list(self._kinds),
            "ranges": ranges,
            "categories": {
                name: texts.categories() for name, texts in self._text_statistics.items()
            },
            "timestamps": [name for name, kind in self._kinds.items() if kind == "timestamp"],
            "fills": (
                {name: mean for name, (mean, _) in self._means.items()}
                if self._missing == "indicator"
                else None
            ),
            "types": {name: kind for name, kind in types.items() if kind != "float64"},
            "scaling": self._scaling.learn(low, high, samples).get_config(),
        }


def _number_type(dtype: Any) -> str:
    """Return "bool", "int64" or "float64"."""
    if pd_types.is_bool_dtype(dtype):
        return "bool"
    # Not all numbers of uint64 are numbers of int64; they are encoded as doubles in any case.
    too_large = pd_types.is_unsigned_integer_dtype(dtype) and "64" in str(dtype)
    is_whole = pd_types.is_integer_dtype(dtype) and not too_large
    return "int64" if is_whole else "float64"
