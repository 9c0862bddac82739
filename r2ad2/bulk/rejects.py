"""Malformed rows that are set aside, and the file they are written to."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from r2ad2.support.messages import count
from r2ad2.tables.types import Reject
from r2ad2.tables.write import check_output, write_tables


def check_on_error(
    on_error: str, rejects: Path | None, table: Path, output: Path | None = None
) -> bool:
    """Check what to do with malformed rows; return whether to skip them.

    Args:
        on_error: "raise" or "skip".
        rejects: file for malformed rows, if any.
        table: the file or folder that is read.
        output: file for the results of the others.

    Raises:
        ValueError: for an unknown choice, or files that cannot be written, or not without loss.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if output is not None:
        check_output(output, table)
    if rejects is None:
        return on_error == "skip"
    if on_error != "skip":
        raise ValueError(
            "rejects needs on_error='skip' (command line: --rejects needs --on-error skip): "
            "otherwise a malformed row is an error"
        )
    check_output(rejects, table)
    if output is not None and rejects.resolve() == output.resolve():
        raise ValueError(
            f"{str(output)!r} is named for the results and for the malformed rows: choose another "
            "file for one of them (command line: --output and --rejects)"
        )
    return True


def rejects_table(rejects: Sequence[Reject]) -> pd.DataFrame:
    """Lay rejects out as a table: row, line, reason, content."""
    table = pd.DataFrame(rejects, columns=Reject._fields)
    return table.astype({"row": "int64", "line": "Int64", "reason": "str", "content": "str"})


class RejectsFile:
    """Collects rejects on disk, and writes them at the end.

    Args:
        path: the file; None to count them only.

    Attributes:
        n: their number.
    """

    def __init__(self, path: Path | None):
        self.n = 0
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="r2ad2-")
        self._parts: list[Path] = []

    def add(self, rejects: Sequence[Reject]) -> None:
        """Add the rejects of the next rows."""
        self.n += len(rejects)
        if rejects and self._path is not None:
            part = Path(self._folder.name) / f"{len(self._parts)}.parquet"
            self._parts.append(write_tables(part, [rejects_table(rejects)]))

    @property
    def notes(self) -> list[str]:
        """What the user should know: that rows were set aside."""
        return [f"set {count(self.n, 'malformed row')} aside"] if self.n else []

    def write(self) -> None:
        """Write the file, unless there are no rejects."""
        if self._path is not None and self.n:
            write_tables(self._path, self._read())
        self._folder.cleanup()

    def _read(self) -> Iterator[pd.DataFrame]:
        for part in self._parts:
            yield pd.read_parquet(part)
