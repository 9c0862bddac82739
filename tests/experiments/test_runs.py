"""Experiments as a user runs them: all five, small; interruptions, failures, the report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pandas as pd
import pytest

from r2ad2.experiments import ResultStore, Run, run_experiment, runner
from r2ad2.experiments.report import write_report
from tests.helpers.browser import chromium
from tests.helpers.commands import run as run_command
from tests.helpers.experiments import work_here

pytestmark = pytest.mark.slow

PROGRAM = Path(sys.executable).with_name("r2ad2")
QUICK = ["--set", "epochs=2", "--set", "start_epoch=1", "--set", "snapshot_interval=1"]
SMALL = [*QUICK, "--set", "architecture=6-3", "--max-rows", "200", "--seeds", "110"]
EXPERIMENTS = {
    "known": ["--data", "digits", "breast_cancer"],
    "unknown": ["--data", "digits", "--method", "AE,DevNet"],
    "pollution": ["--data", "breast_cancer", "--levels", "0.1", "--method", "AE,DevNet"],
    "anomalies": ["--data", "breast_cancer", "--levels", "10", "--method", "AE,DevNet"],
    "ablation": ["--data", "breast_cancer", "--levels", "1,2"],
}
N_RUNS = 12 + 2 + 2 + 2 + 2
UNEQUAL = ["fit_seconds", "score_seconds", "peak_memory_bytes", "finished"]


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(runner, "_work_on", work_here)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run all five experiments, one with all methods, and the last in processes of its own."""
    folder = tmp_path_factory.mktemp("experiments") / "results"
    *others, (last, last_arguments) = EXPERIMENTS.items()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_work_on", work_here)
        for name, arguments in others:
            assert run_command("experiment", name, *arguments, *SMALL, "--output", folder) == 0
    assert run_command("experiment", last, *last_arguments, *SMALL, "--output", folder) == 0
    return folder


def test_every_run_has_its_row(results):
    table = pd.read_csv(results / "results.csv")
    assert len(table) == N_RUNS
    assert table["error"].isna().all()
    assert table["method"].nunique() == 6
    assert table[["AUC", "AP"]].apply(lambda column: column.between(0, 1)).all(axis=None)
    assert (table[["fit_seconds", "score_seconds", "peak_memory_bytes"]] > 0).all(axis=None)
    assert table["version_tensorflow"].notna().all()
    assert (
        table["n_known_anomalies"]
        == table["experiment"].eq("anomalies").map({True: 10, False: 100})
    ).all()
    polluted = table.query("experiment == 'pollution'")
    assert (polluted["n_polluting"] / polluted["n_train_normal"]).round(2).eq(0.1).all()
    epochs = table["settings"].map(json.loads).map(lambda settings: settings["epochs"])
    assert epochs.eq(2).all()
    snapshots = table.query("experiment == 'ablation'")["settings"].map(json.loads)
    assert [settings["n_snapshots"] for settings in snapshots] == [1, 2]


def test_finished_runs_are_not_run_again(results, capsys):
    before = {path: path.stat().st_mtime_ns for path in (results / "runs").iterdir()}
    arguments = [*EXPERIMENTS["known"], *SMALL, "--output", results]
    assert run_command("experiment", "known", *arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (results / "runs").iterdir()} == before
    assert "12 of 12 runs are done, 0 failed" in capsys.readouterr().out


def test_report_has_every_table_and_figure(results, tmp_path):
    page = write_report(results, tmp_path)
    names = {path.name for path in tmp_path.glob("*/*")}
    assert {
        "table3_auc.md",
        "table4_ap.tex",
        "table5_auc.csv",
        "figure2.svg",
        "figure3.svg",
    } <= names
    assert "table3_ranks_auc.svg" in names
    pages = {path.name for path in tmp_path.glob("*.html")}
    assert pages == {page.name, *(f"{name}.html" for name in EXPERIMENTS)}
    for name in pages:
        text = (tmp_path / name).read_text("utf-8")
        found = set(re.findall(r"(?:src|href)=\"(?!data:|#)([^\"#]*)", text))
        assert found <= pages  # nothing from elsewhere
    table = pd.read_csv(next(tmp_path.glob("*/table3_auc.csv")))
    rows = pd.read_csv(results / "results.csv").query("experiment == 'known'")
    for row in rows.itertuples():
        cell = table[(table["data set"] == row.dataset) & (table["method"] == row.method)]
        assert cell["mean"].item() == pytest.approx(row.AUC)


CLICKS = """
  const table = document.querySelector("table.sortable");
  const order = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent.trim());
  const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[1].dataset.sort));
  const buttons = table.querySelectorAll("button");
  buttons[0].click(); seen.byName = order(); seen.ariaName = table.tHead.rows[0].cells[0].ariaSort;
  buttons[0].click(); seen.byNameDown = order();
  buttons[1].click(); seen.byValue = values();
  buttons[1].click(); seen.byValueDown = values();
  seen.foot = table.tFoot.rows[0].cells[0].textContent;
  const download = document.querySelector("a[download='table3_auc.csv']").href;
  seen.csv = atob(download.split(",")[1]).split("\\n")[0];
"""
HIDE = """
  const published = document.querySelector(".published");
  const hidden = () => getComputedStyle(published).display;
  const box = document.getElementById("published");
  seen.shown = hidden(); box.click(); seen.hiddenClass = document.body.className;
  seen.hidden = hidden(); box.click(); seen.again = document.body.className;
"""
DOWNLOAD = """
  const download = document.querySelector("a[download='results.csv']").href;
  seen.csv = atob(download.split(",")[1]).split("\\n")[0];
"""


def seen_in_a_browser(page, script, folder):
    """Open a page on a phone, run a script that fills `seen`, and return that."""
    browser = chromium()
    script = f"""
<script>
addEventListener("load", () => {{
  const seen = {{}};
  {script}
  seen.anchors = [...document.querySelectorAll("nav a")].every(
    (link) => document.getElementById(decodeURIComponent(link.hash.slice(1))));
  seen.wide = document.documentElement.scrollWidth > innerWidth;
  seen.pictures = [...document.images].every((image) => image.naturalWidth > 0);
  document.body.dataset.seen = JSON.stringify(seen);
}});
</script>
"""
    clicked = folder / "clicked.html"
    clicked.write_text(page.read_text("utf-8").replace("</body>", script + "</body>"), "utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000"]
    done = subprocess.run(
        [*command, "--dump-dom", clicked.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    seen = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert seen["anchors"]
    assert seen["pictures"]
    assert not seen["wide"]  # tables scroll, not the page
    return seen


def test_pages_in_a_browser_on_a_phone(results, tmp_path):
    page = write_report(results, tmp_path)
    seen = seen_in_a_browser(page, DOWNLOAD, tmp_path)
    assert seen["csv"].startswith("experiment,dataset,method,seed")
    seen = seen_in_a_browser(page.with_name("known.html"), CLICKS, tmp_path)
    assert seen["byName"] == ["breast_cancer", "digits"]
    assert seen["ariaName"] == "ascending"
    assert seen["byNameDown"] == ["digits", "breast_cancer"]
    assert seen["byValue"] == sorted(seen["byValue"])
    assert seen["byValueDown"] == sorted(seen["byValue"], reverse=True)
    assert seen["foot"] == "mean"
    assert seen["csv"].startswith("data set,method,mean,std")
    seen = seen_in_a_browser(page.with_name("ablation.html"), HIDE, tmp_path)
    assert (seen["shown"], seen["hidden"]) == ("block", "none")
    assert (seen["hiddenClass"], seen["again"]) == ("hide-published", "")


def test_failures_are_recorded_and_retried(tmp_path, capsys, in_this_process):
    arguments = ["--data", "breast_cancer", "--method", "DevNet,IsolationForest"]
    arguments += [*QUICK, "--output", tmp_path]
    too_many = [*arguments, "--seeds", "110", "--levels", "10,1000"]
    assert run_command("experiment", "anomalies", *too_many) == 0
    assert "2 of 4 runs are done, 2 failed" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "results.csv")
    failed = table[table["error"].notna()]
    assert failed["level"].eq(1000).all()
    assert failed["error"].str.contains("ValueError: breast_cancer has only").all()
    assert failed["traceback"].str.contains("_draw").all()
    before = [path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*1000*")]
    assert run_command("experiment", "anomalies", *too_many) == 0
    after = [path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*1000*")]
    assert min(after) > max(before)
    page = write_report(tmp_path, reference="IsolationForest").read_text("utf-8")
    assert "Failed runs" in page


CRASHING = """
import os
from sklearn.base import BaseEstimator

class Crash(BaseEstimator):
    def fit(self, X, y):
        print("about to die", file=__import__("sys").stderr, flush=True)
        os._exit(7)
"""


def test_a_process_that_dies_does_not_stop_the_others(tmp_path, install):
    install("crashing", CRASHING, "Crash = crashing:Crash")
    common = {"overrides": {"epochs": 1}}
    runs = [
        Run("known", "breast_cancer", name, 1, **common) for name in ("Crash", "IsolationForest")
    ]
    assert run_experiment(runs, tmp_path / "results") == 1
    first, second = (ResultStore(tmp_path / "results").row(run) for run in runs)
    assert "exit code 7" in first["error"]
    assert "about to die" in first["traceback"]
    assert second["error"] is None


def test_killed_at_any_stage_it_ends_with_the_same_results(tmp_path, monkeypatch):
    """Kill it while it starts, and while its last run trains."""
    arguments = ["known", "--data", "breast_cancer", "--method", "IsolationForest,DevNet"]
    arguments += ["--seeds", "1,2", *QUICK]
    folder = tmp_path / "killed"

    def n_stored():
        return len(list(folder.glob("runs/[!.]*.parquet")))

    def kill_when(reached):
        process = subprocess.Popen(
            [PROGRAM, "experiment", *arguments, "--quiet", "--output", folder],
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and not reached():
            assert time.monotonic() < deadline, "the experiment makes no progress"
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    began = time.monotonic()
    kill_when(lambda: time.monotonic() > began + 1)
    kill_when(lambda: n_stored() == 3)
    assert n_stored() == 3
    assert run_command("experiment", *arguments, "--output", folder) == 0
    monkeypatch.setattr(runner, "_work_on", work_here)
    assert run_command("experiment", *arguments, "--output", tmp_path / "whole") == 0
    killed, whole = (
        ResultStore(f).read().drop(columns=UNEQUAL) for f in (folder, tmp_path / "whole")
    )
    pd.testing.assert_frame_equal(killed, whole)


def test_another_engine_of_joblib_gives_the_same(tmp_path, in_this_process):
    runs = [Run("known", "breast_cancer", "IsolationForest", seed) for seed in (1, 2)]
    run_experiment(runs, tmp_path / "here")
    # The processes of this engine start workers of their own.
    with joblib.parallel_config("loky", n_jobs=2):
        run_experiment(runs, tmp_path / "there")
    here, there = (ResultStore(tmp_path / name).read() for name in ("here", "there"))
    pd.testing.assert_frame_equal(here.drop(columns=UNEQUAL), there.drop(columns=UNEQUAL))
