"""How errors of libraries are told to users."""

from __future__ import annotations

import reprlib
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


def reason_of(error: BaseException) -> str:
    """Give the first line of an error's message, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
