"""Which texts Arrow reads as numbers."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def first_non_number(values: pa.BinaryArray) -> int | None:
    """Return the position of the first value that Arrow does not read as a number."""
    texts = pc.ascii_trim_whitespace(values.cast(pa.string(), safe=False))
    if _are_numbers(texts):
        return None
    start, stop = 0, len(texts)  # the first one is in this range
    while stop - start > 1:
        middle = (start + stop) // 2
        if _are_numbers(texts[start:middle]):
            start = middle
        else:
            stop = middle
    return start


def _are_numbers(texts: pa.StringArray) -> bool:
    try:
        texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
