"""Table files in many forms, taken through all commands that read them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

import r2ad2
from r2ad2.cli import main as cli
from tests.helpers.commands import run
from tests.helpers.detectors import DistanceDetector


@dataclass
class Outcome:
    """What the commands did with a file.

    Attributes:
        scores: of each row that was scored; empty after an error.
        printed: what `fit` printed.
        error: the line on standard error, or "".
        command: the command that printed it.
    """

    scores: np.ndarray
    printed: str = ""
    error: str = ""
    command: str = ""


def all_commands(
    folder: Path,
    capsys: pytest.CaptureFixture,
    train: Path,
    *options: str,
    label: Sequence[str] = ("--label", "label"),
    new: Path | None = None,
    reading: Sequence[str] = (),
) -> Outcome:
    """Train on a file; score, explain and evaluate it, or another one, without being told again.

    All three must give the same scores. Nothing is trained but the encoding.

    Args:
        folder: for models and results.
        capsys: captures what is printed.
        train: the file.
        options: of `fit`.
        label: further options of `fit`.
        new: the file to score; by default the same.
        reading: options of all commands but `fit`.
    """
    new = new or train
    made: list[DistanceDetector] = []
    settings = [options[i + 1] for i, option in enumerate(options) if option == "--set"]
    parameters = dict(setting.split("=") for setting in settings)

    def make(preset: str, given: dict, seed: int, quiet: bool) -> DistanceDetector:
        made.append(DistanceDetector(calibration_fraction=0.0, random_state=0, **parameters))
        return made[-1]

    model, scores, why = folder / "model.keras", folder / "scores.csv", folder / "why.csv"
    commands = {
        "fit": ["fit", train, *label, *options, "--output", model],
        "score": ["score", new, "--model", model, "--output", scores, *reading],
        "explain": ["explain", new, "--model", model, "--output", why, *reading, "--top", "6"],
    }
    if label:
        commands["evaluate"] = ["evaluate", new, "--model", model, *label[:2], *reading]
    printed = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "_make_detector", make)
        # Loading a model and compiling its graphs again would take most of the time.
        patch.setattr(r2ad2, "load", lambda path: made[-1])
        for name, command in commands.items():
            code = run(*command)
            shown = capsys.readouterr()
            printed = printed or shown.out
            if code != 0:
                lines = shown.err.splitlines()
                assert lines[-1].startswith("Error: "), shown.err
                assert code == 2
                return Outcome(np.empty(0), printed, lines[-1], name)
    by_row = pd.read_csv(scores).set_index("row")["score"]
    found = by_row.to_numpy()
    explained = pd.read_csv(why).set_index("row")["score"]
    np.testing.assert_allclose(explained, by_row[explained.index], atol=1e-6)
    return Outcome(found, printed)


def transactions(n: int = 80) -> pd.DataFrame:
    """Make rows of numbers, whole numbers, booleans and categories, with a label of 0 and 1."""
    rng = np.random.default_rng(0)
    anomalous = np.arange(n) % 8 == 0
    return pd.DataFrame(
        {
            "amount": rng.normal(5000, 900, n).round(2) + 4000 * anomalous,
            "hour": rng.integers(0, 24, n),
            "online": rng.random(n) < 0.5,
            "kind": np.where(anomalous, "gift", rng.choice(["food", "fuel"], n)),
            "label": anomalous.astype(int),
        }
    )


def _zipped(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", content)


def _zstandard(path: Path, content: bytes) -> None:
    with pa.CompressedOutputStream(str(path), "zstd") as file:
        file.write(content)


PACKED: dict[str, Callable[[Path, bytes], None]] = {
    "a.csv.gz": lambda path, content: path.write_bytes(gzip.compress(content)) and None,
    "a.csv.bz2": lambda path, content: path.write_bytes(bz2.compress(content)) and None,
    "a.csv.xz": lambda path, content: path.write_bytes(lzma.compress(content)) and None,
    "a.csv.zst": _zstandard,
    "a.zip": _zipped,
    "misnamed.csv": lambda path, content: path.write_bytes(gzip.compress(content)) and None,
}


def _parts(table: pd.DataFrame, path: Path) -> None:
    path.mkdir()
    table[:30].to_parquet(path / "part-0.parquet", index=False)
    table[30:].to_parquet(path / "part-1.parquet", index=False)


OTHER_FORMATS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "a.tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "a.jsonl": lambda table, path: table.to_json(path, orient="records", lines=True),
    "a.parquet": lambda table, path: table.to_parquet(path, index=False),
    "a.feather": lambda table, path: pyarrow.feather.write_feather(table, str(path)),
    "parts": _parts,
}
