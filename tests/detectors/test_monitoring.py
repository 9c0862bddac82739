"""Monitoring: no alarm without a shift, planted shifts are named, old files say what they lack."""

from __future__ import annotations

import copy
import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from r2ad2 import load
from tests.conftest import PROJECT
from tests.helpers.detectors import DistanceDetector
from tests.helpers.moving_tables import SHIFTS, payments

N_TRAIN = 3000
LEVEL = 0.05


@pytest.fixture(scope="module")
def detector():
    X = payments(0, N_TRAIN)
    return DistanceDetector(false_positive_rate=0.05, random_state=0).fit(X)


@pytest.mark.parametrize("anomaly_share", [0.0, 0.01, 0.1])
def test_fresh_samples_of_the_same_distribution_are_as_in_training(detector, anomaly_share):
    reports = [detector.monitor(payments(100 + i, 500, anomaly_share)) for i in range(20)]
    assert np.mean([report.drifted for report in reports]) <= LEVEL
    assert all(report.p_value > 0 for report in reports)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_planted_shift_is_found_and_its_column_named(detector, shift):
    column, move = SHIFTS[shift]
    report = detector.monitor(move(payments(1, 2000)))
    assert report.drifted
    assert report.p_value <= LEVEL
    columns = report.columns
    assert columns.index[columns["drifted"]].tolist() == [column]
    assert columns.loc[column, "finding"]
    assert repr(column) in report.advice
    assert "calibrate" in report.advice


def test_findings_say_what_has_changed(detector):
    expected = {
        "new category": "new category 'kiosk' in",
        "missing text": "missing, 0 % in training",
        "out of range": "the highest value of training",
        "fewer of a category": "category 'fuel' in 0 % of the rows",
    }
    for shift, text in expected.items():
        column, move = SHIFTS[shift]
        assert text in detector.monitor(move(payments(1, 2000))).columns.loc[column, "finding"]


def test_rows_with_missing_values_are_counted_but_not_scored(detector):
    X = payments(1, 400)
    X.loc[:9, "age"] = np.nan
    report = detector.monitor(X)
    assert (report.n_rows, report.n_scored) == (400, 390)
    assert report.columns.loc["age", "missing"] == pytest.approx(0.025)


def test_no_complete_row_is_no_error(detector):
    X = payments(1, 400).assign(age=np.nan)
    report = detector.monitor(X)
    assert report.drifted
    assert np.isnan(report.flagged_rate)
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_flagged_rate_has_an_interval_and_an_expected_rate(detector):
    X = payments(1, 800)
    report = detector.monitor(X)
    assert report.flagged_rate == pytest.approx(detector.predict(X).mean())
    low, high = report.flagged_interval
    assert low < report.flagged_rate < high
    assert report.expected_rate == 0.05
    other = copy.deepcopy(detector)
    other.threshold_ = 0.0  # the promise is about another threshold
    assert other.monitor(payments(1, 500)).expected_rate == 1.0


def test_a_saved_detector_finds_the_same_and_the_report_is_json(detector, tmp_path):
    loaded = load(detector.save(tmp_path / "model.keras"))
    X = SHIFTS["scaled"][1](payments(1))
    report = loaded.monitor(X)
    assert report.to_dict() == detector.monitor(X).to_dict()
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["drifted"] is True
    assert {row["name"] for row in values["columns"]} == {"amount", "age", "shop"}


def test_a_file_of_an_earlier_version_says_that_columns_cannot_be_tested():
    path = PROJECT / "tests" / "fixtures" / "detector"
    recorded = json.loads(path.with_name("detector-0.1.0.json").read_text("utf-8"))
    rows = pd.DataFrame(recorded["rows"]["data"], columns=recorded["rows"]["columns"])
    detector = load(path.with_name("detector-0.1.0.keras"))
    report = detector.monitor(rows)
    assert detector.sketch_ is None
    assert report.columns.empty
    assert len(report.scores) == 3
    assert "kept no sketch" in report.untested[0]


def test_without_held_back_rows_only_columns_are_tested():
    detector = DistanceDetector(calibration_fraction=0.0).fit(payments(0))
    report = detector.monitor(payments(1))
    assert report.scores.empty
    assert any("no normal rows were held back" in text for text in report.untested)
    assert not report.drifted
    assert report.expected_rate is None


def test_after_calibration_the_new_rows_are_what_to_compare_with(detector, tmp_path):
    _, move = SHIFTS["scaled"]
    loaded = load(detector.save(tmp_path / "model.keras"))
    loaded.calibrate(move(payments(2, 1000)))
    assert not loaded.monitor(move(payments(3, 1000))).drifted
    assert loaded.monitor(payments(3, 1000)).drifted


def test_arrays_sparse_matrices_and_images_are_monitored(rng):
    X, fresh = rng.normal(size=(800, 3)), rng.normal(size=(400, 3))
    detector = DistanceDetector(random_state=0).fit(X)
    assert not detector.monitor(fresh).drifted
    moved = detector.monitor(fresh * [1, 3, 1]).columns
    assert moved.index[moved["drifted"]].tolist() == ["x1"]
    dense, sparse = detector.monitor(fresh), detector.monitor(scipy.sparse.csr_array(fresh))
    assert dense.columns.equals(sparse.columns)
    images = DistanceDetector(random_state=0).fit(rng.random((200, 8, 8)))
    assert not images.monitor(rng.random((100, 8, 8))).drifted
    dark = rng.random((100, 8, 8))
    dark[:, :2, :2] = 0
    assert images.monitor(dark).columns.loc["row 0, column 0", "drifted"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"anomaly_share": 0.7}, "anomaly_share must be in"),
        ({"anomaly_share": "a"}, "anomaly_share must be in"),
        ({"level": 0}, "level must be in"),
        ({"level": None}, "level must be in"),
    ],
)
def test_unusable_settings_are_refused(detector, arguments, message):
    with pytest.raises(ValueError, match=message):
        detector.monitor(payments(1, 20), **arguments)


def test_another_form_is_refused_by_name(detector):
    with pytest.raises(ValueError, match="missing column 'age'"):
        detector.monitor(payments(1, 20).drop(columns="age"))
