"""How errors of libraries are told to users."""

from __future__ import annotations


def reason_of(error: BaseException) -> str:
    """Give the first line of an error's message, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
