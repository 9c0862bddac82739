"""Dates and times in table columns: texts and timestamps as seconds since 1970."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from pandas.api import types

from r2ad2.support.messages import quoted

# Nanoseconds would end in the year 2262, and "never" is often written as 9999-12-31.
_UNIT: Literal["us"] = "us"
_EPOCH = pd.Timestamp(0, tz="UTC").as_unit(_UNIT)
_SECOND = pd.Timedelta(seconds=1).as_unit(_UNIT)
_FIRST, _END = -62_135_596_800, 253_402_300_800  # seconds from 1970 to the years 1 and 10000


def as_seconds(name: str, column: pd.Series) -> np.ndarray:
    """Return timestamps as float64 seconds since 1970 (n,), NaN where they are missing.

    Texts are read as dates. Timestamps without a time zone count as UTC.

    Raises:
        ValueError: for values that are not timestamps; the message names the first.
    """
    if types.is_numeric_dtype(column.dtype):
        raise ValueError(
            f"column {quoted(name)} must hold timestamps, but these values are numbers: convert "
            "them with pd.to_datetime"
        )
    stamps = pd.to_datetime(column, utc=True, errors="coerce", format=_format_of(column))
    remedy = ": write dates and times like 2026-01-31 13:45:00 (ISO 8601)"
    require_valid(name, column, stamps.isna() & column.notna(), "a timestamp column", remedy)
    # Microseconds of any year are exact in float64: the type of a column has no effect.
    since = stamps.dt.as_unit(_UNIT) - _EPOCH
    return (since / _SECOND).to_numpy(dtype=np.float64, na_value=np.nan)


def from_seconds(seconds: np.ndarray) -> np.ndarray:
    """Return seconds since 1970 as datetime64[us] (n,), the inverse of `as_seconds`.

    NaT where they are missing, or not in the years 1 to 9999.
    """
    valid = (seconds >= _FIRST) & (seconds < _END)
    stamps = np.round(np.where(valid, seconds, 0.0) * 1e6).astype(np.int64).view("datetime64[us]")
    return np.where(valid, stamps, np.datetime64("NaT", _UNIT))


def _format_of(column: pd.Series) -> str | None:
    """Have texts parsed as ISO dates one by one, so that only some may have fractional seconds."""
    return None if types.is_datetime64_any_dtype(column.dtype) else "ISO8601"


def require_valid(
    name: str, column: pd.Series, bad: pd.Series, kind: str, remedy: str = ""
) -> None:
    """Check that no value of a column is bad.

    Raises:
        ValueError: if one is; the message names the column, the first bad row and its value.
    """
    rows = np.flatnonzero(bad.to_numpy(dtype=bool))
    if len(rows):
        odd = quoted(column.iloc[rows[0]])
        raise ValueError(f"column {quoted(name)} is {kind}, but row {rows[0]} holds {odd}{remedy}")
