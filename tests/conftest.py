"""Fixtures and hooks shared by all tests."""

from __future__ import annotations

import gc
import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before OpenMP is loaded: its threads wait busily for each other, and the processes of
    # pytest-xdist take all cores already.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest

from tests.helpers.browser import opened_browser

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# On a busy machine any example may take longer than hypothesis' 200 milliseconds.
hypothesis.settings.register_profile("r2ad2", deadline=None)
hypothesis.settings.load_profile("r2ad2")

# Files with the longest tests, longest first. pytest-xdist gives whole files to its processes, in
# this order: a long file at the end would keep one process busy while the others are idle.
# Measure with `pytest --durations=0`; the order need not be exact.
_LONGEST = (
    "detectors/test_sklearn.py",
    "detectors/test_r2ad2.py",
    "test_notebooks.py",
    "test_spark.py",
    "experiments/test_runs.py",
    "test_documentation.py",
    "fuzzing/test_table_files.py",
    "detectors/test_gradient_forest.py",
    "detectors/test_all_detectors.py",
    "benchmark/test_benchmark.py",
    "training/test_replicas.py",
    "baselines/test_baselines.py",
    "cli/test_main.py",
    "review/test_page.py",
    "training/test_checkpoints.py",
    "detectors/test_concurrency.py",
    "detectors/test_numerics.py",
    "bulk/test_score.py",
    "serving/test_savedmodel.py",
    "serving/onnx/test_export.py",
    "serving/onnx/test_detectors.py",
    "datasets/test_streaming.py",
    "networks/test_model.py",
    "networks/test_fast_paths.py",
)
TESTS = Path(__file__).resolve().parent
PROJECT = TESTS.parent


def _data_dir() -> Path | None:
    candidates = [os.environ.get("R2AD2_DATA"), PROJECT.parent / "shared" / "data"]
    return next((Path(c) for c in candidates if c and Path(c).is_dir()), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by the time that their files take, files without a known time last."""
    places = {TESTS / name: place for place, name in enumerate(_LONGEST)}
    moved = [str(path) for path in places if not path.is_file()]
    if moved:
        raise pytest.UsageError(f"tests/conftest.py: _LONGEST names missing files: {moved}")
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Exempt what has been imported from garbage collection, which takes a tenth of the time."""
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
        pytest.skip("golden arrays not available: expected next to the folder in R2AD2_DATA")
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
    # For processes that the test starts.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return install_package


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as browser:
        yield browser
