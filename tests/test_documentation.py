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
from r2ad2.experiments.pages import fill
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


@pytest.mark.parametrize("page", ["README.md", "docs/comparison.md", "docs/forest.md"])
def test_pages_have_the_figures_of_the_results(page):
    text = (PROJECT / page).read_text("utf-8")
    rows = read_results(PROJECT / "docs/results/results.csv")
    assert rows["error"].isna().all()
    assert "<!-- results: " in text
    assert fill(text, rows) == text


def table_below(path, heading):
    """Read the first Markdown table below a heading as lists of cells, without its head."""
    text = (PROJECT / path).read_text("utf-8").split(f"## {heading}\n", 1)[1]
    table = next(part for part in text.split("\n\n") if part.startswith("|"))
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]
    ]


def short(figures):
    return f"{figures['AUC']:.3f} / {figures['AP']:.3f}".replace("0.", ".")


def test_the_forest_page_has_the_figures_of_its_ablation():
    rows = pd.read_csv(PROJECT / "docs/results/ablation.csv")
    rows["tasks"] = rows["tasks"].replace({"known": "own", "unknown": "own"})
    means = rows.groupby(["judges", "tasks"])[["AUC", "AP"]].mean()
    table = table_below("docs/forest.md", "What each part contributes")
    assert [name for name, *_ in table] == list(dict.fromkeys(rows["judges"]))
    for name, *cells in table:
        tasks = ["ADBench", "own", "credit card", "ai4i2020"]
        assert cells == [short(means.loc[(name, of)]) for of in tasks]


def test_the_forest_page_has_the_means_without_a_label():
    rows = read_results(PROJECT / "docs/results/results.csv")
    rows = rows.query("experiment == 'anomalies' and level == 0 and seed == 110")
    means = rows.groupby("method")[["AUC", "AP"]].mean()
    assert rows.groupby("method")["dataset"].nunique().eq(9).all()
    names = {"GradientForest": "gradient forest", "AE": "autoencoder"}
    names |= {"IsolationForest": "isolation forest"}
    expected = ", ".join(f"{name} {short(means.loc[method])}" for method, name in names.items())
    assert f"without a label (column 0): {expected}." in (PROJECT / "docs/forest.md").read_text()


def test_the_review_page_has_the_precision_after_the_last_round_of_its_study():
    rows = pd.read_csv(PROJECT / "docs/results/labelling.csv").query("round == 8")
    strategies = ["suggest", "uncertainty", "top scores", "random"]
    found = rows.pivot_table("AP", "data", "strategy")[strategies]
    text = (PROJECT / "docs/review.md").read_text("utf-8").replace("**", "")
    for name, values in [*found.iterrows(), ("mean of all fourteen sets", found.mean())]:
        cells = " | ".join(f"{value:.3f}".removeprefix("0") for value in values)
        assert f"| {name} | {cells} |" in text


def test_the_review_page_has_the_rates_of_its_simulation():
    rows = pd.read_csv(PROJECT / "docs/results/guarantee.csv")
    means = rows.groupby(["way", "round"])[["false_positive_rate", "recall"]].mean() * 100
    table = table_below("docs/review.md", "The false-positive rate in the loop")
    ways = ["held back once", "drawn again", "reviewed rows join"]
    figures = ["false_positive_rate", "recall"]
    expected = [means.loc[way, name].map("{:.1f}".format) for way in ways for name in figures]
    assert [cells for _, *cells in table] == [list(column) for column in expected]
    for way, (label, *_) in zip(ways, table[::2], strict=True):
        assert f"({rows.loc[rows['way'] == way, 'seed'].nunique()} runs)" in label


def test_the_review_page_has_the_alarms_of_its_results():
    rows = pd.read_csv(PROJECT / "docs/results/false_alarms.csv")
    unmoved = rows[rows["shift"] == "none"].groupby(["anomaly_share", "data"])["alarm"]
    moved = rows[rows["shift"] != "none"].groupby(["shift", "data"])["alarm"]
    expected = [
        group.agg(lambda alarms: f"{alarms.sum()} of {len(alarms)}") for group in (unmoved, moved)
    ]
    table = table_below("docs/review.md", "How often it is right")
    rows_of_results = [
        *[(0, share) for share in (0.0, 0.01, 0.1)],
        *[(1, "5 % missing"), (1, "5 % missing texts"), (1, "5 % a new category")],
        (1, "scaled by 1.5"),
    ]
    for (_, *cells), (kind, key) in zip(table[:-1], rows_of_results, strict=True):
        for cell, data in zip(cells, ("mammography", "nsl_kdd"), strict=True):
            assert cell.endswith(expected[kind][(key, data)])
    assert expected[1][("publisher's test rows", "nsl_kdd")] in table[-1][-1]


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
