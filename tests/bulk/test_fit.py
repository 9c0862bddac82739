"""Training on table files, and scoring and evaluating other files as the training file was read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from r2ad2 import GradientForestDetector, load
from r2ad2.bulk.evaluate import evaluate_file
from r2ad2.bulk.fit import fit_file
from r2ad2.bulk.score import score_file
from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.tables.dates import as_seconds, from_seconds
from r2ad2.tables.source import TableSource
from tests.helpers.detectors import DistanceDetector
from tests.helpers.tables import table


@pytest.fixture
def rows():
    X, y = table(np.random.default_rng(0))
    return X.assign(label=np.where(y, "fraud", "fine"))


LABELLED = TableSource("label", anomalous=("fraud",))


def test_known_anomalies_are_counted_and_the_source_is_kept(rows, tmp_path):
    rows.to_csv(tmp_path / "train.csv", index=False)
    source = TableSource("label", normal=("fine",), drop=("count",))
    model = tmp_path / "models" / "m.keras"
    report = fit_file(DistanceDetector(), tmp_path / "train.csv", model, source=source)
    assert (report.n_normal, report.n_known) == (175, 25)
    loaded = load(model)
    assert loaded.feature_names_in_.tolist() == ["amount", "flag", "kind", "level"]
    # Label and dropped columns may be in a file to score, but no others.
    score_file(loaded, tmp_path / "train.csv", tmp_path / "s.csv")
    assert len(pd.read_csv(tmp_path / "s.csv")) == len(rows)
    rows.assign(other=1).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ValueError, match="unexpected column 'other'"):
        score_file(loaded, tmp_path / "new.csv", tmp_path / "s.csv")


def test_without_a_label_column_all_rows_are_normal(rows, tmp_path):
    rows.drop(columns="label").to_csv(tmp_path / "train.csv", index=False)
    source = TableSource("")
    report = fit_file(
        DistanceDetector(), tmp_path / "train.csv", tmp_path / "m.keras", source=source
    )
    assert (report.n_normal, report.n_known) == (200, 0)


def test_a_file_without_header(rows, tmp_path):
    path = tmp_path / "rows.txt"
    rows.to_csv(path, index=False, header=False)
    detector = DistanceDetector()
    source = TableSource("5", normal=("fine",), header=False)
    fit_file(detector, path, tmp_path / "m.keras", source=source)
    report = evaluate_file(detector, path, label="5")
    scores = detector.predict_proba(rows.drop(columns="label").set_axis(list("01234"), axis=1))
    expected = evaluate_scores((rows["label"] == "fraud").to_numpy(), scores[:, 1], 0.5)
    assert report.figures == pytest.approx(expected)


def test_dates_missing_values_and_thresholds(rows, tmp_path):
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(len(rows)) * 3_701, unit="s")
    rows = rows.assign(when=when, kind=rows["kind"].where(rows.index % 9 > 0))
    rows.loc[5, "amount"] = np.nan
    rows.to_csv(tmp_path / "train.csv", index=False)
    detector = DistanceDetector(missing="indicator", false_positive_rate=0.1)

    def fit(**options):
        source = TableSource("label", ("fraud",), **options)
        fit_file(detector, tmp_path / "train.csv", tmp_path / "m.keras", source=source)

    with pytest.raises(ValueError, match="no column 'date'"):
        fit(timestamps=("date",))
    for told in ({}, {"timestamps": ("when",)}):  # the dates are recognised
        fit(**told)
        assert detector.pipeline_.encoder.timestamps == ["when"]
    score_file(detector, tmp_path / "train.csv", tmp_path / "s.csv")
    scores = pd.read_csv(tmp_path / "s.csv")
    np.testing.assert_array_equal(scores["is_anomaly"], scores["p_value"] <= 0.1)
    np.testing.assert_array_equal(
        scores["is_anomaly"], detector.predict(rows.drop(columns="label")) == 1
    )
    # Parquet keeps the dates' type.
    rows.to_parquet(tmp_path / "new.parquet")
    score_file(detector, tmp_path / "new.parquet", tmp_path / "p.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "p.csv"), scores)


def test_dates_that_stand_for_never_are_dates(rows, tmp_path):
    until = np.where(rows.index % 3, "9999-12-31", "2026-01-31")
    rows.assign(until=until).to_csv(tmp_path / "a.csv", index=False)
    stamps = until.astype("datetime64[us]")
    rows.assign(until=stamps).to_parquet(tmp_path / "b.parquet")
    epoch = stamps.astype("datetime64[s]").astype(np.int64)
    rows.assign(until=epoch).to_csv(tmp_path / "c.csv", index=False)
    scores = []
    for name, options in (
        ("a.csv", {}),
        ("a.csv", {"timestamps": ("until",)}),
        ("b.parquet", {}),
        ("c.csv", {"formats": {"until": "epoch"}}),
    ):
        source = TableSource("label", ("fraud",), **options)
        detector = DistanceDetector(random_state=0)
        fit_file(detector, tmp_path / name, tmp_path / "m.keras", source=source)
        score_file(detector, tmp_path / name, tmp_path / "s.csv")
        scores.append(pd.read_csv(tmp_path / "s.csv"))
        pd.testing.assert_frame_equal(scores[-1], scores[0])
    seconds = as_seconds("until", pd.Series(until))
    np.testing.assert_array_equal(from_seconds(seconds), stamps)


def test_codes_keep_their_meaning_in_files_that_spell_them_otherwise(rows, tmp_path):
    port = np.where(rows["label"] == "fraud", 6667, np.where(rows.index % 3, 80, 443))
    text, whole = rows.assign(port=port), tmp_path / "whole.csv"
    text.to_csv(whole, index=False)
    text.assign(port=port.astype(float)).to_csv(tmp_path / "float.csv", index=False)
    text.assign(port=port.astype(float)).to_parquet(tmp_path / "float.parquet")
    text.assign(port=[f"{p}{'.0' if i % 2 else ''}" for i, p in enumerate(port)]).to_csv(
        tmp_path / "mixed.csv", index=False
    )
    source = TableSource("label", anomalous=("fraud",), types={"port": "category"})
    for trained in ("whole.csv", "float.csv", "mixed.csv", "float.parquet"):
        detector = DistanceDetector()
        report = fit_file(detector, tmp_path / trained, tmp_path / "m.keras", source=source)
        assert len(detector.pipeline_.encoder.categories["port"]) == 3
        assert report.columns["port"] == "category, 3 values"
        tables = []
        for scored in ("whole.csv", "float.csv", "mixed.csv", "float.parquet"):
            score_file(detector, tmp_path / scored, tmp_path / "s.csv")
            tables.append(pd.read_csv(tmp_path / "s.csv"))
            pd.testing.assert_frame_equal(tables[-1], tables[0])


def test_labels_of_an_evaluation_mean_what_they_did_in_training_unless_named(rows, tmp_path):
    rows.to_csv(tmp_path / "train.csv", index=False)
    detector = DistanceDetector()
    fit_file(detector, tmp_path / "train.csv", tmp_path / "m.keras", source=LABELLED)
    path, verdict = tmp_path / "test.csv", np.where(rows["flag"], "fine", "fraud")
    rows.assign(verdict=verdict).to_csv(path, index=False)
    for options, expected in (
        ({"label": "label"}, "unexpected column 'verdict'"),
        ({"label": "verdict"}, (~rows["flag"]).sum()),
        ({"label": "verdict", "normal": ["fraud"]}, rows["flag"].sum()),
        ({"label": "verdict", "anomalous": ["fine"]}, rows["flag"].sum()),
    ):
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=expected):
                evaluate_file(detector, path, **options)
        else:
            assert evaluate_file(detector, path, **options).figures["n_anomalies"] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows.assign(amount="much"),
            "line 2, row 0: not a number in column 'amount': much",
        ),
        (lambda rows: rows.assign(label="fine"), "'fraud'; it holds 'fine'"),
    ],
)
def test_evaluations_of_unsuitable_files_name_the_culprit(rows, tmp_path, change, message):
    rows.to_csv(tmp_path / "train.csv", index=False)
    detector = DistanceDetector()
    fit_file(detector, tmp_path / "train.csv", tmp_path / "m.keras", source=LABELLED)
    change(rows).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(ValueError, match=message):
        evaluate_file(detector, tmp_path / "new.csv", label="label")


def test_nothing_is_trained_if_the_model_cannot_be_written(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(DistanceDetector, "fit", lambda *_: pytest.fail("trained"))
    rows.to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(ValueError, match=r"must end in \.keras, got '.*m\.h5'"):
        fit_file(DistanceDetector(), tmp_path / "train.csv", tmp_path / "m.h5", source=LABELLED)
    (tmp_path / "file").touch()
    output = tmp_path / "file" / "m.keras"
    with pytest.raises(NotADirectoryError, match="it is a file, choose another folder"):
        fit_file(DistanceDetector(), tmp_path / "train.csv", output, source=LABELLED)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"false_positive_rate": 0}, "'false_positive_rate'"),
        ({"false_positive_rate": (1, 2)}, "'false_positive_rate'"),
        ({"calibration_fraction": 1}, "'calibration_fraction'"),
        ({"max_samples": "abc"}, "'max_samples'"),
        ({"false_positive_rate": 0.1, "contamination": 0.1}, "not both"),
    ],
)
def test_bad_settings_are_named_before_the_file_is_read(tmp_path, settings, message):
    detector = GradientForestDetector(**settings)
    with pytest.raises(ValueError, match=message):
        fit_file(detector, tmp_path / "none.csv", tmp_path / "m.keras", source=LABELLED)


def test_detectors_of_arrays_score_no_files(rng, tmp_path):
    detector = DistanceDetector().fit(rng.random((40, 2)))
    with pytest.raises(ValueError, match="trained on arrays"):
        score_file(detector, tmp_path / "new.csv", tmp_path / "s.csv")
    with pytest.raises(ValueError, match="trained on arrays"):
        evaluate_file(detector, tmp_path / "new.csv", label="y")


def test_a_sample_of_the_normal_rows_is_drawn_and_all_anomalies_are_used(rows, tmp_path):
    rows.to_csv(tmp_path / "train.csv", index=False)
    detector = DistanceDetector(random_state=0)
    detector.max_samples = 90
    seen = []
    fit = detector.fit
    detector.fit = lambda X, y: seen.append((X, y)) or fit(X, y)
    report = fit_file(detector, tmp_path / "train.csv", tmp_path / "m.keras", source=LABELLED)
    X, y = seen[0]
    assert (report.n_normal, report.n_known) == (100, 25)  # 10 of them are held back
    assert ((y == 0).sum(), y.sum()) == (100, 25)
    assert X.index.is_monotonic_increasing
    np.testing.assert_array_equal(y, rows.loc[X.index, "label"] == "fraud")
    assert "100 of 175 normal rows were drawn at random" in report.notes[0]
    assert load(tmp_path / "m.keras").notes_["reading"] == report.notes
