"""What is reviewed is learnt from, never calibrated with; work continues where it stopped."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from r2ad2 import GradientForestDetector, load
from r2ad2.encoders.samples import rows_of
from r2ad2.review import ReviewSession
from r2ad2.review.background import LearningJob
from r2ad2.review.learning import Reviewed, TrainingRows, restore_samples
from r2ad2.review.rows import ReviewRows, content_keys
from tests.helpers.detectors import DistanceDetector
from tests.helpers.tables import table

QUICK = {"n_trees": 5, "start_epoch": 2, "n_snapshots": 1}
N_KNOWN = 4


@pytest.fixture(scope="module")
def data():
    """Training rows with a few known anomalies, rows to review, and their truth."""
    X, y = table(np.random.default_rng(0), 480)
    train, new = slice(0, 320), slice(320, None)
    known = np.where(np.cumsum(y[train]) <= N_KNOWN, y[train], 0)
    kept = (known == 1) | (y[train] == 0)
    return X[train][kept].reset_index(drop=True), known[kept], X[new].reset_index(drop=True), y[new]


@pytest.fixture(scope="module")
def detector(data):
    X_train, y_train, _, _ = data
    settings = QUICK | {"false_positive_rate": 0.1, "random_state": 3, "batch_size": 32}
    words = np.where(y_train == 1, "fraud", "fine")
    return GradientForestDetector(**settings, anomaly_label="fraud").fit(X_train, words)


@pytest.fixture
def session(detector, data, tmp_path):
    X_train, y_train, X_new, _ = data
    output = tmp_path / "reviewed.keras"
    labels = tmp_path / "labels.csv"
    words = detector.classes_[y_train]
    return ReviewSession(detector, X_new, X_train, words, labels=labels, output=output)


@pytest.mark.slow
def test_a_round_of_learning(session, data, detector, tmp_path):
    X_train, y_train, X_new, truth = data
    scores = detector.predict_proba(X_new)[:, 1]
    labelled = session.queue("score")[:10]
    for position in labelled.tolist():
        session.label(position, "anomaly" if truth[position] else "normal")
    session.label(int(session.queue("score")[0]), "unsure")
    job = LearningJob(session)
    assert job.start()
    assert not job.start()  # one at a time
    job.wait(120)
    assert job.status()["error"] == ""
    assert job.status()["n_done"] == 1
    assert job.status()["phase"] != "preparing"  # it has followed the phases of the training

    figures = session.figures()
    assert figures["n_reviewed"] == 11
    assert figures["precision"] == truth[labelled].mean()
    assert figures["promised_rate"] == 0.1
    assert figures["left"]["low"] <= figures["left"]["estimate"] <= figures["left"]["high"]
    (round_,) = session.store.rounds()
    assert round_["round"] == 1
    assert round_["n_top"] == 50
    # The detector passed in is unchanged; the new one is what was written, with the old parameters.
    np.testing.assert_array_equal(detector.predict_proba(X_new)[:, 1], scores)
    written = load(tmp_path / "reviewed.keras")
    np.testing.assert_array_equal(
        written.predict_proba(X_new)[:, 1], session.detector.predict_proba(X_new)[:, 1]
    )
    assert written.get_params()["false_positive_rate"] == 0.1
    assert not written.warm_start
    assert set(written.predict(X_new[:20])) <= {"fraud", "fine"}
    # The same rows calibrate as before: no reviewed one has joined them.
    held_back = rows_of(X_train, session.training.held_back)
    calibration = written.pipeline_.calibration.scores.numpy()
    np.testing.assert_allclose(
        np.sort(written.predict_proba(held_back)[:, 1]), calibration, rtol=1e-4, atol=1e-6
    )
    # Another session continues with the labels, and finds the same rows for the written model.
    again = ReviewSession(
        written, X_new, X_train, detector.classes_[y_train], labels=tmp_path / "labels.csv"
    )
    assert again.training.held_back_is_unseen
    assert again.figures()["n_reviewed"] == 11
    assert set(again.training.held_back) == set(session.training.held_back)


def test_rows_held_back_in_training_are_found_again(detector, data):
    X_train, y_train, _, _ = data
    training = TrainingRows(X_train, y_train, detector)
    assert training.held_back_is_unseen
    assert len(training.held_back) == detector.pipeline_.calibration.n_samples
    assert training.notes == []
    other = TrainingRows(X_train.iloc[::-1].reset_index(drop=True), y_train[::-1], detector)
    assert other.held_back_is_unseen
    assert set(other.held_back) == set(len(X_train) - 1 - training.held_back)


def test_held_back_rows_are_found_whatever_the_seed_and_after_another_calibration(data):
    X_train, y_train, X_new, truth = data
    detector = DistanceDetector(false_positive_rate=0.1).fit(X_train, y_train)
    found = TrainingRows(X_train, y_train, detector)
    assert found.held_back_is_unseen
    # One of them has turned out to be an anomaly.
    labels = y_train.copy()
    labels[found.held_back[0]] = 1
    fewer = TrainingRows(X_train, labels, detector)
    assert fewer.held_back_is_unseen
    assert fewer.held_back.tolist() == found.held_back[1:].tolist()
    detector.calibrate(X_new[truth == 0])
    again = TrainingRows(X_train, y_train, detector)
    assert again.held_back.tolist() == found.held_back.tolist()
    (note,) = again.notes
    assert note.startswith("learning calibrates the model with the rows that it held back")


def test_other_rows_are_held_back_where_those_of_the_training_are_missing_or_too_few(data):
    X_train, y_train, X_new, truth = data
    detector = DistanceDetector(false_positive_rate=0.1).fit(X_train, y_train)
    found = TrainingRows(X_train, y_train, detector).held_back
    rest = np.setdiff1d(np.arange(len(X_train)), found[3:])
    other = TrainingRows(X_train.iloc[rest], y_train[rest], detector)
    assert not other.held_back_is_unseen
    (note,) = other.notes
    assert f"of {len(found)} rows that the model held back in training, 3 are among" in note
    # More recent rows suffice for a rate that the held-back ones do not.
    many = pd.concat([X_new[truth == 0]] * 2)
    detector.set_params(false_positive_rate=1 / 101).calibrate(many)
    stricter = TrainingRows(X_train, y_train, detector)
    assert len(stricter.held_back) == 100
    assert not stricter.held_back_is_unseen
    detector.set_params(false_positive_rate=1 / 201).calibrate(many)
    with pytest.raises(ValueError, match="needs 200 held-back normal samples, but there are only"):
        TrainingRows(X_train, y_train, detector)


def test_too_few_rows_to_calibrate_with_are_an_error_before_the_training(data, tmp_path):
    X_train, y_train, _, _ = data
    n = int((y_train == 0).sum()) // 10  # what is held back
    detector = DistanceDetector(false_positive_rate=1 / (n + 1)).fit(X_train, y_train)
    held_back = TrainingRows(X_train, y_train, detector).held_back
    review = ReviewSession(
        detector, X_train.iloc[held_back], X_train, y_train, labels=tmp_path / "labels.csv"
    )
    review.label(0, "anomaly")
    with pytest.raises(ValueError, match=f"but {n - 1} are left, as 1 of them turned out to be"):
        review.learn()


@pytest.mark.slow
def test_a_learning_that_fails_changes_nothing(data, detector, tmp_path, monkeypatch):
    X_train, y_train, X_new, _ = data
    rest = X_train.iloc[:-60], detector.classes_[y_train[:-60]]
    other = GradientForestDetector(**QUICK, random_state=1).fit(*rest)
    session = ReviewSession(
        other, X_new, X_train[-100:], labels=tmp_path / "a.csv", output=tmp_path / "out.keras"
    )
    assert not session.training.held_back_is_unseen

    def disk_full(*_):
        raise OSError(28, "No space left on device")

    session.label(0, "normal")
    with monkeypatch.context() as patch:
        patch.setattr(GradientForestDetector, "save", disk_full)
        with pytest.raises(OSError, match="No space left"):
            session.learn()
    assert session.detector is other
    session.learn()  # not with the snapshots of `other`, which have seen what calibrates now
    assert session.detector.model_.features is not other.model_.features


def test_reviewed_rows_never_calibrate_and_held_back_ones_are_never_learnt_from(detector, data):
    X_train, y_train, X_new, _ = data
    training = TrainingRows(X_train, y_train, detector)
    first, second = training.held_back[:2]
    learnt_before = int(np.setdiff1d(np.flatnonzero(y_train == 0), training.held_back)[0])
    reviewed = pd.concat([X_train.iloc[[first, second, learnt_before]], X_new[:3]])
    labels = np.array([0, 1, 1, 0, 1, 0])  # the second held-back row turned out to be an anomaly
    samples, found, held_back = training.divide(Reviewed(reviewed, labels), None)
    keys, calibrates = content_keys(samples), content_keys(held_back)
    key_of = content_keys(reviewed)
    assert not set(keys) & set(calibrates)
    assert not set(key_of[1:]) & set(calibrates)
    assert key_of[0] in calibrates
    assert key_of[0] not in keys
    assert len(held_back) == len(training.held_back) - 1
    label_of = dict(zip(keys, found, strict=True))
    assert [label_of[key] for key in key_of[1:]] == labels[1:].tolist()
    assert (keys == key_of[2]).sum() == 1


def test_all_reviewed_rows_are_learnt_from_where_the_number_is_bounded(detector, data):
    X_train, y_train, X_new, _ = data
    training = TrainingRows(X_train, y_train, detector)
    reviewed = Reviewed(X_new[:20], np.zeros(20, dtype=int))
    samples, labels, _ = training.divide(reviewed, max_normal=50)
    assert (labels == 0).sum() == 50
    assert (labels == 1).sum() == N_KNOWN
    assert set(content_keys(X_new[:20])) <= set(content_keys(samples))


@pytest.mark.parametrize("classes", [["fine", "fraud"], [1, 2], [False, True]])
def test_learning_without_a_known_anomaly_keeps_the_classes(data, tmp_path, classes):
    X_train, y_train, X_new, _ = data
    detector = DistanceDetector(random_state=0).fit(X_train, np.array(classes)[y_train])
    output = tmp_path / "reviewed.keras"
    session = ReviewSession(detector, X_new, X_train, labels=tmp_path / "labels.csv", output=output)
    session.label(1, "normal")
    session.learn()
    assert session.detector.classes_.tolist() == classes
    assert load(output).classes_.tolist() == classes
    assert session.detector.anomaly_label is None


def test_learning_keeps_an_assigned_threshold(data, tmp_path):
    X_train, y_train, X_new, _ = data
    detector = DistanceDetector(random_state=0).fit(X_train, y_train)
    detector.threshold_ = 0.75
    session = ReviewSession(detector, X_new, X_train, y_train, labels=tmp_path / "labels.csv")
    session.label(1, "normal")
    session.learn()
    assert session.detector is not detector
    assert session.detector.threshold_ == 0.75


def test_an_assigned_threshold_promises_nothing_and_is_kept(data, tmp_path):
    X_train, y_train, X_new, _ = data
    detector = DistanceDetector(false_positive_rate=0.1).fit(X_train, y_train)
    session = ReviewSession(detector, X_new, X_train, y_train, labels=tmp_path / "a.csv")
    assert session.figures()["promised_rate"] == 0.1
    detector.threshold_ = 0.01
    session = ReviewSession(detector, X_new, X_train, y_train, labels=tmp_path / "b.csv")
    assert session.figures()["promised_rate"] is None
    session.label(1, "normal")
    session.learn()
    assert session.detector.threshold_ == pytest.approx(0.01)


def test_rounds_count_the_labels_that_they_learnt_from(data, tmp_path, monkeypatch):
    X_train, y_train, X_new, _ = data
    detector = DistanceDetector(random_state=0).fit(X_train, y_train)
    labels = tmp_path / "labels.csv"
    session = ReviewSession(detector, X_new[:80], X_train, y_train, labels=labels)
    score = session._score

    def labelling_meanwhile(learner):
        session.label(40, "normal")
        return score(learner)

    for position, label in enumerate(["anomaly", "anomaly", "normal", "unsure"]):
        session.label(position, label)
    with monkeypatch.context() as patch:
        patch.setattr(session, "_score", labelling_meanwhile)
        first = session.learn()
    assert (first["n_learnt"], first["round_reviewed"]) == (3, 3)
    assert first["round_precision"] == pytest.approx(2 / 3)
    # Another table: labels of the first one are learnt from, too, but are not of this round.
    later = ReviewSession(detector, X_new[80:], X_train, y_train, labels=labels)
    for position, label in enumerate(["anomaly", "normal", "normal", "normal"]):
        later.label(position, label)
    second = later.learn()
    assert (second["round"], second["n_learnt"], second["round_reviewed"]) == (2, 8, 4)
    assert second["round_precision"] == 0.25
    later.label(0, note="a note is no label")
    third = later.learn()
    assert (third["round_reviewed"], third["round_precision"]) == (0, None)


def test_undo_leaves_labels_of_other_tables(detector, data, tmp_path):
    labels = tmp_path / "labels.csv"
    ReviewSession(detector, data[2][:80], labels=labels).label(0, "anomaly")
    session = ReviewSession(detector, data[2][80:], labels=labels)
    assert session.undo() is None
    assert len(session.store.current()) == 1
    again = ReviewSession(detector, data[2][:80], labels=labels)
    assert again.undo() == 0


def test_a_stopped_learning_ends_at_its_next_report(session):
    session.label(0, "normal")
    before = session.detector
    job = LearningJob(session)
    job.start()
    job.stop()
    job.wait(60)
    assert job.status()["error"] == "stopped"
    assert session.detector is before
    assert session.store.rounds() == []


def test_rows_opened_while_a_session_learns_do_not_keep_the_old_encoding(
    data, tmp_path, monkeypatch
):
    X_train, y_train, X_new, _ = data
    detector = DistanceDetector(random_state=0).fit(X_train, y_train)
    unlike = X_train.assign(kind=X_train["kind"] + "!", amount=X_train["amount"] * 3)
    session = ReviewSession(detector, X_new, unlike, y_train, labels=tmp_path / "labels.csv")
    for position in range(3):
        session.label(position, "normal")
    score = session._score

    def opening_a_row(learner):
        session.similar(3)
        return score(learner)

    monkeypatch.setattr(session, "_score", opening_a_row)
    session.learn()
    later = ReviewSession(session.detector, X_new, labels=tmp_path / "labels.csv")
    assert session.similar(3) == later.similar(3)
    assert session.similar(4) == later.similar(4)


@pytest.mark.slow
def test_encodings_are_kept_as_long_as_the_encoder_is(session):
    session.label(0, "normal")
    session.similar(1)
    encoded = session.scoring.encoded
    assert encoded
    session.learn()
    assert session.scoring.encoded is encoded


def test_labels_of_an_earlier_file_are_still_learnt_from(session, detector, data, tmp_path):
    X_train, _, X_new, _ = data
    for position in range(3):
        session.label(position, "anomaly")
    later = ReviewSession(detector, X_new[50:], X_train, None, labels=tmp_path / "labels.csv")
    assert later.figures()["n_reviewed"] == 0  # none of them is in this file
    later.label(0, "normal")
    reviewed = later.reviewed()
    assert reviewed.labels.tolist() == [0, 1, 1, 1]
    assert content_keys(reviewed.samples).tolist() == [
        *content_keys(X_new[50:51]),
        *content_keys(X_new[:3]),
    ]


def test_what_is_said_about_a_row(session, data):
    _, _, X_new, truth = data
    position = int(session.queue("score")[0])
    causes = session.explain(position)
    assert {cause.name for cause in causes[:2]} == {"amount", "kind"}
    gap = sum(cause.attribution for cause in causes)
    assert 0 < gap <= session.scoring.scores[position]
    unusual = {one.name for one in session.compare(position) if one.unusual}
    assert "amount" in unusual
    same = (X_new["flag"] & (X_new["level"] == "low")).to_numpy()
    position, alike = map(int, np.flatnonzero(same & (truth == 1))[:2])
    unlike = int(np.flatnonzero(~same & (truth == 0))[0])
    assert session.similar(position) == []
    session.label(unlike, "normal")
    session.label(alike, "anomaly", "like the last one")
    nearest, other = session.similar(position)
    assert (nearest.position, nearest.label, nearest.note) == (
        alike,
        "anomaly",
        "like the last one",
    )
    assert other.position == unlike
    assert nearest.distance < other.distance


def test_without_training_rows_nothing_is_learnt(detector, data, tmp_path):
    session = ReviewSession(detector, data[2][:5], labels=tmp_path / "labels.csv")
    assert not session.can_learn
    with pytest.raises(ValueError, match="needs the training samples"):
        session.learn()


def test_positions_are_rows_of_x_and_identical_rows_share_a_label(detector, data, tmp_path):
    _, _, X_new, truth = data
    repeated = [3, 0, 3, 1, 2, 3]
    X, truth = X_new.iloc[[*repeated, *range(4, 60)]], truth[[*repeated, *range(4, 60)]]
    session = ReviewSession(detector, X.reset_index(drop=True), labels=tmp_path / "labels.csv")
    queue = session.queue().tolist()
    assert sorted(queue) == [0, 1, 3, 4, *range(6, len(X))]
    for position in queue:
        session.label(position, "anomaly" if truth[position] else "normal")
    assert session.labels().tolist() == np.where(truth, "anomaly", "normal").tolist()
    figures = session.figures()
    assert figures["n_rows"] == figures["n_reviewed"] == len(queue)
    assert len(session.reviewed().labels) == len(queue)
    session.label(5, "unsure")  # the third of three identical rows
    assert session.labels()[[0, 2, 5]].tolist() == ["unsure"] * 3
    assert 2 not in [one.position for one in session.similar(0)]


def test_rows_and_filters_that_do_not_exist_are_refused(session):
    for position in (-1, len(session.rows)):
        for method in (session.explain, session.similar, session.compare):
            with pytest.raises(ValueError, match=f"no row {position}: there are"):
                method(position)
        with pytest.raises(ValueError, match=f"no row {position}: there are"):
            session.label(position, "normal")
    with pytest.raises(ValueError, match="unknown order 'scores'"):
        session.queue("scores")
    with pytest.raises(ValueError, match="unknown filter 'open'"):
        session.queue(show="open")


def test_ids_may_be_a_series_and_must_fit_the_rows(detector, data, tmp_path):
    X, numbers = data[2], pd.Series(np.arange(len(data[2])) + 100, name="number")
    session = ReviewSession(detector, X, labels=tmp_path / "a.csv", ids=numbers)
    session.label(2, "normal")
    assert pd.read_csv(tmp_path / "a.csv")["number"].tolist() == [102]
    with pytest.raises(ValueError, match="ids has 5 rows, but there are 160 to review"):
        ReviewSession(detector, X, labels=tmp_path / "b.csv", ids=numbers[:5])
    with pytest.raises(ValueError, match="ids must be a DataFrame or a Series, got list"):
        ReviewSession(detector, X, labels=tmp_path / "c.csv", ids=["number"])


def test_sparse_samples_are_refused(data, tmp_path):
    numbers = data[0][["amount", "count"]].to_numpy(np.float64)
    detector = DistanceDetector(random_state=0).fit(numbers)
    sparse = scipy.sparse.csr_matrix(numbers)
    with pytest.raises(ValueError, match=r"X is a sparse matrix, .* cannot be shown: pass a table"):
        ReviewSession(detector, sparse, labels=tmp_path / "labels.csv")
    with pytest.raises(ValueError, match=r"X_train is a sparse matrix, .* cannot be shown"):
        ReviewSession(detector, numbers, sparse, data[1], labels=tmp_path / "labels.csv")


def test_the_order_of_columns_does_not_matter(data, tmp_path):
    X_train, y_train, X_new, _ = data
    detector = DistanceDetector(random_state=0).fit(X_train, y_train)
    labels, other = tmp_path / "labels.csv", X_train.columns[::-1]
    ReviewSession(detector, X_train, labels=labels).label(2, "anomaly")
    session = ReviewSession(detector, X_train[other], X_new[other], labels=labels)
    assert session.labels().tolist() == ["", "", "anomaly", *[""] * (len(X_train) - 3)]
    # A reviewed row is one of the training rows, whatever their columns' order.
    session = ReviewSession(detector, X_train, X_train[other], y_train, labels=labels)
    samples, learnt, held_back = session.training.divide(session.reviewed(), None)
    assert len(samples) + len(held_back) == len(X_train)
    key = session.rows.keys[2]
    assert learnt[content_keys(samples) == key].tolist() == [1]


def test_columns_that_do_not_fit_are_named(data, tmp_path):
    detector = DistanceDetector(random_state=0).fit(*data[:2])
    renamed, twice = (data[2].rename(columns=to) for to in ({"kind": "sort"}, {"level": "kind"}))
    with pytest.raises(ValueError, match="missing column 'kind'; unexpected column 'sort'"):
        ReviewSession(detector, renamed, labels=tmp_path / "labels.csv")
    with pytest.raises(ValueError, match="'kind' appears more than once"):
        ReviewSession(detector, twice, labels=tmp_path / "labels.csv")


def test_values_kept_with_labels_become_samples_again(data):
    X = data[2].assign(when=pd.date_range("2026-01-01", periods=len(data[2]), freq="h"))
    rows = ReviewRows.of(X)
    contents = [json.loads(json.dumps(rows.content(i))) for i in (5, 7)]
    restored = restore_samples([*contents, {"other": 1}], X)
    assert content_keys(restored).tolist() == rows.keys[[5, 7]].tolist()
    assert restored["level"].dtype == "category"
    X = pd.DataFrame(
        {
            "when": pd.to_datetime(
                ["2026-01-01 10:00", "2026-07-01 10:00:00.5"], format="ISO8601"
            ).tz_localize("Europe/Berlin"),
            "flag": pd.array([True, None], "boolean"),
        }
    )
    rows = ReviewRows.of(X)
    restored = restore_samples([json.loads(json.dumps(rows.content(i))) for i in (0, 1)], X)
    assert content_keys(restored).tolist() == rows.keys.tolist()
    assert restored["flag"].dtype == "boolean"
    array = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    rows = ReviewRows.of(array)
    restored = restore_samples([rows.content(2)], array)
    np.testing.assert_array_equal(restored, array[2:3])
    assert restore_samples([{"other": 1}], array) is None
