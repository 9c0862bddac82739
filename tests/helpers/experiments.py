"""Performs runs of experiments in the tests' own process."""

from __future__ import annotations

from r2ad2.experiments import ResultStore
from r2ad2.experiments.perform import perform


def work_here(runs, folder, data_dir, environment):
    """Perform runs in this process, which need not start and import TensorFlow first."""
    for run in runs:
        ResultStore(folder).write(run, perform(run, data_dir))
    return len(runs), 0, ""
