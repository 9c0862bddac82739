"""Dates and times in table columns: texts and timestamps as seconds since 1970."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api import types

from r2ad2.support.messages import quoted

_EPOCH = pd.Timestamp(0, tz="UTC")
_SECOND = pd.Timedelta(seconds=1)


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
    return ((stamps - _EPOCH) / _SECOND).to_numpy(dtype=np.float64, na_value=np.nan)


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
