"""What README and pages show runs as it stands; examples in docstrings give what they say."""

from __future__ import annotations

import doctest
import importlib
import os
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from r2ad2.cli import main as cli
from r2ad2.datasets import sets
from r2ad2.experiments import read_results
from r2ad2.experiments.comparison import METRICS, compare_orders, grid, rank, summarise
from r2ad2.experiments.published import read_published
from r2ad2.experiments.tables import make_tables
from r2ad2.gradients.rules import registry
from tests.conftest import PROJECT
from tests.helpers.pages import code_block

EXTENDING = "docs/extending.md"
MODULES_WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PROJECT).with_suffix("").parts)
    for path in (PROJECT / "r2ad2").rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", MODULES_WITH_EXAMPLES)
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_a_documented_gradient_rule_equals_the_reference(monkeypatch, caplog):
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))
    names = {}
    exec(code_block(EXTENDING, "python", "class PReLURule"), names)
    exec(code_block(EXTENDING, "python", "keras.Input"), names)
    assert np.abs(names["reference"]).max() > 1e-3
    np.testing.assert_allclose(names["closed"], names["reference"], atol=1e-12)
    assert "no closed-form" not in caplog.text


def test_the_documented_detector_passes_its_documented_test(tmp_path):
    names = {}
    exec(code_block(EXTENDING, "python", "class CentreDetector"), names)
    exec(code_block(EXTENDING, "python", "def test_the_centre_detector"), names)
    names["test_the_centre_detector_finds_a_distant_row_and_keeps_its_scores"](tmp_path)


@pytest.fixture
def pumps(tmp_path, monkeypatch, rng):
    """Write the CSV file that docs/extending.md speaks of, in the current folder."""
    monkeypatch.chdir(tmp_path)
    state = np.repeat(["fine", "leak", "blocked"], [300, 40, 40])
    table = pd.DataFrame(rng.normal(size=(380, 3)), columns=["pressure", "flow", "current"])
    table.insert(0, "time", pd.date_range("2026-01-01", periods=380, freq="h"))
    table.assign(state=state).sample(frac=1, random_state=0).to_csv("pumps.csv", index=False)
    return tmp_path / "pumps.csv"


def test_a_csv_file_of_ones_own_follows_the_publications_protocol(pumps):
    names = {}
    exec(code_block(EXTENDING, "python", "card = DatasetCard("), names)
    split = names["split"]
    assert split.x_train.shape[1] == 3
    assert split.y_train.sum() == 10
    assert split.y_test.sum() > 0
    assert set(names["dataset"].classes[split.train_indices]) == {"fine", "leak"}


def test_a_data_set_is_added_to_the_package_as_documented(pumps, monkeypatch, capfd):
    """The module is in a folder that is added to the sub-package for this test."""
    added = pumps.parent / "sets"
    added.mkdir()
    (added / "pumps.py").write_text(code_block(EXTENDING, "python", "\nCARD = DatasetCard("))
    monkeypatch.setattr(sets, "__path__", [*sets.__path__, str(added)])
    names = {}
    exec(code_block(EXTENDING, "python", "def test_the_time_is_left_out"), names)
    names["test_the_time_is_left_out"](pumps.parent)

    (pumps.parent / "data" / "pumps").mkdir(parents=True)
    pumps.rename(pumps.parent / "data" / "pumps" / "pumps.csv")
    monkeypatch.delenv("R2AD2_DATA", raising=False)
    commands = code_block(EXTENDING, "", "r2ad2 data check pumps").splitlines()
    command = next(line for line in commands if line.startswith("r2ad2"))
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    output = capfd.readouterr().out
    assert "380" in output
    assert "whole" in output


def results_with_budget_fast():
    rows = read_results(PROJECT / "docs/results/results.csv")
    assert rows["error"].isna().all()
    return rows[rows["budget"] == "fast"]


def test_the_comparison_has_the_figures_of_its_results():
    page = (PROJECT / "docs/comparison.md").read_text("utf-8")
    for experiment, rows in results_with_budget_fast().groupby("experiment"):
        for table in make_tables(rows, experiment, "R2AD2"):
            assert table.to_markdown().strip() in page


@pytest.mark.parametrize("experiment", ["known", "unknown"])
def test_the_comparison_has_the_orders_of_its_results(experiment):
    page = (PROJECT / "docs/comparison.md").read_text("utf-8")
    rows = results_with_budget_fast().query("experiment == @experiment")
    summary = summarise(rows)
    for metric in METRICS:
        ranking = rank(grid(summary, metric))
        ranks = ", ".join(f"{method} {value:.2f}" for method, value in ranking.ranks.items())
        assert f"Average ranks: {ranks} " in page
    published = read_published().query("experiment == @experiment")
    orders = compare_orders(grid(summary, "AUC"), grid(published, "AUC"))
    for order in orders.itertuples():
        best = "yes" if order.same_best else "no"
        cells = [order.dataset, order.ours, order.published, best, f"{order.tau:.2f}"]
        assert f"| {' | '.join(cells)} |" in page


def table_below(path, heading):
    """Read the first Markdown table below a heading as lists of cells, without its head."""
    text = (PROJECT / path).read_text("utf-8").split(f"## {heading}\n", 1)[1]
    table = next(part for part in text.split("\n\n") if part.startswith("|"))
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


LEVELS = (0, 1, 5, 10, 25, 50, 100)


def spread(row):
    return f"{row.AUC:.3f} ± {row.AUC_std:.3f} / {row.AP:.3f} ± {row.AP_std:.3f}"


def test_the_readme_has_the_figures_of_its_results():
    rows = results_with_budget_fast().query("experiment == 'known'")
    ours = summarise(rows).set_index(["dataset", "method"])
    published = read_published().query("experiment == 'known'").set_index(["dataset", "method"])
    table = table_below("README.md", "Results")
    assert len(table) == rows["dataset"].nunique()
    for name, r2ad2, in_publication, *baselines in table:
        dataset = name.removesuffix(" †")
        assert rows[rows["dataset"] == dataset]["whole"].all() == (dataset == name)
        methods = ["R2AD2", "DevNet", "AE", "GradientBoosting", "XGBOD", "IsolationForest"]
        for method, cell in zip(methods, [r2ad2, *baselines], strict=True):
            auc, ap = ours.loc[(dataset, method), ["AUC", "AP"]]
            assert cell == f"{auc:.3f} / {ap:.3f}".replace("0.", ".")
        if in_publication == "-":
            assert (dataset, "R2AD2") not in published.index
        else:
            auc, ap = published.loc[(dataset, "R2AD2"), ["AUC", "AP"]]
            assert in_publication == f"{auc:.2f} / {ap:.2f}".replace("0.", ".")


def short(figures):
    return f"{figures['AUC']:.3f} / {figures['AP']:.3f}".replace("0.", ".")


def test_the_forest_page_has_the_figures_of_its_results():
    forest = read_results(PROJECT / "docs/results/forest.csv")
    assert forest["error"].isna().all()
    means = summarise(pd.concat([results_with_budget_fast(), forest]))
    means = means.set_index(["dataset", "experiment", "method"])[["AUC", "AP"]]
    methods = ["GradientForest", "XGBOD", "GradientBoosting", "DevNet", "R2AD2"]

    *tasks, (name, *overall) = table_below(
        "docs/forest.md", "How good it is, on the publication's sets"
    )
    assert name == "mean"
    # Other methods were measured on a sample of covertype.
    expected = set(forest.groupby(["dataset", "experiment"]).groups) - {
        ("covertype", "known"),
        ("covertype", "unknown"),
    }
    keys = [tuple(name.split(", ")) for name, *_ in tasks]
    assert set(keys) == expected
    for key, (_, *cells) in zip(keys, tasks, strict=True):
        assert cells == [short(means.loc[(*key, method)]) for method in methods]
    assert overall == [
        short(pd.DataFrame([means.loc[(*key, method)] for key in keys]).mean())
        for method in methods
    ]


def test_the_forest_page_has_the_figures_of_its_ablation():
    rows = pd.read_csv(PROJECT / "docs/results/ablation.csv")
    rows["tasks"] = rows["tasks"].replace({"known": "own", "unknown": "own"})
    means = rows.groupby(["judges", "tasks"])[["AUC", "AP"]].mean()
    table = table_below("docs/forest.md", "What each part contributes")
    assert [name for name, *_ in table] == list(dict.fromkeys(rows["judges"]))
    for name, *cells in table:
        tasks = ["ADBench", "own", "credit card", "ai4i2020"]
        assert cells == [short(means.loc[(name, of)]) for of in tasks]


def test_the_forest_page_has_the_figures_of_its_curves():
    rows = read_results(PROJECT / "docs/results/anomalies.csv")
    means = rows.groupby(["dataset", "method", "level"])["AP"].mean()
    table = table_below("docs/forest.md", "How many labels it needs")
    assert len(table) == len(means.groupby(["dataset", "method"]).size())
    for name, *cells in table:
        dataset, method = name.split(", ")
        levels = means.loc[(dataset, method)]
        found = [f"{levels[n]:.3f}".replace("0.", ".") if n in levels else "-" for n in LEVELS]
        assert cells == found


@pytest.mark.parametrize(
    ("heading", "method"),
    [("The preset `paper`", "R2AD2"), ("DevNet and the length of its training", "DevNet")],
)
def test_the_comparison_has_the_figures_of_the_publications_settings(heading, method):
    rows = read_results(PROJECT / "docs/results/results.csv").query("method == @method")
    keys = ["dataset", "experiment"]
    paper, fast = (
        summarise(rows[rows["budget"] == budget]).set_index(keys) for budget in ("paper", "fast")
    )
    table = table_below("docs/comparison.md", heading)
    assert len(table) == len(paper)
    for name, paper_cell, fast_cell, *_ in table:
        key = tuple(name.split(", "))
        assert [paper_cell, fast_cell] == [spread(paper.loc[key]), spread(fast.loc[key])]


def test_the_comparison_has_the_times_of_its_results():
    rows = results_with_budget_fast().query("experiment == 'known'")
    n_scored = rows["n_test_normal"] + rows["n_test_anomalies"]
    rows = rows.assign(microseconds=rows["score_seconds"] / n_scored * 1e6)
    groups = rows.groupby(["dataset", "method"])
    times = groups[["fit_seconds", "microseconds"]].median()
    methods = make_tables(rows, "known", "R2AD2")[0].methods
    table = table_below("docs/comparison.md", "Time")
    assert len(table) == rows["dataset"].nunique()
    for dataset, *cells in table:
        for method, cell in zip(methods, cells, strict=True):
            seconds, microseconds = times.loc[(dataset, method)]
            assert cell == f"{seconds:.3g} s / {microseconds:.3g}"


@pytest.mark.slow
def test_the_readme_goes_from_a_csv_file_to_an_explained_alert(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(code_block("README.md", "python", "to_csv"), {})
    environment = os.environ | {"PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}"}
    shell = code_block("README.md", "", "r2ad2 fit transactions.csv")
    subprocess.run(["bash", "-euc", shell], cwd=tmp_path, env=environment, check=True)
    scores, why = pd.read_csv("scores.csv"), pd.read_csv("why.csv")
    assert scores["is_anomaly"].any()
    highest = scores.nlargest(1, "score")
    assert why["row"].iloc[0] == highest["row"].item()
    assert any(column.startswith("feature:") for column in why)


@pytest.mark.slow
def test_the_readmes_example_in_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code_block("README.md", "python", "load_breast_cancer"), names)
    assert (names["alerts"]["malignant"] == 1).mean() > 0.8
    assert (tmp_path / "model.keras").is_file()
