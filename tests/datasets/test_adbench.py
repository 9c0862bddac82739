"""The tables of ADBench: files, downloads and the split of the published comparison."""

from __future__ import annotations

import functools
import http.server
import io
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score, roc_auc_score

from r2ad2.datasets.adbench import (
    CHECKSUMS,
    FOLDER,
    adbench_names,
    checksum,
    read_adbench,
    split_adbench,
)
from r2ad2.experiments import Run, runner
from r2ad2.experiments.published import published_figures
from r2ad2.experiments.tables import make_tables
from tests.datasets.sets.cases import scrambled
from tests.helpers.commands import run as run_command
from tests.helpers.experiments import work_here


@pytest.fixture
def adbench(real_data):
    if not adbench_names(real_data):
        pytest.skip("the tables of ADBench are not available")
    return real_data


def write_set(folder, name="1_small", **arrays):
    (folder / FOLDER).mkdir(exist_ok=True)
    np.savez(folder / FOLDER / f"{name}.npz", **arrays)


@pytest.fixture
def small(tmp_path, rng):
    y = np.arange(200) % 10 == 0
    write_set(tmp_path, X=rng.random((200, 3)) + y[:, np.newaxis], y=y.astype(int))
    return tmp_path


@pytest.mark.slow
def test_a_random_forest_has_the_published_figures_on_every_set(adbench):
    published = pd.read_csv(adbench / FOLDER / "published.csv").query("method == 'RF'")
    assert len(published) == 90
    for (name, seed, n_labelled), expected in published.groupby(["dataset", "seed", "n_labelled"]):
        split = split_adbench(*read_adbench(name, adbench), n_labelled, seed)
        forest = RandomForestClassifier(random_state=seed, n_jobs=-1).fit(
            split.x_train, split.y_train
        )
        scores = forest.predict_proba(split.x_test)[:, 1]
        figures = [f(split.y_test, scores) for f in (roc_auc_score, average_precision_score)]
        np.testing.assert_allclose(figures, expected[["auc", "ap"]].to_numpy()[0], atol=1e-6)


def test_contents_are_as_published_however_they_are_packed(adbench):
    assert set(adbench_names(adbench)) >= set(CHECKSUMS)
    for name, expected in CHECKSUMS.items():
        assert checksum(*read_adbench(name, adbench)) == expected


def test_splits_repeat(small):
    X, y = read_adbench("1_small", small)
    first, second = (split_adbench(X, y, 4, seed=2) for _ in range(2))
    for name, values in vars(first).items():
        np.testing.assert_array_equal(values, getattr(second, name))
    assert len(first.x_test) == 60
    assert np.sum(first.y_train) == 4
    assert first.n_unlabelled == 14 - 4


def test_clean_splits_have_no_unlabelled_anomalies(small):
    X, y = read_adbench("1_small", small)
    polluted, clean = (split_adbench(X, y, 4, 2, clean) for clean in (False, True))
    assert len(clean.x_train) == len(polluted.x_train) - polluted.n_unlabelled
    assert clean.n_unlabelled == 0
    np.testing.assert_array_equal(clean.x_test, polluted.x_test)
    assert set(map(tuple, clean.x_train)) < set(map(tuple, polluted.x_train))


def test_at_most_3000_rows_are_drawn(rng):
    split = split_adbench(rng.random((5000, 2)), np.arange(5000) % 50 == 0, 5, 1)
    assert (len(split.x_train), len(split.x_test)) == (2100, 900)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((4, 2))}, "is not a file of ADBench, with arrays X and y"),
        ({"X": np.zeros((4, 2)), "y": np.zeros(3)}, r"it has shapes \(4, 2\) and \(3,\)"),
        ({"X": np.zeros((4, 2)), "y": np.zeros(4)}, "labels y .n,. of 0 and 1"),
    ],
)
def test_files_of_another_form_are_named(tmp_path, arrays, message):
    write_set(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message):
        read_adbench("1_small", tmp_path)


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


WHOLE = npz(X=np.random.default_rng(0).random((500, 20)), y=np.arange(500) % 2)
DAMAGED_FILES = [b"", WHOLE[: len(WHOLE) // 2], scrambled(WHOLE, 300), b"no zip file at all"]


@pytest.mark.parametrize("content", DAMAGED_FILES, ids=["empty", "half", "scrambled", "text"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "1_small.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"1_small\.npz' is not a file of ADBench"):
        read_adbench("1_small", tmp_path)


def test_missing_sets_say_how_to_get_them(tmp_path, small):
    with pytest.raises(FileNotFoundError, match="r2ad2 data fetch adbench"):
        read_adbench("1_small", tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="unknown ADBench set '2_other': choose one of 1_small"):
        read_adbench("2_other", small)


@pytest.fixture
def publisher(small, monkeypatch):
    """Serve the small set from a local server, in place of ADBench's ten."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=small / FOLDER)
    sums = {"1_small": checksum(*read_adbench("1_small", small))}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}/{{}}.npz"
        monkeypatch.setattr("r2ad2.datasets.adbench._SOURCE", address)
        monkeypatch.setattr("r2ad2.datasets.adbench.CHECKSUMS", sums)
        yield sums
        running.shutdown()


def test_fetch_downloads_what_is_missing(publisher, tmp_path, capsys):
    new = tmp_path / "new"
    for expected in ("downloaded 1 file to", "complete in"):
        assert run_command("data", "fetch", FOLDER, "--data-dir", new) == 0
        assert expected in capsys.readouterr().out
    assert checksum(*read_adbench("1_small", new)) == publisher["1_small"]


def test_other_contents_are_refused(publisher, tmp_path, capsys):
    publisher["1_small"] = "0" * 64
    assert run_command("data", "fetch", FOLDER, "--data-dir", tmp_path / "new") == 2
    assert "1_small.npz is not as published" in capsys.readouterr().err
    assert adbench_names(tmp_path / "new") == []


@pytest.mark.parametrize("content", DAMAGED_FILES, ids=["empty", "half", "scrambled", "text"])
def test_damaged_downloads_are_refused_and_deleted(publisher, small, tmp_path, capsys, content):
    (small / FOLDER / "1_small.npz").write_bytes(content)
    assert run_command("data", "fetch", FOLDER, "--data-dir", tmp_path / "new") == 2
    assert "1_small.npz is not as published" in capsys.readouterr().err
    assert list((tmp_path / "new").rglob("*.npz")) == []


def test_experiments_run_on_any_set_in_the_folder(small, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "_work_on", work_here)
    results = tmp_path / "results"
    command = ["--method", "ExtraTrees", "--data-dir", small, "--output", results]
    for name, n_polluting in (("adbench", 14 - 5), ("adbench_clean", 0)):
        assert run_command("experiment", name, *command, "--levels", "5", "--seeds", "1") == 0
        table = pd.read_csv(results / "results.csv").query("experiment == @name")
        assert table["error"].isna().all()
        assert table["n_polluting"].tolist() == [n_polluting]
        assert table["n_known_anomalies"].tolist() == [5]
    assert run_command("experiment", "adbench", *command, "--max-rows", "50") == 2
    assert "omit --max-rows" in capsys.readouterr().err
    assert run_command("experiment", "adbench", *command, "--data", "digits") == 2
    assert "unknown data set 'digits': choose one of 1_small" in capsys.readouterr().err


def test_published_figures_stand_next_to_ours():
    run = Run("adbench", "40_vowels", "CatBoost", 1, 10.0)
    counts = {"n_known_anomalies": 10, "n_test_normal": 50, "n_test_anomalies": 5, "whole": True}
    rows = pd.DataFrame([{**run.describe(), "AUC": 0.75, "AP": 0.5, **counts}])
    table = make_tables(rows, "adbench", "CatBoost")[0]
    published = published_figures("adbench").query("dataset == '40_vowels' and level == 10")
    expected = published.set_index("method")["AUC"]
    cells = dict(zip(table.methods, table.rows["10"], strict=True))
    assert cells["CatBoost"].text == "0.750"
    assert cells["XGBOD"].text == "-"
    assert {name: cell.published for name, cell in cells.items()} == expected.to_dict()
    assert not any("ten data sets" in note or "Fewer than" in note for note in table.notes)
