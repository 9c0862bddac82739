"""The store of results: a folder with one Parquet file per run, each written atomically."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from r2ad2.experiments.runs import Run
from r2ad2.support.files import write_atomically
from r2ad2.support.messages import reason_of

_RUNS = "runs"
_TABLE = "results.csv"
_ORDER = ["experiment", "dataset", "level", "method", "seed", "budget", "max_rows", "overrides"]


class ResultStore:
    """A folder of results that any number of processes may write to at any time.

    A run's row is stored completely or not at all, so that after any interruption the runs in the
    store need not be repeated.

    Args:
        folder: created when the first row is written.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    def path(self, run: Run) -> Path:
        """Return the file of a run."""
        return self.folder / _RUNS / f"{run.key}.parquet"

    def write(self, run: Run, row: Mapping[str, Any]) -> None:
        """Store the row of a run, replacing an earlier row of the same run."""
        table = pd.DataFrame([row])
        write_atomically(self.path(run), lambda file: table.to_parquet(file, index=False))

    def read(self) -> pd.DataFrame:
        """Read all rows, sorted by what was run.

        Raises:
            FileNotFoundError: if there are none.
            ValueError: for a file that is not a result.
        """
        files = sorted((self.folder / _RUNS).glob("*.parquet"))
        if not files:
            raise FileNotFoundError(
                f"no results in folder {str(self.folder)!r}: create some with `r2ad2 experiment`"
            )
        rows = [_read_row(file) for file in files]
        # Without a type, levels that are all missing would become None.
        table = pd.DataFrame(rows).astype({"level": float, "max_rows": float})
        return table.sort_values(_ORDER, ignore_index=True)

    def row(self, run: Run) -> dict[str, Any] | None:
        """Return the row of a run; None if it has not been run yet."""
        path = self.path(run)
        return _read_row(path) if path.is_file() else None

    def is_finished(self, run: Run) -> bool:
        """Whether a run is done, without an error."""
        row = self.row(run)
        return row is not None and row["error"] is None

    def unfinished(self, runs: Iterable[Run]) -> list[Run]:
        """List the runs that still have to be done, or that failed."""
        return [run for run in runs if not self.is_finished(run)]

    def write_table(self) -> Path:
        """Write all rows to one file, results.csv."""
        table = self.read()
        return write_atomically(self.folder / _TABLE, lambda file: table.to_csv(file, index=False))


def read_results(path: str | os.PathLike) -> pd.DataFrame:
    """Read the rows of a store, given its folder or a table written by `ResultStore.write_table`.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: for a file that holds no results.
    """
    path = Path(path)
    if not path.is_file():
        return ResultStore(path).read()
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} holds no results: {reason_of(error)}") from error
    _require_columns(table.columns, f"{str(path)!r} holds no results")
    return table.astype({"error": object, "traceback": object})


def _require_columns(found: Iterable[str], what: str) -> None:
    missing = [column for column in (*_ORDER, "error", "traceback") if column not in set(found)]
    if missing:
        raise ValueError(f"{what}: column {missing[0]!r} is missing")


def _read_row(file: Path) -> dict[str, Any]:
    try:
        (found,) = pd.read_parquet(file).to_dict(orient="records")
        row = {str(column): value for column, value in found.items()}
        _require_columns(row, "no result")
        row["error"] = row["error"] if isinstance(row["error"], str) else None
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{str(file)!r} is not the result of a run ({reason}): delete it, and the next call "
            "repeats the run"
        ) from error
    return row
