"""From files to the page: reading tables, ids, labels, and continuing an earlier review."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pandas as pd
import pytest

from r2ad2 import load
from r2ad2.bulk.fit import fit_file
from r2ad2.review import ReviewSession, open_review
from r2ad2.review.files import read_rows, read_training
from r2ad2.tables.source import TableSource
from tests.helpers.commands import run
from tests.helpers.detectors import DistanceDetector

pytestmark = pytest.mark.usefixtures("review_extra")


def transactions(n, n_frauds):
    rng = np.random.default_rng(n)
    return pd.DataFrame(
        {
            "id": [f"T{i}" for i in range(n)],
            "amount": np.where(np.arange(n) < n_frauds, 500, rng.normal(100, 10, n)).round(2),
            "online": rng.random(n) < 0.5,
            "shop": rng.choice(["food", "fuel"], n),
            "when": pd.date_range("2026-01-01", periods=n, freq="h").astype(str),
            "state": np.where(np.arange(n) < n_frauds, "fraud", "fine"),
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Write train.csv, new.csv and a model trained on the former."""
    folder = tmp_path_factory.mktemp("review_files")
    transactions(300, 5).to_csv(folder / "train.csv", index=False)
    transactions(60, 3).drop(columns="state").to_csv(folder / "new.csv", index=False)
    source = TableSource("state", anomalous=("fraud",), drop=("id",), timestamps=("when",))
    detector = DistanceDetector(false_positive_rate=0.05, random_state=0)
    fit_file(detector, folder / "train.csv", folder / "model.keras", source=source)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    for name in ("train.csv", "new.csv", "model.keras"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    return tmp_path


def opened(folder, **options):
    paths = [folder / name for name in ("new.csv", "model.keras", "labels.csv")]
    notes = []
    review = open_review(*paths, train=folder / "train.csv", note=notes.append, **options)
    return review, notes


def test_tables_are_read_as_in_training(folder):
    detector = load(folder / "model.keras")
    samples, ids = read_rows(detector, folder / "new.csv", ["id"])
    assert ids["id"].tolist()[:2] == ["T0", "T1"]
    assert samples.dtypes.astype(str)[["amount", "online"]].tolist() == ["float64", "bool"]
    assert samples["when"].iloc[1] == pd.Timestamp("2026-01-01 01:00")
    train, labels = read_training(detector, folder / "train.csv")
    assert labels.sum() == 5
    assert list(train.columns) == list(samples.columns)
    # Read again in memory, the values score the same as in the file.
    raw = pd.read_csv(folder / "new.csv", parse_dates=["when"]).drop(columns="id")
    np.testing.assert_array_equal(detector.predict_proba(samples), detector.predict_proba(raw))
    _, reversed_ = read_training(
        detector, folder / "train.csv", TableSource("state", ("fine",), drop=("id",))
    )
    assert reversed_.sum() == 295


def test_learning_from_scratch_keeps_declared_categories(tmp_path):
    rng = np.random.default_rng(5)
    table = transactions(200, 6)[["amount", "state"]]
    table["code"] = rng.choice(["12", "13", "7A"], 200, p=[0.4, 0.3, 0.3])  # looks numeric
    table.to_csv(tmp_path / "train.csv", index=False)
    table.assign(code="9B")[:20].to_csv(tmp_path / "new.csv", index=False)
    detector = DistanceDetector(random_state=0)
    source = TableSource("state", anomalous=("fraud",), types={"code": "category"})
    fit_file(detector, tmp_path / "train.csv", tmp_path / "model.keras", source=source)
    X, y = read_training(detector, tmp_path / "train.csv")
    X_new, _ = read_rows(detector, tmp_path / "new.csv")
    labels = tmp_path / "labels.csv"
    ReviewSession(detector, X[100:], labels=labels).label(0, "normal")  # an earlier file
    session = ReviewSession(detector, X_new, X[:-1], y[:-1], labels=labels)
    session.label(3, "anomaly")
    session.learn()
    assert session.detector.pipeline_.encoder.categories["code"] == ["12", "13", "7A", "9B"]


def test_tables_are_never_overwritten_with_labels(folder):
    before = {name: (folder / name).read_bytes() for name in ("new.csv", "train.csv")}
    for name in before:
        paths = [folder / "new.csv", folder / "model.keras", folder / name]
        with pytest.raises(ValueError, match=f"{name}' is the table that is read"):
            open_review(*paths, train=folder / "train.csv")
    assert before == {name: (folder / name).read_bytes() for name in before}


def test_a_feature_cannot_hold_the_labels(folder):
    with pytest.raises(ValueError, match="column 'shop' is a feature of this model"):
        opened(folder, label="shop", anomalous=["food"])


def test_rows_set_aside_are_counted(folder):
    table = folder / "new.csv"
    header, first, *others = table.read_text().splitlines()
    table.write_text("\n".join([header, f"{first},1,2", *others]) + "\n")
    review, notes = opened(folder, on_error="skip")
    assert notes == [f"{table}: set 1 malformed row aside"]
    assert len(review.session.rows) == len(others)


def test_a_review_continues_with_its_labels_and_its_model(folder):
    review, notes = opened(folder, ids=["id"])
    assert notes == []
    session = review.session
    assert session.rows.keys.tolist()[:2] == ["T0", "T1"]
    assert session.training.held_back_is_unseen
    for position in range(3):
        session.label(position, "anomaly")
    session.learn()
    before = (folder / "model.keras").read_bytes()
    assert (folder / "model-reviewed.keras").exists()

    again, notes = opened(folder, ids=["id"])
    assert again.continues
    assert "continuing with" in notes[0]
    assert (again.session.labels() == "anomaly").sum() == 3
    assert again.session.training.held_back_is_unseen
    assert (folder / "model.keras").read_bytes() == before

    detector = load(folder / "model.keras")
    detector.threshold_ = 0.123  # another model of the same name
    detector.notes_["changed"] = True
    detector.save(folder / "model.keras")
    other, notes = opened(folder, ids=["id"])
    assert not other.continues
    assert "comes from another model" in notes[0]
    with pytest.raises(ValueError, match="keyed by id, not by key"):
        opened(folder)


def test_a_training_table_that_differs_is_noted(folder):
    table = pd.read_csv(folder / "train.csv")
    table.sample(frac=1, random_state=0).to_csv(folder / "train.csv", index=False)
    review, notes = opened(folder)
    assert review.session.training.held_back_is_unseen
    assert notes == []
    table.assign(amount=table["amount"] + 1).to_csv(folder / "train.csv", index=False)
    review, notes = opened(folder)
    assert not review.session.training.held_back_is_unseen
    assert "the first learning trains everything from scratch" in notes[0]


@pytest.mark.parametrize("missing", ["error", "indicator"])
def test_decimals_where_training_had_whole_numbers_stay_decimals(tmp_path, missing):
    rng = np.random.default_rng(0)
    pd.DataFrame({"n": rng.integers(0, 10, 100), "flag": rng.random(100) < 0.5}).to_csv(
        tmp_path / "train.csv", index=False
    )
    new = pd.DataFrame({"n": [7.7, 5.0, 1e20, 0.9], "flag": [True, False, True, False]})
    if missing == "indicator":
        new.loc[4] = [np.nan, True]
    new.to_csv(tmp_path / "new.csv", index=False)
    detector = DistanceDetector(missing=missing, random_state=0)
    fit_file(detector, tmp_path / "train.csv", tmp_path / "model.keras", source=TableSource(""))
    detector = load(tmp_path / "model.keras")
    samples, _ = read_rows(detector, tmp_path / "new.csv")
    assert samples["n"].tolist()[:4] == [7.7, 5.0, 1e20, 0.9]
    np.testing.assert_array_equal(detector.predict_proba(samples), detector.predict_proba(new))
    new.iloc[[1, 1]].to_csv(tmp_path / "new.csv", index=False)
    samples, _ = read_rows(detector, tmp_path / "new.csv")
    assert samples["n"].dtype == "int64"  # as in training


def test_the_command_prints_the_address_and_opens_it(folder, capsys, monkeypatch):
    from r2ad2.review.server import ReviewServer

    pages = []

    def open_file(address):
        path = Path(urlparse(address).path)
        pages.append((path, path.read_text("utf-8")))
        # The token is in no argument of a process, and in no file that others can read.
        assert "token" not in address
        assert os.name == "nt" or path.stat().st_mode & 0o077 == 0

    monkeypatch.setattr(webbrowser, "open", open_file)
    monkeypatch.setattr(ReviewServer, "run", lambda self, started: started())
    command = ["review", folder / "new.csv", "--model", folder / "model.keras"]
    command += ["--train", folder / "train.csv", "--label", "state", "--id", "id"]
    command += ["--labels", folder / "labels.csv"]
    assert run(*command) == 0
    ((path, text),) = pages
    printed = capsys.readouterr().out
    assert text.split("url=")[1].split('"')[0] in printed
    assert not path.exists()
    assert "model-reviewed.keras" in printed
    assert run(*command, "--no-browser", "--quiet") == 0
    assert len(pages) == 1
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
    assert run(*command, "--output", folder / "model.h5") == 2
    assert "must end in .keras" in capsys.readouterr().err
    assert run(*command[:-1], folder / "labels.txt") == 2
    assert "must end in .csv" in capsys.readouterr().err
