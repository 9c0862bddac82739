"""Experiments: plans, budgets, the store, comparisons and tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import BaseEstimator

from baselines import AEDetector
from r2ad2 import R2AD2Detector
from r2ad2.datasets import load_dataset
from r2ad2.datasets.catalogue import dataset_cards
from r2ad2.experiments import (
    EXPERIMENTS,
    Budget,
    ResultStore,
    Run,
    plan_runs,
    run_experiment,
    runner,
)
from r2ad2.experiments.comparison import compare_orders, rank, wilcoxon_p
from r2ad2.experiments.figures import plot_costs
from r2ad2.experiments.perform import perform
from r2ad2.experiments.published import read_published
from r2ad2.experiments.report import write_report
from r2ad2.experiments.tables import make_tables
from tests.helpers.commands import run as run_command
from tests.helpers.experiments import row

METHODS = {"R2AD2": R2AD2Detector, "AE": AEDetector}
runs = st.builds(
    Run,
    experiment=st.sampled_from(list(EXPERIMENTS)),
    dataset=st.sampled_from(["digits", "breast_cancer"]),
    method=st.sampled_from(["R2AD2", "AE", "a/b c"]),
    seed=st.integers(0, 1000),
    level=st.none() | st.floats(0, 1),
    budget=st.sampled_from(["fast", "paper", "60"]),
    max_rows=st.none() | st.integers(1, 10_000),
    overrides=st.dictionaries(st.sampled_from(["epochs", "dropout"]), st.integers(1, 9)),
)


class TestPlan:
    def test_all_combinations_at_the_publications_levels(self):
        planned = plan_runs("pollution", ["digits", "url"], METHODS, seeds=[1, 2])
        assert len(set(planned)) == 2 * 2 * 5 * 2
        assert {run.level for run in planned} == {0, 0.025, 0.05, 0.075, 0.1}

    def test_the_ablation_needs_detectors_with_snapshots(self):
        planned = plan_runs("ablation", ["digits"], METHODS, seeds=[1])
        assert {run.method for run in planned} == {"R2AD2"}
        assert [run.level for run in planned] == [1, 2, 3, 4]
        with pytest.raises(ValueError, match=r"n_snapshots.*AE"):
            plan_runs("ablation", ["digits"], {"AE": AEDetector})

    def test_unknown_anomalies_need_several_classes(self):
        with pytest.raises(ValueError, match=r"several classes.*; breast_cancer has only one"):
            plan_runs("unknown", ["digits", "breast_cancer"], METHODS)
        assert len(plan_runs("unknown", ["digits"], METHODS, seeds=[1])) == 2

    def test_levels_where_nothing_varies_are_an_error(self):
        with pytest.raises(ValueError, match="omit the levels"):
            plan_runs("known", ["digits"], METHODS, levels=[1])

    @pytest.mark.parametrize(
        ("experiment", "level"),
        [
            ("anomalies", 2.5),
            ("anomalies", np.inf),
            ("ablation", -1),
            ("pollution", 1),
            ("pollution", np.nan),
        ],
    )
    def test_levels_that_cannot_be_taken_are_an_error(self, experiment, level):
        with pytest.raises(ValueError, match=f"a level of '{experiment}' is a .*, got "):
            plan_runs(experiment, ["digits"], METHODS, levels=[level])

    @pytest.mark.parametrize(
        ("experiment", "overrides", "message"),
        [
            ("known", {"epoch": 1}, "unknown setting 'epoch'"),
            ("known", {"random_state": 1}, "'random_state' cannot be set: the seeds decide it"),
            ("ablation", {"n_snapshots": 1}, "'n_snapshots' cannot be set: the levels decide it"),
            ("known", {"alarm_units": {1, 2}}, "cannot be kept with the results: .*set"),
        ],
    )
    def test_settings_that_decide_nothing_are_an_error(self, experiment, overrides, message):
        with pytest.raises(ValueError, match=message):
            plan_runs(experiment, ["digits"], METHODS, overrides=overrides)

    def test_a_budget_in_seconds_decides_the_epochs(self):
        with pytest.raises(ValueError, match="'epochs' cannot be set: a budget in seconds"):
            plan_runs("known", ["digits"], METHODS, budget="60", overrides={"epochs": 2})
        plan_runs("known", ["digits"], METHODS, budget="fast", overrides={"epochs": 2})

    def test_a_setting_may_be_one_of_some_methods_and_seeds_count_once(self):
        planned = plan_runs("known", ["digits"], METHODS, [1, 1], overrides={"n_snapshots": 2})
        assert [(run.method, run.seed) for run in planned] == [("R2AD2", 1), ("AE", 1)]

    def test_unknown_anomalies_leave_classes_out_of_training_only(self):
        dataset = load_dataset("digits")
        split = dataset.split(**EXPERIMENTS["unknown"].split_request(dataset.card, None))
        known = dataset.classes[split.train_indices[split.y_train == 1]]
        assert set(known) == set(dataset.card.known_transfer)
        assert set(split.classes_test[split.y_test == 1]) == set(dataset.card.anomalous)

    def test_max_rows_limits_the_normal_training_samples_only(self):
        dataset = load_dataset("digits")
        whole, limited = (dataset.split(random_state=1, max_normal=n) for n in (None, 100))
        assert np.sum(limited.y_train == 0) == 100
        assert np.sum(limited.y_train == 1) == 100
        assert set(limited.train_indices[limited.y_train == 0]) < set(whole.train_indices)
        np.testing.assert_array_equal(limited.test_indices, whole.test_indices)
        polluted = dataset.split(random_state=1, max_normal=90, pollution=0.1)
        assert np.sum(polluted.y_train == 0) == 100
        with pytest.raises(ValueError, match="max_normal"):
            dataset.split(max_normal=0)

    def test_fewer_known_anomalies_where_there_are_no_more(self):
        dataset = load_dataset("breast_cancer")
        with pytest.raises(ValueError, match=r"only 1[0-9]{2} suitable anomalies"):
            dataset.split(n_known_anomalies=500)
        split = dataset.split(n_known_anomalies=500, allow_fewer=True)
        assert 100 < np.sum(split.y_train == 1) < 200


class TestBudget:
    def test_paper_has_the_publications_settings(self):
        card = dataset_cards()["mammography"]
        settings = Budget.parse("paper").settings(R2AD2Detector, card)
        assert settings == {
            "architecture": "5-3-2",
            "alarm_units": (100, 50, 25, 10),
            "batch_size": 128,
            "epochs": 100,
            "calibration_fraction": 0.0,
        }

    def test_fast_uses_the_preset_of_detectors_that_have_one(self):
        card = dataset_cards()["mammography"]
        fast = Budget.parse("fast").settings(R2AD2Detector, card)
        assert (fast["gradient"], fast["alarm_units"]) == ("sketch", (128, 64, 32, 16))
        assert fast["architecture"] == "5-3-2"
        other = Budget.parse("fast").settings(AEDetector, card)
        assert (other["batch_size"], other["alarm_units"]) == ("auto", card.alarm_units)

    @pytest.mark.parametrize("text", ["slow", "0", "-3", "nan", "inf", ""])
    def test_anything_else_is_an_error(self, text):
        with pytest.raises(ValueError, match="fast, paper or a number of seconds"):
            Budget.parse(text)

    def test_seconds_reduce_the_epochs(self, monkeypatch):
        clock = [0.0]
        monkeypatch.setattr("r2ad2.experiments.budgets.time.perf_counter", lambda: clock[0])

        class Slow(BaseEstimator):
            def __init__(self, epochs=100):
                self.epochs = epochs

        def fit(detector):
            clock[0] += 5 + 2 * detector.epochs  # seconds: to build the network, then per epoch

        affordable = {
            seconds: Budget.parse(seconds).affordable(Slow, {"epochs": 100}, fit)["epochs"]
            for seconds in ("1", "45", "1000")
        }
        assert affordable == {"1": 1, "45": 20, "1000": 100}

    def test_named_budgets_and_detectors_without_epochs_are_unchanged(self):
        def fit(detector):
            raise AssertionError("no pilot is needed")

        assert Budget.parse("fast").affordable(AEDetector, {"epochs": 7}, fit) == {"epochs": 7}
        assert Budget.parse("3").affordable(BaseEstimator, {}, fit) == {}


class TestStore:
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(runs, runs)
    def test_different_runs_have_different_keys(self, a, b):
        assert (a.key == b.key) == (a == b)
        assert Run.from_json(a.to_json()) == a

    def test_keys_do_not_depend_on_the_order_of_settings(self):
        settings = {"epochs": 2, "dropout": 0.1}
        a, b = (
            Run("known", "digits", "AE", 1, overrides=dict(items))
            for items in (settings.items(), reversed(settings.items()))
        )
        assert a.key == b.key

    @given(runs)
    def test_keys_are_valid_file_names(self, a):
        assert all(character.isalnum() or character in "-_" for character in a.key)

    def test_rows_are_sorted_and_failed_runs_are_not_finished(self, tmp_path):
        store = ResultStore(tmp_path)
        planned = plan_runs("pollution", ["digits"], METHODS, seeds=[2, 1], levels=[0.1, 0])
        for i, one in enumerate(planned):
            store.write(one, row(one, AUC=i / 10, error="ValueError: no" if i == 3 else None))
        table = store.read()
        assert table["level"].tolist() == sorted(table["level"])
        assert [store.is_finished(one) for one in planned].count(False) == 1
        assert store.row(planned[3])["error"] == "ValueError: no"
        assert len(pd.read_csv(store.write_table())) == len(planned)

    def test_a_broken_file_is_named(self, tmp_path):
        store = ResultStore(tmp_path)
        one = Run("known", "digits", "AE", 1)
        store.write(one, row(one))
        store.path(one).write_bytes(store.path(one).read_bytes()[:100])
        with pytest.raises(ValueError, match=f"{one.key}.*delete it"):
            store.read()
        pd.DataFrame({"a": [1]}).to_parquet(store.path(one))
        with pytest.raises(ValueError, match="column 'experiment' is missing"):
            store.read()

    def test_no_results_say_how_to_get_some(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="r2ad2 experiment"):
            ResultStore(tmp_path).read()


class TestComparison:
    def test_wilcoxon_p_is_that_of_scipy_or_undefined_without_differences(self):
        values = pd.DataFrame(np.random.default_rng(0).random((8, 3)), columns=list("abc"))
        values["d"] = values["a"] + 1e-6  # too small a difference to count
        found = wilcoxon_p(values, "a")
        expected = stats.wilcoxon((values["a"] - values["b"]).round(3)).pvalue
        assert found["b"] == pytest.approx(expected)
        assert np.isnan(found["d"])

    def test_critical_difference_of_the_textbook_example(self):
        # Demšar (2006), table 6: four classifiers on 14 data sets; at 5 % Nemenyi's is 1.25.
        names = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
        table = [
            (0.763, 0.768, 0.771, 0.798),
            (0.599, 0.591, 0.590, 0.569),
            (0.954, 0.971, 0.968, 0.967),
            (0.628, 0.661, 0.654, 0.657),
            (0.882, 0.888, 0.886, 0.898),
            (0.936, 0.931, 0.916, 0.931),
            (0.661, 0.668, 0.609, 0.685),
            (0.583, 0.583, 0.563, 0.625),
            (0.775, 0.838, 0.866, 0.875),
            (1.000, 1.000, 1.000, 1.000),
            (0.940, 0.962, 0.965, 0.962),
            (0.619, 0.666, 0.614, 0.669),
            (0.972, 0.981, 0.975, 0.975),
            (0.957, 0.978, 0.946, 0.970),
        ]
        ranking = rank(pd.DataFrame(table, columns=names))
        assert ranking.critical_difference == pytest.approx(1.25, abs=0.005)
        assert ranking.ranks.index[0] == "C4.5+m+cf"
        assert ranking.ranks["C4.5"] == pytest.approx(3.143, abs=0.001)
        assert ranking.groups == [["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]]
        closer = dataclasses.replace(ranking, critical_difference=1.0)
        assert closer.groups == [["C4.5+m+cf", "C4.5+m", "C4.5+cf"], ["C4.5+cf", "C4.5"]]

    def test_too_few_methods_or_data_sets_are_not_ranked(self):
        assert rank(pd.DataFrame({"a": [1.0, 2], "b": [2.0, 1]})) is None
        assert rank(pd.DataFrame({"a": [1.0], "b": [2.0], "c": [3.0]})) is None

    def test_orders_are_compared_to_two_digits(self):
        ours = pd.DataFrame({"a": [0.954], "b": [0.951], "c": [0.5]}, ["url"])
        published = pd.DataFrame({"a": [0.9], "b": [0.95], "d": [0.1], "c": [0.4]}, ["url"])
        (found,) = compare_orders(ours, published).to_dict("records")
        assert found["ours"] == "a = b > c"
        assert found["published"] == "b > a > c"
        assert found["same_best"]
        assert found["tau"] == pytest.approx(stats.kendalltau([2, 2, 1], [2, 3, 1]).statistic)


class TestPublished:
    def test_is_complete(self):
        table = read_published()
        assert len(table.query("experiment == 'known'")) == 10 * 6
        assert len(table.query("experiment == 'unknown'")) == 7 * 6
        assert table.query("experiment == 'ablation'")["level"].tolist() == [1, 2, 3, 4]
        assert set(table["dataset"]) - {"mean"} <= set(dataset_cards())
        assert table["AUC"].between(0, 1).all()
        assert table["AP"].between(0, 1).all()

    def test_agrees_with_the_tables_as_published(self, real_data):
        expected = pd.read_csv(real_data.parent / "paper_tables.csv")
        ours = read_published()
        np.testing.assert_array_equal(ours["AUC"], expected["auc"])
        np.testing.assert_array_equal(ours["AP_std"], expected["ap_std"])


class TestTables:
    @pytest.fixture
    def results(self):
        """Make rows of two methods on three data sets; R2AD2 is missing on the last."""
        figures = {"mammography": (0.95, 0.91), "url": (0.94, 0.96), "ids2018": (None, 0.5)}
        found = []
        for name, values in figures.items():
            for method, value in zip(METHODS, values, strict=True):
                for i, seed in enumerate((1, 2)):
                    one = Run("known", name, method, seed)
                    if value is not None:
                        found.append(row(one, AUC=value + 0.02 * i, whole=name != "url"))
        return pd.DataFrame(found)

    def test_figures_are_next_to_the_published_ones(self, results):
        table = make_tables(results, "known", "R2AD2")[0]
        assert table.methods == ["R2AD2", "AE"]
        cell = table.rows["mammography"][0]
        assert (cell.text, cell.published_text) == ("0.960 ± 0.010", "0.94 ± 0.01")
        assert cell.is_best
        assert not table.rows["mammography"][1].is_best
        assert "url †" in table.rows
        assert table.rows["ids2018"][0].text == "-"

    def test_mean_and_p_values_are_over_complete_rows(self, results):
        table = make_tables(results, "known", "R2AD2")[0]
        assert [cell.mean for cell in table.mean] == pytest.approx([0.955, 0.945])
        assert table.mean[0].published == pytest.approx((0.94 + 0.95) / 2)
        assert any("leave out ids2018" in note for note in table.notes)
        assert set(table.p_values) == {"AE"}

    def test_data_sets_with_fewer_known_anomalies_are_named(self, results):
        results.loc[results["dataset"] == "url", "n_known_anomalies"] = 99
        notes = make_tables(results, "known", "R2AD2")[0].notes
        assert "Fewer than 100 known anomalies" in notes[-1]
        assert notes[-1].endswith(": url (99).")

    def test_published_means_need_all_data_sets(self, results):
        unpublished = results["dataset"] == "url"
        results.loc[unpublished, "dataset"] = "breast_cancer"
        table = make_tables(results, "known", "R2AD2")[0]
        assert table.rows["breast_cancer †"][0].published_text == ""
        assert [cell.published_text for cell in table.mean] == ["", ""]

    def test_markdown_latex_and_frame(self, results):
        table = make_tables(results, "known", "R2AD2")[0]
        assert "| mammography | **0.960 ± 0.010** (0.94 ± 0.01) |" in table.to_markdown()
        assert r"\textbf{0.960 $\pm$ 0.010} \scriptsize(0.94 $\pm$ 0.01)" in table.to_latex()
        frame = table.to_frame()
        assert frame.query("method == 'AE' and `data set` == 'mean'")["p"].notna().all()

    def test_levels_compare_over_the_same_data_sets(self):
        cases = [("digits", 1, 0.9), ("digits", 2, 0.8), ("url", 1, 0.1)]
        found = [
            row(Run("ablation", name, "R2AD2", 1, level), AUC=value) for name, level, value in cases
        ]
        table = make_tables(pd.DataFrame(found), "ablation", "R2AD2")[0]
        assert [cells[0].mean for cells in table.rows.values()] == [0.9, 0.8]
        assert table.rows["1"][0].published == 0.87

    def test_costs_are_compared_where_all_methods_have_results(self, results):
        figure = plot_costs(
            results.assign(fit_seconds=results["method"].map({"R2AD2": 1.0, "AE": 5.0}))
        )
        (ax,) = figure.axes
        assert ax.get_title().startswith("2 data sets")
        assert [text.get_text() for text in ax.texts] == ["AE", "R2AD2"]
        assert [text.xy[0] for text in ax.texts] == pytest.approx([5, 1])
        assert plot_costs(results.query("dataset == 'ids2018' or method == 'R2AD2'")) is None

    def test_an_unknown_reference_is_an_error(self, results, tmp_path):
        store = ResultStore(tmp_path)
        one = Run("known", "digits", "AE", 1)
        store.write(one, row(one))
        with pytest.raises(ValueError, match=r"no results of 'R2AD2'.*AE"):
            write_report(tmp_path, reference="R2AD2")
        assert write_report(tmp_path).is_file()

    def test_the_table_of_all_results_makes_the_same_report(self, tmp_path):
        store = ResultStore(tmp_path)
        for i, name in enumerate(["R2AD2", "AE", "DevNet"]):
            one = Run("known", "digits", name, 1)
            store.write(one, row(one, AUC=0.5 + i / 10, error="ValueError: no" if i == 2 else None))
        table = store.write_table()
        page = write_report(tmp_path, tmp_path / "of_folder")
        assert write_report(table, tmp_path / "of_table").read_bytes() == page.read_bytes()
        (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
        with pytest.raises(ValueError, match=r"odd\.csv' holds no results: .*'experiment'"):
            write_report(tmp_path / "odd.csv")

    def test_budgets_are_never_mixed(self, tmp_path):
        store = ResultStore(tmp_path)
        first = Run("known", "digits", "R2AD2", 1)
        for i, one in enumerate([first, dataclasses.replace(first, max_rows=50)]):
            store.write(one, row(one, AUC=0.5 + i / 10, version_r2ad2=str(i)))
        page = write_report(tmp_path).read_text("utf-8")
        assert "fast budget, up to 50 normal training samples" in page
        tables = sorted((tmp_path / "report").glob("*/table3_auc.csv"))
        assert [pd.read_csv(path)["mean"].item() for path in tables] == [0.5, 0.6]
        assert "different versions" not in page
        third = dataclasses.replace(first, seed=2)
        store.write(third, row(third, version_r2ad2="other"))
        assert "different versions" in write_report(tmp_path).read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["all"], "unknown experiment 'all'"),
        (["known", "--data", "titanic"], "unknown data set 'titanic'"),
        (["known", "--data", "digits", "--method", "AE", "SVM"], "unknown data set 'SVM'"),
        (["known", "--data", "digits,url", "--data-dir", "nowhere"], "All.csv"),
        (["known", "--data", "digits", "--seeds", "a"], "--seeds expects numbers"),
        (["known", "--data", "digits", "--seeds", ""], "--seeds expects numbers"),
        (["known", "--data", "digits", "--seeds", "1,-1"], "--seeds expects numbers from 0"),
        (["known", "--data", "digits", "--set", "n_tree=3"], "unknown setting 'n_tree'"),
        (["known", "--data", "digits", "--budget", "much"], "a number of seconds"),
    ],
)
def test_invalid_requests_are_errors_of_one_line(arguments, message, tmp_path, capsys):
    assert run_command("experiment", *arguments, "--output", tmp_path / "results") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("scores", "error"),
    [
        (lambda n: np.full(n, np.nan), "test scores are not finite"),
        (lambda n: np.zeros(n - 1), "scores for"),
    ],
    ids=["nan", "count"],
)
def test_bad_scores_are_an_error_of_the_run(scores, error, monkeypatch):
    class Bad(BaseEstimator):
        def fit(self, X, y):
            return self

        def decision_function(self, X):
            return scores(len(X))

    monkeypatch.setattr("r2ad2.experiments.perform.detectors", lambda: {"Bad": Bad})
    found = perform(Run("known", "breast_cancer", "Bad", 1))
    assert error in found["error"]
    assert "_check_scores" in found["traceback"]
    assert "AUC" not in found


def test_simultaneous_tasks_share_the_cores(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    seen = []
    monkeypatch.setattr(
        runner, "_work_on", lambda runs, folder, data, env: seen.append(env) or (len(runs), 0, "")
    )
    runs = [Run("known", "digits", "AE", 1)]
    for jobs in (None, 1, 3):
        run_experiment(runs, "nowhere", jobs=jobs)
    assert seen == [{}, {}, {"TF_NUM_INTRAOP_THREADS": "2"}]
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "5")
    run_experiment(runs, "nowhere", jobs=3)
    assert seen[-1] == {}


def planned_data_sets(folder, monkeypatch, *arguments):
    """Return the data sets that the command would run on, given the folder of all data sets."""
    seen = []

    def store_rows(runs, output, *others):
        seen.extend(run.dataset for run in runs)
        for one in runs:
            ResultStore(output).write(one, row(one))
        return 0

    monkeypatch.setattr("r2ad2.experiments.run_experiment", store_rows)
    arguments = [*arguments, "--method", "AE", "--seeds", "1", "--data-dir", folder]
    assert run_command("experiment", *arguments, "--output", folder / "results", "--quiet") == 0
    return seen


def test_published_data_sets_are_the_default_embedded_ones_otherwise(tmp_path, monkeypatch):
    assert planned_data_sets(tmp_path, monkeypatch, "known") == ["breast_cancer", "digits"]
    assert planned_data_sets(tmp_path, monkeypatch, "unknown") == ["digits"]
    (tmp_path / "mammography").mkdir()
    (tmp_path / "mammography" / "mammography.csv").touch()
    assert planned_data_sets(tmp_path, monkeypatch, "known") == ["mammography"]
    assert planned_data_sets(tmp_path, monkeypatch, "known", "--data", "digits") == ["digits"]


def test_failed_runs_are_an_error(tmp_path, capsys):
    output = ["--output", tmp_path / "results", "--quiet"]
    chosen = ["known", "--data", "breast_cancer", "--method", "AE", "--seeds", "1"]
    assert run_command("experiment", *chosen, "--set", "epochs=0", *output) == 2
    assert "no run succeeded, for reasons in the column 'error'" in capsys.readouterr().err
    assert ResultStore(tmp_path / "results").read()["error"].notna().all()
