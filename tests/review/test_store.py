"""Labels survive everything: other windows, other processes, kills, spreadsheets."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading

import pytest

from r2ad2.review.store import LabelStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "labels.csv"


def cells(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def labels(store):
    return {key: one.label for key, one in store.current().items()}


def test_labels_are_in_the_csv_file_and_in_the_next_session(path):
    store = LabelStore(path, ["id"])
    store.add("A7", "anomaly", "same card as yesterday")
    store.add("A8", "unsure")
    store.add("A7", "normal", "called the owner")
    assert labels(LabelStore(path, ["id"])) == {"A7": "normal", "A8": "unsure"}
    rows = {row["id"]: row for row in cells(path)}
    assert rows["A7"]["label"] == "normal"
    assert rows["A7"]["note"] == "called the owner"
    assert rows["A8"]["time"].endswith("+00:00")


def test_undo_gives_back_what_the_same_window_had_before(path):
    store = LabelStore(path)
    store.add("r1", "anomaly", window="left")
    store.add("r1", "normal", window="left")
    store.add("r2", "unsure", window="right")
    assert store.undo("left") == "r1"
    assert labels(store) == {"r1": "anomaly", "r2": "unsure"}
    assert store.undo("left") == "r1"
    assert store.undo("left") is None
    assert labels(store) == {"r2": "unsure"}
    assert [row["key"] for row in cells(path)] == ["r2"]


def test_a_note_keeps_the_label_and_a_label_keeps_the_note(path):
    left, right = LabelStore(path), LabelStore(path)
    left.add("r1", "anomaly", window="left")
    right.add("r1", note="called the owner", window="right")
    left.add("r1", "normal", window="left")
    assert [(one.label, one.note) for one in left.current().values()] == [
        ("normal", "called the owner")
    ]
    right.add("r1", note="", window="right")
    assert [(one.label, one.note) for one in left.current().values()] == [("normal", "")]


def test_undo_may_be_limited_to_some_rows(path):
    store = LabelStore(path)
    store.add("last week", "anomaly")
    store.add("today", "normal")
    assert store.undo(keys={"last week"}) == "last week"
    assert store.undo(keys={"last week"}) is None
    assert labels(store) == {"today": "normal"}


def test_labels_as_they_were_at_an_event(path):
    store = LabelStore(path)
    assert store.last_event() == 0
    store.add("r1", "anomaly")
    store.add("r2", "normal")
    event = store.last_event()
    store.add("r1", "normal")
    store.add("r3", "normal")
    then = {key: one.label for key, one in store.current(event).items()}
    assert then == {"r1": "anomaly", "r2": "normal"}


def test_a_csv_file_that_cannot_be_written_costs_no_label(path, monkeypatch):
    store = LabelStore(path)
    store.add("r1", "anomaly")

    def in_use(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("r2ad2.review.store.write_atomically", in_use)
        store.add("r2", "normal")
    assert "labels.csv' could not be written (Permission denied)" in store.notice
    assert labels(store) == {"r1": "anomaly", "r2": "normal"}
    assert [row["key"] for row in cells(path)] == ["r1"]
    store.add("r3", "unsure")
    assert store.notice == ""
    assert [row["key"] for row in cells(path)] == ["r1", "r2", "r3"]


def test_a_database_that_is_moved_away_is_not_begun_again(path):
    store = LabelStore(path)
    store.add("r1", "anomaly")
    path.with_suffix(".sqlite").unlink()
    with pytest.raises(FileNotFoundError, match=r"labels\.sqlite', where the labels are kept"):
        store.add("r2", "normal")
    assert not path.with_suffix(".sqlite").exists()


def test_undo_leaves_a_later_label_of_another_window(path):
    store = LabelStore(path)
    store.add("r1", "anomaly", window="left")
    store.add("r1", "normal", window="right")
    store.undo("left")
    assert labels(store) == {"r1": "normal"}


def test_threads_and_sessions_that_label_at_once_lose_nothing(path):
    sessions = [LabelStore(path) for _ in range(4)]

    def work(number):
        for i in range(10):
            sessions[number].add(f"r{number}-{i}", "normal", window=str(number))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {f"r{n}-{i}" for n in range(4) for i in range(10)}
    assert set(sessions[0].current()) == expected
    assert {row["key"] for row in cells(path)} == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_process_loses_no_label_that_it_confirmed(path):
    code = """
    import sys
    from r2ad2.review.store import LabelStore
    store = LabelStore(sys.argv[1])
    for i in range(100_000):
        store.add(f"r{i}", "anomaly", "note" * 50)
        print(i, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)], stdout=subprocess.PIPE, text=True
    )
    confirmed = [int(process.stdout.readline()) for _ in range(25)]
    process.send_signal(signal.SIGKILL)
    confirmed += [int(line) for line in process.communicate()[0].splitlines()]
    reopened = LabelStore(path)
    assert {f"r{i}" for i in confirmed} <= set(reopened.current())
    assert {row["key"] for row in cells(path)} == set(reopened.current())


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "'", "\uff1d"])
def test_no_cell_begins_like_a_formula_and_all_texts_come_back(path, start):
    note = f'{start}HYPERLINK("http://x","y")'
    key = f"{start}2+3"
    LabelStore(path, ["id"]).add(key, "anomaly", note)
    (row,) = cells(path)
    assert row["id"] == f"'{key}"
    assert row["note"] == f"'{note}"
    path.with_suffix(".sqlite").unlink()  # the CSV file alone has everything
    (found,) = LabelStore(path, ["id"]).current().items()
    assert found[0] == key
    assert found[1].note == note


def test_what_is_changed_in_the_csv_file_counts_from_the_next_session(path):
    LabelStore(path).add("r1", "anomaly")
    text = path.read_text("utf-8").replace("anomaly", "normal")
    path.write_text(text + "r2,unsure,from a colleague,\n", "utf-8")
    store = LabelStore(path)
    assert labels(store) == {"r1": "normal", "r2": "unsure"}
    assert store.current()["r2"].note == "from a colleague"
    assert len(LabelStore(path).current()) == 2


def test_several_id_columns_are_one_key_each_in_its_own_column(path):
    store = LabelStore(path, ["shop", "number"])
    store.add('["A, B", "7"]', "anomaly")
    assert [(row["shop"], row["number"]) for row in cells(path)] == [("A, B", "7")]
    path.with_suffix(".sqlite").unlink()
    assert labels(LabelStore(path, ["shop", "number"])) == {'["A, B", "7"]': "anomaly"}


def test_another_change_is_a_new_version(path):
    store, other = LabelStore(path), LabelStore(path)
    before = store.version()
    other.add("r1", "normal")
    assert store.version() > before


def test_unusable_files_are_named(path, tmp_path):
    LabelStore(path, ["id"]).add("1", "normal")
    with pytest.raises(ValueError, match="keyed by id, not by key: use the same --id"):
        LabelStore(path)
    with pytest.raises(ValueError, match=r"must end in \.csv"):
        LabelStore(tmp_path / "labels.txt")
    with pytest.raises(ValueError, match="'note' cannot be an id"):
        LabelStore(tmp_path / "other.csv", ["note"])
    foreign = tmp_path / "foreign.csv"
    foreign.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a file of labels: it has no column 'key'"):
        LabelStore(foreign)
    assert foreign.read_text() == "a,b\n1,2\n"
    table = tmp_path / "table.csv"  # a label column of the same words, but features, too
    table.write_text("key,amount,label\n1,7,anomaly\n")
    with pytest.raises(ValueError, match="it has a column 'amount'; name another file"):
        LabelStore(table)
    assert table.read_text() == "key,amount,label\n1,7,anomaly\n"
    odd = tmp_path / "odd.csv"
    odd.write_text("key,label\nr1,perhaps\n")
    with pytest.raises(ValueError, match="line 2: the label is 'perhaps'"):
        LabelStore(odd)
    latin = tmp_path / "latin.csv"
    latin.write_bytes("key,label,note\nr1,normal,caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.csv' is not in UTF-8"):
        LabelStore(latin)
    broken = tmp_path / "broken.csv"
    broken.with_suffix(".sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ValueError, match="is not a database of labels"):
        LabelStore(broken)


def test_a_locked_database_is_not_called_broken(path, monkeypatch):
    store = LabelStore(path)
    store.add("r1", "anomaly")
    with contextlib.closing(sqlite3.connect(path.with_suffix(".sqlite"))) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr("r2ad2.review.store._PATIENCE", 0.1)
        with pytest.raises(OSError, match=r"labels.sqlite' cannot be used now: database is locked"):
            LabelStore(path)
    assert labels(LabelStore(path)) == {"r1": "anomaly"}
