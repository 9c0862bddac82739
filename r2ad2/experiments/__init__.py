"""The paper's experiments: run over data sets, methods and seeds, stored, reported."""

from r2ad2.experiments.budgets import Budget
from r2ad2.experiments.protocols import EXPERIMENTS, Protocol, plan_runs
from r2ad2.experiments.results import ResultStore, read_results
from r2ad2.experiments.runner import run_experiment
from r2ad2.experiments.runs import Run

__all__ = [
    "EXPERIMENTS",
    "Budget",
    "Protocol",
    "ResultStore",
    "Run",
    "plan_runs",
    "read_results",
    "run_experiment",
]
