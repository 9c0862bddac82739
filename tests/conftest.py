"""Fixtures shared by all tests: where the real data sets and the golden arrays are."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# So that no process is left alone with one of them at the end
_LONGEST = [
    "test_experiment_runs",
    "test_notebooks",
    "test_detector",
    "test_sklearn",
    "test_documentation",
    "test_spark",
    "test_checkpoints",
    "test_distribution",
    "test_cli",
    "test_benchmark",
    "test_export",
    "test_gradients",
]
PROJECT = Path(__file__).resolve().parent.parent


def _data_dir() -> Path | None:
    candidates = [os.environ.get("R2AD2_DATA"), PROJECT.parent / "shared" / "data"]
    return next((Path(c) for c in candidates if c and Path(c).is_dir()), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by the time their files take."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_collection_finish() -> None:
    """Keep what has been imported out of garbage collection, a tenth of the time otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the publishers' files, one sub-folder per data set."""
    folder = _data_dir()
    if folder is None:
        pytest.skip("real data sets not available: set R2AD2_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def golden(real_data: Path):
    """Return a function that loads one of the golden array files by name."""
    folder = real_data.parent / "golden"
    if not folder.is_dir():
        pytest.skip("golden arrays not available: expected beside the folder R2AD2_DATA points to")
    return lambda name: np.load(folder / f"{name}.npz")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package of one module, with detectors, for this test."""

    def install_package(name: str, code: str, entries: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        information = tmp_path / f"{name}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[r2ad2.detectors]\n{entries}\n")

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # for processes that are started
    return install_package
