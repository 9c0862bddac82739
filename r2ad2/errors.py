"""How errors of libraries are told to users."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

_LONGEST = 400  # characters
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60  # characters


def shown(value: Any) -> str:
    """Write a value of the input as it is told to users: long ones with dots in the middle."""
    return _SHORT.repr(value)


def shortened(message: str) -> str:
    """Leave out the middle of a library's message that holds a long value."""
    half = _LONGEST // 2
    return message if len(message) <= _LONGEST else f"{message[:half]} ... {message[-half:]}"


def meant(name: str, columns: Iterable[Any]) -> str:
    """Say which column may have been meant by one that is not there; goes on with the message."""
    names = [str(column) for column in columns]
    if len(names) == 1 and any(separator in names[0] for separator in ";\t|"):
        return f"; there is one column only, {shown(names[0])}: separate columns by commas"
    lowered = {known.casefold(): known for known in reversed(names)}
    close = difflib.get_close_matches(name.casefold(), lowered, n=1)
    if close:
        return f": did you mean {shown(lowered[close[0]])}?"
    more = ", ..." if len(names) > 8 else ""
    return f"; the columns are {', '.join(map(shown, names[:8]))}{more}"


def reason_of(error: BaseException) -> str:
    """Give the first line of an error's message, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
