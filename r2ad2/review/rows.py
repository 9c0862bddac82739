"""The rows of a queue: their values, their keys, and what they are compared with."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.encoders.columns import column_names
from r2ad2.review.store import joined_key
from r2ad2.support.messages import count, quoted

_NUMERIC = {"boolean", "integer", "floating", "mixed-integer-float"}


def content_keys(samples: Any) -> np.ndarray:
    """Make a key (n,) of each row's values, the same however the table was read.

    Numbers count by their value (1 and 1.0 are the same), texts by their characters. The order of
    columns counts: see `in_order`.

    Args:
        samples: DataFrame or array (n, ...).
    """
    if not isinstance(samples, pd.DataFrame):
        flat = np.ascontiguousarray(samples, dtype=np.float64).reshape(len(samples), -1)
        return np.array([_hash(row.tobytes()) for row in flat + 0.0], dtype=object)
    samples = pd.DataFrame({name: _in_plain_type(samples[name]) for name in samples})
    numbers = samples.select_dtypes(["number", "bool"])
    stamps = samples.select_dtypes(["datetime"])
    others = samples.drop(columns=[*numbers.columns, *stamps.columns])
    fixed = np.ascontiguousarray(numbers.to_numpy(np.float64, na_value=np.nan)) + 0.0
    texts = [column_texts(table[name]) for table in (stamps, others) for name in table]
    # The names are part of the key, so that equal values of other columns are another row.
    head = "\x1f".join(map(str, [*numbers.columns, *stamps.columns, *others.columns])).encode()
    return np.array(
        [
            _hash(head, fixed[i].tobytes(), *(f"{len(t[i])}:{t[i]}".encode() for t in texts))
            for i in range(len(samples))
        ],
        dtype=object,
    )


def _in_plain_type(column: pd.Series) -> pd.Series:
    """Make objects that are numbers a column of numbers, and timestamps those of UTC."""
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.dt.tz_convert("UTC").dt.tz_localize(None)
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) in _NUMERIC:
        return column.where(column.notna(), np.nan).astype(np.float64)
    return column


def _hash(*parts: bytes) -> str:
    # A letter comes first, so that spreadsheets do not read a key as a number.
    return "r" + hashlib.blake2b(b"\x1e".join(parts), digest_size=12).hexdigest()


def column_texts(column: pd.Series) -> list[str]:
    """Write the values of a column as short texts; missing ones are empty."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return [str(value) if is_there else "" for value, is_there in _marked(column)]
    if pd.api.types.is_float_dtype(column.dtype):
        values = column.to_numpy(np.float64, na_value=np.nan).tolist()
        return ["" if value != value else f"{value:.10g}" for value in values]
    return [str(value) if is_there else "" for value, is_there in _marked(column)]


def _marked(column: pd.Series) -> list[tuple[Any, bool]]:
    return list(zip(column.tolist(), column.notna().tolist(), strict=True))


def in_order(samples: Any, names: Sequence[str]) -> Any:
    """Return a table with its columns in the order of names, so that equal rows have equal keys.

    Arrays and tables of other columns stay as they are: the detector says what is wrong with them.

    Raises:
        ValueError: if a column name appears more than once.
    """
    if not isinstance(samples, pd.DataFrame):
        return samples
    found = {name: i for i, name in enumerate(column_names(samples))}
    return samples.iloc[:, [found[name] for name in names]] if set(found) == set(names) else samples


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers, other than booleans."""
    types = pd.api.types
    return types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype)


def is_category(column: pd.Series) -> bool:
    """Whether a column is declared to hold categories."""
    return isinstance(column.dtype, pd.CategoricalDtype)


def as_frame(samples: Any) -> pd.DataFrame:
    """Return a table of samples: itself, or the numbers of an array in columns x0, x1, ..."""
    if isinstance(samples, pd.DataFrame):
        return samples.set_axis([str(name) for name in samples.columns], axis=1)
    flat = np.asarray(samples).reshape(len(samples), -1)
    return pd.DataFrame(flat, columns=[f"x{i}" for i in range(flat.shape[1])])


def concatenate(parts: Sequence[Any]) -> Any:
    """Join tables, or arrays, of the same form; categories of the first table stay categories."""
    if not isinstance(parts[0], pd.DataFrame):
        return np.concatenate(parts)
    joined = pd.concat([part[parts[0].columns] for part in parts], ignore_index=True)
    # pandas makes objects of columns whose categories differ.
    lost = [n for n in joined if is_category(parts[0][n]) and not is_category(joined[n])]
    return joined.astype(dict.fromkeys(lost, "category"))


@dataclass
class ReviewRows:
    """Rows to review; rows that share a key are shown once, and have the same label.

    Attributes:
        samples: DataFrame or array (n, ...), in the form of the training samples.
        keys: (n,) texts.
        names: (n,) what the page calls each row.
        first: (n,) position of the first row with the same key, which is the one that is shown.
    """

    samples: Any
    keys: np.ndarray
    names: np.ndarray
    first: np.ndarray

    @classmethod
    def of(
        cls, samples: Any, ids: pd.DataFrame | None = None, numbers: Sequence[int] | None = None
    ) -> ReviewRows:
        """Find the key of each row: its ids, or else its content.

        Args:
            samples: DataFrame or array (n, ...).
            ids: id columns (n rows).
            numbers: (n,) number of each row in its file; by default its position.

        Raises:
            ValueError: for a missing id, or one that two rows have.
        """
        n = len(samples)
        if ids is not None and len(ids) != n:
            raise ValueError(f"ids has {count(len(ids), 'row')}, but there are {n:,} to review")
        numbers = list(range(n)) if numbers is None else list(numbers)
        if ids is None:
            keys, names = content_keys(samples), np.array([f"row {i:,}" for i in numbers])
        else:
            keys = names = _id_keys(ids, numbers)
        _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
        if ids is not None and len(firsts) < n:
            raise ValueError(
                f"id {quoted(_repeated(keys))} appears more than once: name further columns in "
                "ids (command line: --id), or leave it out to key labels by the rows' content"
            )
        return cls(samples, keys, names, firsts[inverse])

    def __len__(self) -> int:
        return len(self.keys)

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """The rows as a table with a plain index."""
        return as_frame(self.samples).reset_index(drop=True)

    @functools.cached_property
    def positions(self) -> dict[str, int]:
        """Position of the first row of each key."""
        return {self.keys[i]: i for i in np.flatnonzero(self.is_first).tolist()}

    @functools.cached_property
    def is_first(self) -> np.ndarray:
        """Whether each row (n,) is the first of its key."""
        return self.first == np.arange(len(self))

    @functools.cached_property
    def n_alike(self) -> np.ndarray:
        """How many rows have the same key as each row (n,)."""
        return np.bincount(self.first)[self.first]

    @functools.cached_property
    def searchable(self) -> list[str]:
        """Names and values of each row in lower case."""
        columns = [self.names.tolist(), *(column_texts(self.frame[n]) for n in self.frame)]
        return ["\x1f".join(values).lower() for values in zip(*columns, strict=True)]

    def content(self, position: int) -> dict[str, Any]:
        """Return the values of a row as JSON can hold them."""
        row = self.frame.iloc[[position]]
        return {str(name): _plain(row[name].iloc[0]) for name in row}


def _plain(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _id_keys(ids: pd.DataFrame, numbers: Sequence[int]) -> np.ndarray:
    columns = [_id_texts(ids[name]) for name in ids]
    for name, texts in zip(ids, columns, strict=True):
        if "" in texts:
            raise ValueError(f"row {numbers[texts.index('')]:,} has no id in column {quoted(name)}")
    return np.array([joined_key(values) for values in zip(*columns, strict=True)], dtype=object)


def _id_texts(column: pd.Series) -> list[str]:
    """Write ids as `column_texts` does, but all digits of numbers."""
    texts = column_texts(column)
    if not pd.api.types.is_float_dtype(column.dtype):
        return texts
    values = column.to_numpy(np.float64, na_value=np.nan).tolist()
    return [
        text if not text or float(text) == value else _all_digits(value)
        for text, value in zip(texts, values, strict=True)
    ]


def _all_digits(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _repeated(keys: np.ndarray) -> str:
    found, counts = np.unique(keys, return_counts=True)
    return str(found[counts > 1][0])
