"""Single columns of tables: their kinds, and their values as arrays."""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from r2ad2.encoders.base import LARGEST
from r2ad2.support.messages import count, quoted
from r2ad2.tables.dates import as_seconds, require_valid
from r2ad2.tables.values import other_spelling

MISSING_TEXT = "\x1a<missing>"  # stands for a missing text; does not occur in tables
UNKNOWN_TEXT = "\x1a<unknown>"  # stands for a text that did not occur in training
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{1,16})?")  # without leading zeros: 007 is a code
_TIMESTAMPS = (np.datetime64, datetime.date)  # the latter includes datetime and pd.Timestamp


def column_names(table: pd.DataFrame) -> list[str]:
    """Return the column names as texts.

    Raises:
        ValueError: if a name appears more than once.
    """
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = min(name for name, n in Counter(names).items() if n > 1)
        raise ValueError(f"column name {quoted(twice)} appears more than once: rename the columns")
    return names


def check_table(table: pd.DataFrame, missing: str = "error") -> pd.DataFrame:
    """Return the table with text column names and a plain row index.

    Args:
        table: rows of any columns.
        missing: how to treat missing values: "error" or "indicator".

    Raises:
        ValueError: for no rows or columns, repeated column names, or missing values.
    """
    table = table.set_axis(column_names(table), axis=1).reset_index(drop=True)
    if table.shape[0] == 0 or table.shape[1] == 0:
        raise ValueError(
            f"Found array with {table.shape[0]} sample(s) and {table.shape[1]} feature(s) while a "
            "minimum of 1 is required."
        )
    # By type first: to look at thousands of columns one by one takes longer than to score a row.
    for name in [n for n, t in table.dtypes.items() if _is_arrow_float(t)]:
        values = table[name].to_numpy(np.float64, na_value=np.nan)
        # NaN, which pandas does not count as missing in such a column.
        if (np.isnan(values) & table[name].notna().to_numpy(bool)).any():
            table[name] = values
    try:
        n_missing = table.isna().sum()
    except ArithmeticError as error:  # signalling NaN of decimal numbers
        raise ValueError(f"Input X holds a number that cannot be compared: {error}") from error
    if missing == "indicator":
        return table
    n_missing = n_missing[n_missing > 0]
    if len(n_missing):
        named = ", ".join(
            f"{quoted(name)} ({count(n, 'row')})" for name, n in n_missing.head(5).items()
        )
        raise ValueError(
            f"Input X contains NaN: missing values in column {named}"
            f"{', ...' if len(n_missing) > 5 else ''}; fill or drop them first, or train with "
            'missing="indicator" (command line: --set missing=indicator)'
        )
    return table


def _is_arrow_float(dtype: Any) -> bool:
    return isinstance(dtype, pd.ArrowDtype) and types.is_float_dtype(dtype)


def column_kind(name: str, column: pd.Series) -> str:
    """Decide whether a training column holds a "number", "text" (categories) or "timestamp".

    Raises:
        ValueError: if its values cannot be encoded.
    """
    dtype = column.dtype
    if isinstance(dtype, (pd.CategoricalDtype, pd.StringDtype)):
        return "text"
    if types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype):
        if types.is_complex_dtype(dtype):
            raise ValueError(f"column {quoted(name)} holds complex numbers: split or drop them")
        return "number"
    if types.is_datetime64_any_dtype(dtype):
        return "timestamp"
    if types.is_object_dtype(dtype):
        return _kind_of_objects(name, column)
    if isinstance(dtype, pd.ArrowDtype):
        return _kind_of_objects(name, column.astype(object))
    if types.is_string_dtype(dtype):
        return "text"
    raise ValueError(
        f"column {quoted(name)} has type {dtype}, which cannot be encoded: convert it to numbers "
        "or text, or drop it"
    )


def _kind_of_objects(name: str, column: pd.Series) -> str:
    """Decide by the values' types, which must agree; a column without values counts as numbers."""
    column = column.dropna()
    kinds = {type(value) for value in column}
    if kinds == {str}:
        return "text"
    if all(issubclass(kind, _TIMESTAMPS) for kind in kinds) and kinds:
        return "timestamp"
    if all(issubclass(kind, (int, float, Decimal, np.number, np.bool_)) for kind in kinds):
        return "number"
    # If there are some texts among numbers, the first text is the culprit.
    row, value = next(
        ((i, v) for i, v in column.items() if isinstance(v, str)),
        (column.index[0], column.iloc[0]),
    )
    named = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ValueError(
        f"column {quoted(name)} mixes values of type {named} (row {row} holds {quoted(value)}): "
        "give it one type"
        if len(kinds) > 1
        else f"column {quoted(name)} holds values of type {named}, which cannot be encoded: "
        "convert it to numbers or text, or drop it"
    )


def as_numbers(name: str, column: pd.Series) -> np.ndarray:
    """Return a column as float64 numbers (n,), NaN where values are missing.

    Raises:
        ValueError: for values that are not numbers, or infinite; the message names the first.
    """
    if column.dtype == np.float64:  # fast path for the usual case
        values = column.to_numpy()
        if np.isfinite(values).all():
            return values
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    numbers, values = _numbers_of(column)
    require_valid(name, column, numbers.isna() & column.notna(), "numeric")
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise ValueError(
            f"column {quoted(name)} holds an infinite value (infinity) in "
            f"{count(len(infinite), 'row')}, first in row {infinite[0]}: replace or drop these rows"
        )
    return values


def stack_numbers(table: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return columns as float64 numbers (n, names), like `as_numbers`.

    Columns of one NumPy type are converted together: one by one, a row with thousands of columns
    would take seconds.

    Raises:
        ValueError: for values that are not numbers, or infinite; the message names column and row.
    """
    dtypes, together = table.dtypes.to_dict(), defaultdict(list)
    for position, name in enumerate(names):
        dtype = dtypes[name]
        is_plain = isinstance(dtype, np.dtype) and dtype.kind in "fiub"
        together[dtype if is_plain else None].append(position)
    values = np.empty((len(table), len(names)))
    for dtype, positions in together.items():
        if dtype is not None:
            block = table[[names[position] for position in positions]].to_numpy(np.float64)
            if not np.isinf(block).any():
                if len(positions) == len(names):
                    return block
                values[:, positions] = block
                continue
        for position in positions:
            values[:, position] = as_numbers(names[position], table[names[position]])
    return values


def _numbers_of(column: pd.Series) -> tuple[pd.Series, np.ndarray]:
    """Return values as numbers, missing if they are not numbers, and as float64 (n,).

    Integers beyond the range of float64 become infinite.
    """
    if isinstance(column.dtype, pd.ArrowDtype) and types.is_string_dtype(column.dtype):
        column = column.astype(object)  # of Arrow's texts pandas makes NaN that is not missing
    try:
        numbers = pd.to_numeric(column, errors="coerce")
        return numbers, numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    except OverflowError:
        is_huge = column.map(lambda value: isinstance(value, int) and abs(value) > LARGEST)
        return _numbers_of(column.mask(is_huge, np.inf))


def as_texts(name: str, column: pd.Series) -> np.ndarray:
    """Return a column as texts (n,), `MISSING_TEXT` where values are missing.

    Raises:
        ValueError: for texts that UTF-8 cannot express; the message names the first.
    """
    try:
        texts = column.astype(str).to_numpy(dtype=object)
        missing = column.isna().to_numpy()
        if missing.any():
            texts = texts.copy()
            texts[missing] = MISSING_TEXT
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise not_expressible(name, column) from error
    return texts


def as_known_texts(name: str, column: pd.Series, known: Collection[str]) -> np.ndarray:
    """Return a column as texts (n,), numbers and booleans spelt as in a list of known texts.

    A single blank turns a column of codes into floats: 80.0, number or text, is the "80" of
    training. TRUE in a file is "TRUE" as a text and True as a boolean.

    Raises:
        ValueError: for texts that UTF-8 cannot express; the message names the first.
    """
    texts = as_texts(name, column)
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    dtype = column.cat.categories.dtype if is_category else column.dtype
    known = set(known)
    odd = set(texts) - known - {MISSING_TEXT}
    if not odd:
        return texts
    spelt = {text: other for text in odd if (other := other_spelling(text)) in known}
    if types.is_object_dtype(dtype) or not types.is_string_dtype(dtype):
        spelt |= _spelt_values(
            {t: v for t, v in zip(texts, column, strict=True) if t in odd}, known
        )
    return np.array([spelt.get(text, text) for text in texts], dtype=object) if spelt else texts


def _spelt_values(odd: Mapping[str, Any], known: Collection[str]) -> dict[str, str]:
    """Return the known text of numbers and booleans that are not known by their own text."""
    unknown = {
        text: value
        for text, value in odd.items()
        if isinstance(value, (bool, np.bool_, int, float, Decimal, np.number))
    }
    if not unknown:
        return {}
    by_value: dict[Any, str] = {}
    for text in sorted(known, reverse=True):  # "80" before "80.0"
        if _NUMBER.fullmatch(text):
            by_value[float(text)] = text
    booleans = {text.casefold(): text for text in sorted(known)}
    return {
        text: booleans.get(text.casefold(), text)
        if isinstance(value, (bool, np.bool_))
        else by_value.get(value, text)
        for text, value in unknown.items()
    }


def category_codes(known: Sequence[str]) -> dict[str, int]:
    """Number categories from 1 on; "80.0" has the number of "80" unless it is a category itself."""
    codes = {text: number for number, text in enumerate(known, start=1)}
    for text, number in list(codes.items()):
        codes.setdefault(other_spelling(text), number)
    return codes


def not_expressible(name: str, column: pd.Series) -> ValueError:
    """Build the error for a column with half a surrogate pair, which no encoding can express."""
    row, value = next(
        (i, text)
        for i, text in enumerate(map(str, column))
        if any("\ud800" <= character <= "\udfff" for character in text)
    )
    return ValueError(
        f"column {quoted(name)}, row {row}: {quoted(value)} holds half a surrogate pair, which "
        "UTF-8 cannot express: correct the text"
    )


CONVERTERS: dict[str, Callable[[str, pd.Series], Any]] = {
    "number": as_numbers,
    "text": as_texts,
    "timestamp": as_seconds,
}
