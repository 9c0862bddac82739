"""Encoder of mixed tables: min-max scaling of numbers, one-hot slots for categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pandas.api import types

from r2ad2.encoding import InputEncoder, count, scale

# Above this number of different values, mostly unique ones, a text column is an identifier.
_MAX_CATEGORIES = 1000
# From this number of rows on, too many different texts are noticed while reading.
_EARLY_ROWS = 100_000


def _column_names(table: pd.DataFrame) -> list[str]:
    names = [str(name) for name in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"column name {twice[0]!r} appears more than once: rename the columns")
    return names


def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with text column names and a plain row index, without missing values.

    Raises:
        ValueError: for no rows or columns, repeated column names, or missing values.
    """
    table = table.set_axis(_column_names(table), axis=1).reset_index(drop=True)
    if table.shape[0] == 0 or table.shape[1] == 0:
        raise ValueError(
            f"Found array with {table.shape[0]} sample(s) and {table.shape[1]} feature(s) while a "
            "minimum of 1 is required."
        )
    missing = table.isna().sum()
    missing = missing[missing > 0]
    if len(missing):
        named = ", ".join(f"{name!r} ({count(n, 'row')})" for name, n in missing.head(5).items())
        raise ValueError(
            f"Input X contains NaN: missing values in column {named}"
            f"{', ...' if len(missing) > 5 else ''}; fill or drop them first"
        )
    return table


def _is_text(name: str, column: pd.Series) -> bool:
    """Decide whether a training column holds categories (True) or numbers (False)."""
    dtype = column.dtype
    if types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype):
        if types.is_complex_dtype(dtype):
            raise ValueError(f"column {name!r} holds complex numbers: split or drop them")
        return False
    if not (
        isinstance(dtype, pd.CategoricalDtype)
        or types.is_string_dtype(dtype)
        or types.is_object_dtype(dtype)
    ):
        raise ValueError(
            f"column {name!r} has type {dtype}, which cannot be encoded: convert it to numbers or "
            "text, or drop it"
        )
    if isinstance(dtype, (pd.CategoricalDtype, pd.StringDtype)):
        return True
    kinds = {type(value) for value in column}
    if kinds != {str}:
        if all(issubclass(kind, (int, float, np.number, bool)) for kind in kinds):
            return False
        text = next((row for row, value in enumerate(column) if isinstance(value, str)), 0)
        named = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"column {name!r} mixes values of type {named} (row {text} holds "
            f"{column.iloc[text]!r}): give it one type"
        )
    return True


def _as_numbers(name: str, column: pd.Series) -> np.ndarray:
    """Return a column as finite float64 numbers."""
    if column.dtype == np.float64:  # the usual case needs no more than one look
        values = column.to_numpy()
        if np.isfinite(values).all():
            return values
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    numbers = pd.to_numeric(column, errors="coerce")
    bad = np.flatnonzero(numbers.isna().to_numpy())
    if len(bad):
        raise ValueError(
            f"column {name!r} is numeric, but row {bad[0]} holds {column.iloc[bad[0]]!r}"
        )
    values = numbers.to_numpy(dtype=np.float64)
    infinite = np.flatnonzero(~np.isfinite(values))
    if len(infinite):
        raise ValueError(
            f"column {name!r} holds an infinite value (infinity) in {count(len(infinite), 'row')}, "
            f"first in row {infinite[0]}: replace or drop these rows"
        )
    return values


def _as_texts(column: pd.Series) -> np.ndarray:
    return column.astype(str).to_numpy(dtype=object)


@keras.saving.register_keras_serializable("r2ad2")
class TableEncoder(InputEncoder):
    """Encodes a DataFrame: numbers by min-max scaling, texts by one-hot with an unknown slot.

    Ranges are learnt on the normal training rows, categories on all training rows. Numbers come
    first in the encoded sample, then the slots of each category column (the first slot is for
    values that did not occur in training).

    Args:
        columns: all column names in the order of training.
        ranges: (minimum, maximum) of each numeric column, by name.
        categories: texts of each category column, by name.
    """

    def __init__(
        self,
        columns: Sequence[str],
        ranges: Mapping[str, Sequence[float]],
        categories: Mapping[str, Sequence[str]],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.columns = list(columns)
        self.ranges = {name: (float(low), float(high)) for name, (low, high) in ranges.items()}
        self.categories = {name: list(values) for name, values in categories.items()}
        self._lookups = [
            keras.layers.StringLookup(
                vocabulary=values,
                num_oov_indices=1,
                oov_token="\x00",  # no text of a table can be this one
                output_mode="int",
            )
            for values in self.categories.values()
        ]

    @classmethod
    def learn(cls, samples: pd.DataFrame, is_normal: np.ndarray) -> TableEncoder:
        """Learn ranges on the normal rows and categories on all rows."""
        statistics = TableStatistics()
        statistics.update(samples, is_normal)
        return statistics.encoder()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(encoded features,)."""
        return (len(self.feature_names),)

    @property
    def feature_names(self) -> list[tuple[str, str | None]]:
        """Source column of each encoded feature, and the category whose slot it is (or None).

        The slot of unknown values has the category "".
        """
        slots = [
            (name, value) for name, values in self.categories.items() for value in ["", *values]
        ]
        return [*((name, None) for name in self.ranges), *slots]

    def prepare(self, samples: Any) -> dict[str, np.ndarray]:
        """Check the columns and return each as an array, whatever their order."""
        if not isinstance(samples, pd.DataFrame):
            raise ValueError(
                f"the detector was trained on a DataFrame with {len(self.columns)} columns, got "
                f"{type(samples).__name__}: pass a DataFrame with the same columns"
            )
        names = _column_names(samples)
        missing = [name for name in self.columns if name not in names]
        extra = [name for name in names if name not in self.columns]
        if missing or extra:
            problems = [
                f"{kind} column {', '.join(map(repr, which[:5]))}{', ...' if which[5:] else ''}"
                for kind, which in (("missing", missing), ("unexpected", extra))
                if which
            ]
            raise ValueError(f"columns differ from those of training: {'; '.join(problems)}")
        table = check_table(samples)
        numbers = {name: _as_numbers(name, table[name]) for name in self.ranges}
        texts = {name: _as_texts(table[name]) for name in self.categories}
        return numbers | texts

    def call(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Encode a dict of column tensors (batch,)."""
        columns = [tf.cast(tf.reshape(inputs[name], [-1]), tf.float64) for name in self.ranges]
        codes = {
            name: lookup(tf.reshape(inputs[name], [-1]))
            for name, lookup in zip(self.categories, self._lookups, strict=True)
        }
        return self.encode(tf.stack(columns, axis=1) if columns else None, codes)

    def encode(self, numbers: tf.Tensor | None, codes: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Encode number columns that are stacked already, and categories that are numbered.

        Args:
            numbers: float64 tensor (batch, number columns), in the order of `ranges`.
            codes: integer tensor (batch,) of each category column: 0 for unknown texts, else one
                more than the text's position in `categories`.
        """
        parts = []
        if numbers is not None and self.ranges:
            low, high = zip(*self.ranges.values(), strict=True)
            parts.append(scale(numbers, low, high))
        for name, values in self.categories.items():
            parts.append(tf.one_hot(codes[name], len(values) + 1, dtype=tf.float32))
        return tf.concat(parts, axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return columns, ranges and categories."""
        return {
            "name": self.name,
            "columns": self.columns,
            "ranges": {name: list(limits) for name, limits in self.ranges.items()},
            "categories": self.categories,
        }


class _TextStatistics:
    """The different texts of a column, and whether they are categories."""

    def __init__(self, name: str):
        self._name = name
        self._declared = True  # as categories, by their type
        self._n_rows = 0
        self._counts: dict[str, int] = {}
        self._first_rows: dict[str, int] = {}

    def update(self, column: pd.Series) -> None:
        self._declared &= isinstance(column.dtype, pd.CategoricalDtype)
        texts = column.astype(str)
        counts = {str(text): n for text, n in texts.value_counts(sort=False).items()}
        if not counts.keys() <= self._counts.keys():
            first = texts[~texts.duplicated()]
            for row, text in zip(first.index.tolist(), first.tolist(), strict=True):
                self._first_rows.setdefault(text, self._n_rows + row)
        for text, n in counts.items():
            self._counts[text] = self._counts.get(text, 0) + n
        self._n_rows += len(column)
        if self._n_rows >= _EARLY_ROWS:  # do not gather millions of identifiers
            self._require_few()

    def _require_few(self) -> None:
        if not self._declared and len(self._counts) > max(_MAX_CATEGORIES, self._n_rows // 2):
            raise ValueError(
                f"column {self._name!r} holds {len(self._counts):,} different texts in "
                f"{count(self._n_rows, 'row')}: an identifier tells nothing about new rows, drop it"
            )

    def _require_no_numbers(self) -> None:
        texts = list(self._counts)
        is_text = pd.to_numeric(pd.Series(texts), errors="coerce").isna()
        others = [text for text, odd in zip(texts, is_text, strict=True) if odd]
        n_others = sum(self._counts[text] for text in others)
        if not self._declared and 0 < n_others <= 0.5 * self._n_rows:
            odd = min(others, key=lambda text: self._first_rows[text])
            raise ValueError(
                f"column {self._name!r} looks numeric, but row {self._first_rows[odd]} holds "
                f"{odd!r}: correct the value, or make it a category with "
                'astype("category")'
            )

    def categories(self) -> list[str]:
        """Return the texts in order.

        Raises:
            ValueError: if most of them are numbers, or there are too many.
        """
        self._require_no_numbers()
        self._require_few()
        return sorted(self._counts)


class TableStatistics:
    """What a `TableEncoder` learns, gathered from a training table piece by piece."""

    def __init__(self) -> None:
        self.n_rows = 0
        self._columns: list[str] = []
        self._ranges: dict[str, tuple[float, float]] = {}
        self._texts: dict[str, _TextStatistics] = {}

    def update(self, samples: pd.DataFrame, is_normal: np.ndarray) -> None:
        """Take in the next rows; ranges are learnt on the normal ones, categories on all.

        Raises:
            ValueError: for rows that cannot be encoded, or not as those before.
        """
        table = check_table(samples)
        if not self.n_rows:
            self._columns = [str(name) for name in table.columns]
            self._texts = {n: _TextStatistics(n) for n in self._columns if _is_text(n, table[n])}
        dtypes = table.dtypes
        plain = [name for name in self._columns if dtypes[name] == np.float64]
        block = table[plain].to_numpy()  # at once, which is much faster than column by column
        if not np.isfinite(block).all():
            plain = []  # the slow way names the culprit
        for name in self._columns:
            is_text = name in self._texts
            if name in plain and not is_text:
                continue
            if _is_text(name, table[name]) != is_text:
                raise ValueError(
                    f"column {name!r} holds {'numbers' if is_text else 'text'}, but "
                    f"{'text' if is_text else 'numbers'} in the rows before: give it one type"
                )
            if is_text:
                self._texts[name].update(table[name])
            elif name not in plain:
                self._widen([name], _as_numbers(name, table[name])[is_normal, np.newaxis])
        if plain:
            self._widen(plain, block[is_normal])
        self.n_rows += len(table)

    def _widen(self, names: list[str], normal: np.ndarray) -> None:
        """Widen the ranges of columns to include their normal values (rows, columns)."""
        if not len(normal):
            return
        for name, low, high in zip(names, normal.min(axis=0), normal.max(axis=0), strict=True):
            lowest, highest = self._ranges.get(name, (low, high))
            self._ranges[name] = (min(lowest, low), max(highest, high))

    def encoder(self) -> TableEncoder:
        """Return the encoder for these rows.

        Raises:
            ValueError: if none of them was normal, or a text column holds no categories.
        """
        categories = {name: texts.categories() for name, texts in self._texts.items()}
        numbers = [name for name in self._columns if name not in categories]
        if any(name not in self._ranges for name in numbers) or not self.n_rows:
            raise ValueError("there are no normal rows to learn the encoding from")
        return TableEncoder(
            self._columns, {name: self._ranges[name] for name in numbers}, categories
        )
