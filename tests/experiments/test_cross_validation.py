"""Methods compared on a user's own table: folds, failures, the page."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from baselines.classical import (
    ExtraTreesDetector,
    IsolationForestDetector,
    LogisticRegressionDetector,
)
from r2ad2.bulk.training_rows import read_training_rows
from r2ad2.experiments import budgets, cross_validation
from r2ad2.experiments.cross_validation import cross_validate, write_comparison
from r2ad2.tables.source import TableSource
from tests.helpers.commands import run as run_command
from tests.helpers.detectors import DistanceDetector

METHODS = {"trees": ExtraTreesDetector, "linear": LogisticRegressionDetector}


class Failing(BaseEstimator):
    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        raise MemoryError("not <enough> memory")


class FailingLater(LogisticRegressionDetector):
    n_fits = 0

    def fit(self, X, y):
        type(self).n_fits += 1
        if self.n_fits > 1:
            raise MemoryError("not enough memory")
        return super().fit(X, y)


class Clocked(BaseEstimator):
    """Takes a second per epoch."""

    now = 0.0

    def __init__(self, epochs=5, random_state=None):
        self.epochs = epochs
        self.random_state = random_state

    def fit(self, X, y):
        Clocked.now += self.epochs
        return self

    def decision_function(self, X):
        return X[:, 0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Write a table with a category, gaps and an index column."""
    rng = np.random.default_rng(3)
    y = np.arange(240) % 8 == 0
    table = pd.DataFrame(
        {
            "amount": rng.normal(size=240) + 2.5 * y,
            "kind": np.where(y & (rng.random(240) < 0.5), "odd", rng.choice(["a", "b"], 240)),
            "fraud": np.where(y, "yes", "no"),
        }
    )
    table.loc[::17, "amount"] = np.nan
    path = tmp_path_factory.mktemp("table") / "my <table>.csv"
    table.to_csv(path)
    return path


@pytest.fixture(scope="module")
def rows(path):
    return read_training_rows(path, TableSource("fraud", ("yes",)), missing="indicator")


@pytest.fixture(scope="module")
def result(rows):
    methods = METHODS | {"distance": DistanceDetector, "failing": Failing}
    return cross_validate(rows, methods, n_folds=3, seed=1)


def test_all_methods_are_tested_on_all_rows_once_in_the_same_folds(result):
    done = result.rows[result.rows["error"].isna()]
    sizes = done.pivot_table("n_test", "fold", "method")
    assert sizes.columns.tolist() == ["distance", "linear", "trees"]
    assert (sizes.sum() == 240).all()
    assert sizes.nunique(axis=1).eq(1).all()
    assert (result.n_normal, result.n_known, result.missing) == (210, 30, "indicator")


def test_figures_are_those_of_the_method_on_encoded_rows(result, rows):
    folds = StratifiedKFold(3, shuffle=True, random_state=1)
    train, test = next(folds.split(rows.X, rows.labels))
    amount, kind = rows.X["amount"], rows.X["kind"].astype(str)
    low, high = (f(amount.iloc[train][rows.labels[train] == 0]) for f in (np.nanmin, np.nanmax))
    mean = amount.iloc[train][rows.labels[train] == 0].mean()
    columns = [(amount.fillna(mean) - low) / (high - low)]
    columns += [kind == value for value in ("unknown", "a", "b", "odd")]
    columns += [amount.isna(), np.zeros(240)]
    x = np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=1)
    model = ExtraTreesDetector(random_state=1).fit(x[train], rows.labels[train])
    expected = average_precision_score(rows.labels[test], model.decision_function(x[test]))
    found = result.rows.query("method == 'trees' and fold == 0")["AP"].item()
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_failure_is_a_row_with_its_reason_and_the_others_go_on(result):
    failure = result.rows.query("method == 'failing'")
    assert failure["error"].tolist() == ["MemoryError: not <enough> memory"]
    assert "failing" not in set(result.summary()["method"])


def test_a_method_that_fails_in_a_later_fold_is_not_averaged(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(FailingLater, "n_fits", 0)
    result = cross_validate(rows, METHODS | {"later": FailingLater}, n_folds=2)
    assert result.rows.query("method == 'later'")["error"].notna().tolist() == [False, True]
    assert sorted(result.summary()["method"]) == sorted(METHODS)
    page = write_comparison(result, "table", tmp_path).read_text("utf-8")
    assert "<strong>later</strong>" in page


@pytest.mark.parametrize("method", [Failing, FailingLater])
def test_a_comparison_where_all_methods_fail_says_so(rows, tmp_path, monkeypatch, method):
    monkeypatch.setattr(FailingLater, "n_fits", 0)
    result = cross_validate(rows, {"only": method}, n_folds=2)
    assert len(result.summary()) == 0
    page = write_comparison(result, "table", tmp_path).read_text("utf-8")
    assert "No method has succeeded." in page
    assert "<strong>only</strong>" in page


@pytest.mark.parametrize(("budget", "epochs"), [("1000", 100), ("50", 50)])
def test_training_time_is_that_of_encoding_and_of_the_final_training(
    rows, monkeypatch, budget, epochs
):
    def encoding(*args):
        Clocked.now += 10
        return encode(*args)

    encode, clock = cross_validation._encoding, SimpleNamespace(perf_counter=lambda: Clocked.now)
    monkeypatch.setattr(cross_validation, "_encoding", encoding)
    monkeypatch.setattr(cross_validation, "time", clock)
    monkeypatch.setattr(budgets, "time", clock)
    result = cross_validate(rows, {"clocked": Clocked}, n_folds=2, budget=budget)
    assert result.rows["error"].isna().all()
    assert result.rows["fit_seconds"].tolist() == [10 + epochs] * 2


def test_the_summary_has_the_best_first_and_differences_of_the_same_folds(result):
    summary = result.summary()
    assert summary["AP"].is_monotonic_decreasing
    assert summary["difference"][0] == "best"
    by_fold = result.rows.pivot_table("AP", "fold", "method")
    best, last = summary["method"].iloc[[0, -1]]
    difference = by_fold[last] - by_fold[best]
    expected = f"{difference.mean():+.3f} ± {difference.std() / np.sqrt(3):.3f}"
    assert summary["difference"].iloc[-1] == expected


def test_the_page_escapes_what_comes_from_the_user(result, tmp_path):
    page = write_comparison(result, "my <table>", tmp_path, ["note <1>"]).read_text("utf-8")
    assert "my &lt;table&gt;" in page
    assert "not &lt;enough&gt; memory" in page
    assert "note &lt;1&gt;" in page
    assert not re.search(r"<(table>|enough|1>)", page.replace('<table class="sortable">', ""))
    assert len(pd.read_csv(tmp_path / "compare.csv")) == 3 * 3 + 1


@pytest.mark.parametrize("n_folds", [31, 211])
def test_too_many_folds_are_refused(rows, n_folds):
    with pytest.raises(ValueError, match="30 known anomalies, which is too few for"):
        cross_validate(rows, METHODS, n_folds=n_folds)


def test_the_command_compares_the_methods_named(path, tmp_path, capsys):
    command = ["compare", path, "--label", "fraud", "--anomaly", "yes", "--folds", "2"]
    methods = ["--method", "ExtraTrees,IsolationForest", "--max-rows", "100"]
    assert run_command(*command, *methods, "--output", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "ExtraTrees: AP 0." in printed
    page = (tmp_path / "out" / "compare.html").read_text("utf-8")
    for text in ("amount: number", "kind: category", "left out: the unnamed column"):
        assert text in page
    assert "100 of 210 normal rows were drawn (--max-rows): AP is higher" in page
    assert "IsolationForest" in page


def test_the_command_fails_where_all_methods_do(path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(IsolationForestDetector, "fit", Failing.fit)
    command = ["compare", path, "--label", "fraud", "--anomaly", "yes", "--folds", "2", "--quiet"]
    assert run_command(*command, "--method", "IsolationForest", "--output", tmp_path / "out") == 2
    assert "no method has succeeded: IsolationForest: MemoryError" in capsys.readouterr().err
    assert (tmp_path / "out" / "compare.html").is_file()


def test_unknown_methods_and_labels_are_refused(path, capsys):
    assert run_command("compare", path, "--label", "fraud", "--method", "SVM") == 2
    assert "unknown method 'SVM'" in capsys.readouterr().err
    assert run_command("compare", path, "--label", "fraud") == 2
    assert "--anomaly" in capsys.readouterr().err
