"""The values of single columns: from texts and Arrow types to numbers, categories and dates."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from r2ad2.support.messages import quoted
from r2ad2.tables.dates import from_seconds
from r2ad2.tables.text import UNDECODABLE

# As in pandas, without those that begin like a number: "-nan" is read as a number anyway.
MISSING = ("", "#N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")
KINDS = ("number", "boolean", "category", "date")
_MISSING_TEXTS = pa.array(MISSING, pa.string())
_EXPONENT = r"([eE][+-]?\d+)?"
INFINITE = r"^[+-]?(?i:inf|infinity)$"
BOOLEAN = r"^(?i:true|false)$"
EPOCHS = {"epoch": 1.0, "epoch_ms": 1e3, "epoch_us": 1e6, "epoch_ns": 1e9}  # units per second
# What may follow a date, in the notation of strptime.
_HALF_DAYS = (" %I:%M %p", " %I:%M:%S %p", " %I:%M:%S.%f %p")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", *_HALF_DAYS)
WHOLE_CODE = r"-?(?:0|[1-9]\d{0,15})"  # without leading zeros: 007 is another code
_EITHER_SPELLING = re.compile(rf"{WHOLE_CODE}(\.0)?")
_REASONS = {"number": "not a number", "boolean": "not true or false", "date": "not a date or time"}


@dataclass(frozen=True)
class ColumnType:
    """How the values of a column are read.

    Attributes:
        kind: "number", "boolean", "category" or "date".
        format: of dates: "iso", "time" (of the day), a format of strptime, or one of `EPOCHS`.
        integer: whether all numbers are whole.
    """

    kind: str
    format: str = "iso"
    integer: bool = False


def number_pattern(decimal: str) -> str:
    """Return the regular expression of numbers with a decimal sign, "." or ",".

    Thousands may be separated by the other sign, blanks or apostrophes.
    """
    other = "," if decimal == "." else r"\."
    sign = rf"\{decimal}"
    blank = r"[ '\x{2019}\x{a0}\x{202f}]"
    grouped = rf"[1-9]\d{{0,2}}(?:(?:{other}\d{{3}})+|(?:{blank}\d{{3}})+)"
    return rf"^[+-]?((\d+|{grouped})({sign}\d*)?|{sign}\d+){_EXPONENT}$"


def missing_texts(texts: pa.StringArray) -> pa.BooleanArray:
    """Find the texts (n,) that stand for a missing value."""
    return pc.or_(pc.is_null(texts), pc.is_in(texts, value_set=_MISSING_TEXTS))


def as_texts(array: pa.Array) -> pa.StringArray | None:
    """Return the values of a text or dictionary column as texts; None for other types."""
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_string(array.type):
        return array
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        return array.cast(pa.string())
    return pa.array([None] * len(array), pa.string()) if pa.types.is_null(array.type) else None


def convert(
    name: str,
    array: pa.Array,
    column: ColumnType,
    decimal: str = ".",
    missing: Sequence[str] = MISSING,
) -> tuple[pd.Series, dict[str, np.ndarray]]:
    """Read the values of a column.

    Args:
        name: of the column, for messages.
        array: texts, or values of another Arrow type.
        column: how to read them.
        decimal: the decimal sign of numbers in texts.
        missing: texts of categories that stand for a missing value.

    Returns:
        The values (n,): float64, timestamps (UTC) or texts, missing where there is none; and which
        rows (n,) hold an unsuitable value, by reason.
    """
    texts = as_texts(array)
    if column.kind == "category":
        return _categories(array, texts, missing), undecodable(name, texts)
    values, bad = _READERS[column.kind](array, texts, column, decimal)
    faults = {}
    if bad.any():
        faults[f"{_REASONS[column.kind]} in column {name!r}"] = bad
    if column.kind != "date":
        infinite = np.isinf(values)
        if infinite.any():
            faults[f"infinite value in column {name!r}"] = infinite
    return pd.Series(values), faults


def undecodable(name: str, texts: pa.StringArray | None) -> dict[str, np.ndarray]:
    """Find the rows (n,) with text that the file's encoding does not have."""
    if texts is None:
        return {}
    found = pc.match_substring(texts, UNDECODABLE).fill_null(False)
    if not pc.any(found).as_py():
        return {}
    return {f"text that is not UTF-8 in column {name!r}": found.to_numpy(zero_copy_only=False)}


def _trimmed(texts: pa.StringArray) -> pa.StringArray:
    """Remove surrounding blanks, and texts that stand for a missing value."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(missing_texts(trimmed), pa.scalar(None, pa.string()), trimmed)


def cast_all(texts: pa.StringArray, type_: pa.DataType) -> pa.Array | None:
    """Return texts as numbers; None unless all of them are.

    Arrow is slow to fail, so a few texts are tried first.
    """
    try:
        texts[:64].cast(type_)
        return texts.cast(type_)
    except pa.ArrowInvalid:
        return None


def parse_numbers(texts: pa.StringArray, decimal: str) -> tuple[np.ndarray, np.ndarray]:
    """Return texts as float64 (n,), NaN where missing, and which are not numbers (n,)."""
    if decimal == ".":
        values = cast_all(texts, pa.float64())  # the usual case is much faster this way
        if values is not None:
            return _as_float64(values), np.zeros(len(texts), dtype=bool)
    trimmed = _trimmed(texts)
    is_number = pc.match_substring_regex(trimmed, number_pattern(decimal)).fill_null(False)
    is_infinite = pc.match_substring_regex(trimmed, INFINITE).fill_null(False)
    plain = pc.replace_substring_regex(
        trimmed, rf"[{'.' if decimal == ',' else ','} '\x{{2019}}\x{{a0}}\x{{202f}}]", ""
    )
    if decimal == ",":
        plain = pc.replace_substring(plain, ",", ".")
    plain = pc.if_else(pc.or_(is_number, is_infinite), plain, pa.scalar(None, pa.string()))
    values = _as_float64(plain.cast(pa.float64()))
    is_nan = pc.match_substring_regex(trimmed, r"^[+-]?(?i:nan)$").fill_null(False)
    good = pc.or_(pc.or_(is_number, is_infinite), pc.or_(pc.is_null(trimmed), is_nan))
    return values, ~good.to_numpy(zero_copy_only=False)


def _as_float64(values: pa.Array) -> np.ndarray:
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _numbers(
    array: pa.Array, texts: pa.StringArray | None, column: ColumnType, decimal: str
) -> tuple[np.ndarray, np.ndarray]:
    if texts is not None:
        return parse_numbers(texts, decimal)
    try:
        return _as_float64(array), np.zeros(len(array), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.full(len(array), np.nan), array.is_valid().to_numpy(zero_copy_only=False)


def _booleans(
    array: pa.Array, texts: pa.StringArray | None, column: ColumnType, decimal: str
) -> tuple[np.ndarray, np.ndarray]:
    """Read true and false as 1 and 0; numbers stay numbers."""
    if texts is None:
        return _numbers(array, None, column, decimal)
    trimmed = _trimmed(texts)
    named = pc.match_substring_regex(trimmed, BOOLEAN).fill_null(False)
    digits = pc.if_else(pc.equal(pc.utf8_lower(trimmed), "true"), "1", "0")
    return parse_numbers(pc.if_else(named, digits, trimmed), decimal)


def _categories(array: pa.Array, texts: pa.StringArray | None, missing: Sequence[str]) -> pd.Series:
    if texts is None:
        texts = as_spelt(array)
    elif missing:
        texts = pc.if_else(missing_texts(texts), pa.scalar(None, pa.string()), texts)
    return pd.Series(texts.to_numpy(zero_copy_only=False), dtype="str")


def other_spelling(code: str) -> str:
    """Return "80.0" for "80" and "80" for "80.0"; other texts are returned as they are.

    A single missing value turns a column of whole numbers into floats, and their texts with them.
    """
    if not _EITHER_SPELLING.fullmatch(code):
        return code
    return code.removesuffix(".0") if code.endswith(".0") else f"{code}.0"


def as_spelt(array: pa.Array) -> pa.StringArray:
    """Write numbers, booleans and dates as texts, as pandas does; whole numbers without a point."""
    if pa.types.is_floating(array.type):
        values = [
            None
            if value is None or value != value
            else f"{value:.0f}"
            if float(value).is_integer() and abs(value) < 2**53
            else str(value)
            for value in array.to_pylist()
        ]
        return pa.array(values, pa.string())
    if pa.types.is_temporal(array.type) or pa.types.is_boolean(array.type):
        series = array.to_pandas(types_mapper=pd.ArrowDtype).astype(object)
        return pa.array([None if pd.isna(v) else str(v) for v in series], pa.string())
    return array.cast(pa.string())


def _dates(
    array: pa.Array, texts: pa.StringArray | None, column: ColumnType, decimal: str
) -> tuple[Any, np.ndarray]:
    if texts is None and column.format not in EPOCHS:
        if not pa.types.is_temporal(array.type) or pa.types.is_duration(array.type):
            stamps = pd.Series(pd.NaT, index=range(len(array)), dtype="datetime64[us, UTC]")
            return _naive(stamps), array.is_valid().to_numpy(zero_copy_only=False)
        if pa.types.is_time(array.type):
            array = array.cast(pa.time64("us")).cast(pa.int64()).cast(pa.timestamp("us"))
        stamps = pd.to_datetime(array.to_pandas(), utc=True, errors="coerce")
        return _naive(stamps), np.zeros(len(array), dtype=bool)
    if column.format in EPOCHS:
        numbers, bad = _numbers(array, texts, column, decimal)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        found = from_seconds(numbers / EPOCHS[column.format])
        return found, bad | (np.isnat(found) & ~np.isnan(numbers))
    series = _trimmed(texts).to_pandas()
    stamps = parse_dates(series, column.format)
    return _naive(stamps), (stamps.isna() & series.notna()).to_numpy(dtype=bool)


def _naive(stamps: pd.Series) -> Any:
    return stamps.dt.tz_localize(None).to_numpy()


def parse_dates(texts: pd.Series, format_: str) -> pd.Series:
    """Read texts as timestamps (UTC), NaT where they do not have the format."""
    if format_ == "iso":  # the usual case is much faster this way
        stamps = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
        if (stamps.notna() | texts.isna()).all():
            return stamps
    stamps = pd.Series(pd.NaT, index=texts.index, dtype="datetime64[us, UTC]")
    left = texts.dropna()
    for respell in (None, _respelt):
        left = respell(left) if respell and len(left) else left
        for variant in format_variants(format_):
            if not len(left):
                return stamps
            found = pd.to_datetime(left, utc=True, errors="coerce", format=variant)
            found = found.dropna().astype("datetime64[us, UTC]")
            stamps.loc[found.index] = _on_first_day(found, variant)
            left = left.drop(found.index)
    return stamps


def _respelt(texts: pd.Series) -> pd.Series:
    """Write times as pandas reads them: microseconds after a point, blanks around the time."""
    texts = texts.str.replace(r"(:\d\d)[.,](\d{1,6})\d*", r"\1.\2", regex=True)
    texts = texts.str.replace(r"(\d)T(\d?\d:)", r"\1 \2", regex=True)
    return texts.str.replace(r"(\d)([AaPp][Mm])$", r"\1 \2", regex=True)


def _on_first_day(stamps: pd.Series, format_: str) -> pd.Series:
    """Set clock times without a date, which strptime puts on 1900-01-01, on 1970-01-01."""
    if any(part in format_ for part in ("ISO8601", "%d", "%j", "%Y", "%y", "%x", "%c")):
        return stamps
    return stamps + (pd.Timestamp(1970, 1, 1) - pd.Timestamp(1900, 1, 1))


def format_variants(format_: str) -> list[str]:
    """Return a format of dates with each of the times that may follow; others stay alone."""
    if format_ == "iso":
        return ["ISO8601", *(f"%Y-%m-%d{time}" for time in _HALF_DAYS)]
    if format_ == "time":
        return ["%H:%M", "%H:%M:%S", "%H:%M:%S.%f"]
    if any(part in format_ for part in ("%H", "%I", "%M", "%c", "%X")):
        return [format_]
    return [format_ + time for time in _TIMES]


def check_format(name: str, format_: str) -> None:
    """Check a format of dates.

    Raises:
        ValueError: if it is not one; the message names the column.
    """
    if format_ in ("iso", "time", *EPOCHS):
        return
    try:
        written = datetime.datetime(2026, 1, 31, 13, 45).strftime(format_)
        datetime.datetime.strptime(written, format_)
    except ValueError:
        written = format_
    if written == format_:
        raise ValueError(
            f"{quoted(format_)} is not a format of dates (column {quoted(name)}): use iso, "
            f"time, {', '.join(EPOCHS)}, or the notation of strptime such as %d/%m/%Y"
        )


_READERS: dict[str, Callable[..., tuple[Any, np.ndarray]]] = {
    "number": _numbers,
    "boolean": _booleans,
    "date": _dates,
}
