"""Perform one run of an experiment: train, test, and return a row of figures."""

from __future__ import annotations

import datetime
import json
import platform
import textwrap
import time
import traceback
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.detectors.registry import detectors, make_detector
from r2ad2.experiments.budgets import Budget
from r2ad2.experiments.protocols import EXPERIMENTS
from r2ad2.experiments.runs import Run
from r2ad2.support.memory import peak_memory, reset_peak_memory

_PACKAGES = ("r2ad2", "tensorflow", "keras", "numpy", "scikit-learn")
_LONGEST_ERROR = 500


def perform(run: Run, data_dir: str | None = None) -> dict[str, Any]:
    """Train and test one method, and return its row; an error becomes part of the row.

    Returns:
        Dict of plain values: the run; AUC and AP; fit_seconds, score_seconds and
        peak_memory_bytes; numbers of samples; the detector's settings; versions; `error`, None if
        there was none, with its `traceback`.
    """
    reset_peak_memory()
    try:
        outcome = _measure(run, data_dir) | {"error": None, "traceback": None}
    except Exception as error:
        outcome = {"error": _one_line(error), "traceback": traceback.format_exc()}
    return finished_row(run, {**outcome, "peak_memory_bytes": peak_memory()})


def _one_line(error: Exception) -> str:
    """Describe the error in one line, without the file names in TensorFlow's messages."""
    lines = [line.strip() for line in str(error).splitlines()]
    message = " ".join(line for line in lines if line and not line.startswith("File "))
    return (
        f"{type(error).__name__}: {textwrap.shorten(message, _LONGEST_ERROR, placeholder=' ...')}"
    )


def finished_row(run: Run, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Complete an outcome with what was run, with which versions, and when."""
    versions = {f"version_{name.replace('-', '_')}": version(name) for name in _PACKAGES}
    return {
        **run.describe(),
        **outcome,
        **versions,
        "version_python": platform.python_version(),
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _measure(run: Run, data_dir: str | None) -> dict[str, Any]:
    import keras

    keras.backend.clear_session()
    protocol, budget = EXPERIMENTS[run.experiment], Budget.parse(run.budget)
    material = protocol.material(run, data_dir)
    detector_type = detectors()[run.method]
    settings = {
        **budget.settings(detector_type, material.card),
        **protocol.detector_settings(run.level),
        **run.overrides,
        "random_state": run.seed,
    }
    settings = budget.affordable(
        detector_type, settings, lambda detector: detector.fit(material.x_train, material.y_train)
    )
    detector = make_detector(detector_type, settings)
    start = time.perf_counter()
    detector.fit(material.x_train, material.y_train)
    fitted = time.perf_counter()
    scores = np.asarray(detector.decision_function(material.x_test), dtype=np.float64).reshape(-1)
    scored = time.perf_counter()
    _check_scores(scores, len(material.x_test))
    figures = evaluate_scores(material.y_test, scores)
    return {
        "AUC": figures["AUC"],
        "AP": figures["AP"],
        "fit_seconds": fitted - start,
        "score_seconds": scored - fitted,
        "n_train_normal": int(np.sum(material.y_train == 0)),
        "n_polluting": material.n_polluting,
        "n_known_anomalies": int(np.sum(material.y_train == 1)),
        "n_test_normal": figures["n_normal"],
        "n_test_anomalies": figures["n_anomalies"],
        "whole": material.is_whole,
        "settings": json.dumps(detector.get_params(deep=False), sort_keys=True, default=str),
    }


def _check_scores(scores: np.ndarray, n_samples: int) -> None:
    if len(scores) != n_samples:
        raise ValueError(f"{len(scores):,} scores for {n_samples:,} test samples")
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum()):,} test scores are not finite")
