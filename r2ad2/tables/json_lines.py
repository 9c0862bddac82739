"""Tables as lines of JSON: one object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from r2ad2.tables.container import DAMAGED, unreadable
from r2ad2.tables.text import TextFile
from r2ad2.tables.types import Batch, Reject


@dataclass(frozen=True)
class JsonLines:
    """Reads lines of JSON; numbers and booleans become texts, like those of other text files.

    Attributes:
        text: the file.
    """

    text: TextFile

    def columns(self) -> list[str]:
        """Return all keys that occur, by their first occurrence; this reads the whole file.

        Raises:
            ValueError: if there are none.
        """
        names: dict[str, None] = {}
        for _, values in self._lines():
            names |= dict.fromkeys(values if isinstance(values, dict) else {})
        if not names:
            raise ValueError(f"{str(self.text.container.path)!r} holds no rows")
        return list(names)

    def _lines(self) -> Iterator[tuple[int, Any]]:
        """Yield the number of each line that is not blank, and its value or the text."""
        try:
            with self.text.open() as (stream, _):
                for number, line in enumerate(stream, start=1):
                    if line.strip():
                        try:
                            yield number, json.loads(line)
                        except (ValueError, RecursionError):
                            yield number, line.decode().strip()
        except DAMAGED as error:
            raise unreadable(self.text.container.path, error) from error

    def batches(self, columns: Sequence[str], *, skip: bool, n_rows: int) -> Iterator[Batch]:
        """Read columns in batches of `n_rows` rows; see `TableReader.batches`."""
        values: dict[str, list] = {name: [] for name in columns}
        numbers: list[int] = []
        rejects: list[Reject] = []
        position = 0
        for row, (line, record) in enumerate(self._lines()):
            position = line
            reason = _fault(record, values)
            if reason:
                content = record if isinstance(record, str) else json.dumps(record)
                rejects.append(Reject(row, line, reason, content))
                if not skip:
                    break
                continue
            numbers.append(row)
            for name, column in values.items():
                column.append(_as_text(record.get(name)))
            if len(numbers) == n_rows:
                yield _batch(values, numbers, rejects, position)
                values, numbers, rejects = {name: [] for name in columns}, [], []
        if numbers or rejects:
            yield _batch(values, numbers, rejects, position)


def _fault(record: Any, columns: Iterable[str]) -> str:
    """Say what is wrong with a line; empty if nothing is."""
    if not isinstance(record, dict):
        return "not a JSON object"
    for name in columns:
        value = record.get(name)
        if isinstance(value, (dict, list)):
            return f"a {'list' if isinstance(value, list) else 'record'} in column {name!r}"
    return ""


def _as_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # half a surrogate pair has no UTF-8
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _batch(
    values: dict[str, list], numbers: list[int], rejects: list[Reject], position: int
) -> Batch:
    arrays = {name: pa.array(column, pa.string()) for name, column in values.items()}
    return Batch(arrays, np.array(numbers, dtype=np.int64), rejects, position)
