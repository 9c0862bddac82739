"""What readers of table files yield."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

REPEATED_HEADER = "repeats the header"


class Reject(NamedTuple):
    """A malformed row.

    Attributes:
        row: its number in the file, from 0.
        line: the first of its lines in a text file, from 1; None in other files.
        reason: what is wrong with it.
        content: its values, comma-separated, or the line as it is in the file.
    """

    row: int
    line: int | None
    reason: str
    content: str


@dataclass
class Batch:
    """Consecutive rows of a file.

    Attributes:
        arrays: the values of each column (n,); texts where the file is text.
        numbers: number of each row in the file (n,), from 0.
        rejects: rows between them that could not be divided into columns.
        position: how much of the file has been read, out of `TableReader.total`.
    """

    arrays: dict[str, pa.Array]
    numbers: np.ndarray
    rejects: list[Reject]
    position: int
