"""Performs the runs of an experiment in separate processes, and resumes where it stopped."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import joblib

from r2ad2.experiments.perform import finished_row
from r2ad2.experiments.results import ResultStore
from r2ad2.experiments.runs import Run

_THREADS = "TF_NUM_INTRAOP_THREADS"
_POLL_SECONDS = 0.5
_LAST_LINES = 20
Report = Callable[[Run, dict[str, Any]], None]


def run_experiment(
    runs: Sequence[Run],
    output: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    jobs: int | None = None,
    report: Report | None = None,
) -> int:
    """Perform the runs that are not in the store yet.

    Each group of runs (one data set and seed) is a joblib task, performed in its own
    process. By default tasks run one after the other; `joblib.parallel_config`
    chooses another backend, such as Dask or Ray, whose machines share the folders of data and
    results. A run that fails leaves a row with its error and does not stop the others; the next
    call retries it.

    Args:
        runs: what to run, see `plan_runs`.
        output: folder of the results, see `ResultStore`.
        data_dir: folder of the data sets; by default that of `load_dataset`.
        jobs: number of simultaneous tasks; None means one, or what `parallel_config` says.
        report: called with each run and its row soon after the run is done.

    Returns:
        The number of runs that failed.
    """
    store = ResultStore(output)
    pending = store.unfinished(runs)
    groups = [
        list(group) for _, group in itertools.groupby(pending, lambda run: (run.dataset, run.seed))
    ]
    for run in pending:  # errors of earlier calls
        store.path(run).unlink(missing_ok=True)
    environment = _share_of_cores(jobs)
    folders = (str(store.folder), None if data_dir is None else str(data_dir))
    with _reporting(store, pending, report):
        # Processes do the work, so threads suffice here; a backend chosen by the caller wins.
        joblib.Parallel(n_jobs=jobs, prefer="threads")(
            joblib.delayed(perform_group)(group, *folders, environment) for group in groups
        )
    return len(store.unfinished(runs))


def perform_group(
    runs: Sequence[Run], folder: str, data_dir: str | None, environment: Mapping[str, str]
) -> None:
    """Perform runs one after the other in another process, replacing it if it dies.

    Args:
        runs: what to run.
        folder: the folder of the results.
        data_dir: folder of the data sets, see `load_dataset`.
        environment: variables to add to the environment of this process.
    """
    store = ResultStore(folder)
    left = list(runs)
    while left:
        n_done, code, messages = _work_on(left, folder, data_dir, environment)
        left = left[n_done:]
        if left and code == -signal.SIGINT:
            raise KeyboardInterrupt
        if left:
            failure = f"RuntimeError: its process ended with exit code {code}"
            outcome = {"error": failure, "traceback": messages}
            store.write(left[0], finished_row(left[0], outcome))
            left = left[1:]


def _work_on(
    runs: Sequence[Run], folder: str, data_dir: str | None, environment: Mapping[str, str]
) -> tuple[int, int, str]:
    """Let a process perform the runs.

    Returns:
        How many it performed, its exit code, and its last messages.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as messages:
        worker = subprocess.Popen(
            [sys.executable, "-m", "r2ad2.experiments.worker", folder, data_dir or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
            env=os.environ | dict(environment),
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        n_done = 0
        try:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.writelines(f"{run.to_json()}\n" for run in runs)
                worker.stdin.flush()
            while n_done < len(runs) and worker.stdout.readline():
                n_done += 1
        finally:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.close()  # which ends the process
            code = worker.wait()
            worker.stdout.close()
        messages.seek(0)
        return n_done, code, "".join(messages.readlines()[-_LAST_LINES:])


def _share_of_cores(jobs: int | None) -> dict[str, str]:
    """Divide the cores among the jobs of one machine, unless the environment says otherwise."""
    n_jobs = joblib.effective_n_jobs(jobs) if jobs is not None else 1
    if n_jobs == 1 or _THREADS in os.environ:
        return {}
    return {_THREADS: str(max(1, (os.cpu_count() or 1) // n_jobs))}


@contextlib.contextmanager
def _reporting(store: ResultStore, runs: Sequence[Run], report: Report | None) -> Iterator[None]:
    """Watch the store inside the block, and report new rows wherever they come from."""
    left = dict.fromkeys(runs) if report is not None else {}
    stop = threading.Event()

    def report_new_rows() -> None:
        for run in list(left):
            row = store.row(run)
            if row is not None and report is not None:
                del left[run]
                report(run, row)

    def watch() -> None:
        while not stop.wait(_POLL_SECONDS):
            report_new_rows()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        report_new_rows()
