"""Rows of results as experiments store them, and runs in the tests' own process."""

from __future__ import annotations

from r2ad2.experiments import ResultStore, Run
from r2ad2.experiments.perform import perform


def row(run: Run, **figures):
    """Make a row as `perform` returns it."""
    counts = {"n_known_anomalies": 100, "n_test_normal": 50, "n_test_anomalies": 50}
    counts["n_train_normal"] = 500
    outcome = {"AUC": 0.9, "AP": 0.8, "fit_seconds": 1.0, "score_seconds": 0.1, "whole": True}
    rest = {"error": None, "traceback": None, "peak_memory_bytes": 2**30, "version_r2ad2": "1"}
    finished = {"finished": "2026-01-01T00:00:00+00:00"}
    return {**run.describe(), **outcome, **counts, **rest, **finished, **figures}


def work_here(runs, folder, data_dir, environment):
    """Perform runs in this process, which need not start and import TensorFlow first."""
    for run in runs:
        ResultStore(folder).write(run, perform(run, data_dir))
    return len(runs), 0, ""
