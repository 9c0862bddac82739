"""Wording shared by error messages: quoting, suggestions, counts, unknown names."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

_LONGEST = 400  # characters
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60  # characters


def quoted(value: Any) -> str:
    """Quote a value of the input for a message; long ones are abbreviated in the middle."""
    return _SHORT.repr(value.item() if isinstance(value, np.generic) else value)


def shortened(message: str) -> str:
    """Leave out the middle of a long message, such as a library's that quotes a long value."""
    half = _LONGEST // 2
    return message if len(message) <= _LONGEST else f"{message[:half]} ... {message[-half:]}"


def suggestion(absent: Sequence[str], candidates: Sequence[str], columns: Sequence[str]) -> str:
    """Suggest which column a misspelt name meant; returns the end of a message, or "".

    Args:
        absent: the columns that were not found; with more than one, no name is suggested.
        candidates: the columns that may be meant.
        columns: all existing columns.
    """
    if len(columns) == 1 and any(separator in columns[0] for separator in ";\t|"):
        return (
            f"; there is one column only, {quoted(columns[0])}: separate columns with commas "
            "(command line: or name the character, --separator)"
        )
    if len(absent) != 1:
        return ""
    lowered = {name.casefold(): name for name in reversed(candidates)}
    close = difflib.get_close_matches(absent[0].casefold(), lowered, n=1)
    return f": did you mean {quoted(lowered[close[0]])}?" if close else ""


def did_you_mean(name: str, columns: Iterable[Any]) -> str:
    """Suggest a column for a name that was not found, or list the columns; ends a message."""
    names = [str(column) for column in columns]
    more = ", ..." if len(names) > 8 else ""
    listed = f"; the columns are {', '.join(map(quoted, names[:8]))}{more}"
    return suggestion([name], names, names) or listed


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def require_count(name: str, value: Any, least: int = 1) -> None:
    """Check a number of things.

    Raises:
        ValueError: if it is not a whole number, or too small.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least:
        kind = "" if whole else "a whole number of "
        raise ValueError(f"{name} must be {kind}at least {least}, got {value!r}")


def count(n: int, noun: str) -> str:
    """Write "1 row", "2 rows"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def require_known(names: Iterable[str], known: Iterable[str], kind: str) -> None:
    """Check that all names are known.

    Raises:
        ValueError: for the first unknown name; the message lists the known ones.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}: choose one of {', '.join(known)}")
