"""Scoring of files: every row once and in order, malformed rows and interruptions included."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import textwrap
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r2ad2.bulk import score as scoring
from r2ad2.bulk.explain import explain_file
from r2ad2.bulk.score import score_file
from r2ad2.tables import reader
from r2ad2.tables.source import TableSource
from tests.helpers.detectors import small_detector
from tests.helpers.tables import table

N = 500


@pytest.fixture(scope="module")
def detector():
    return small_detector()[0]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Read the test files in many blocks."""
    monkeypatch.setattr(reader, "BLOCK_BYTES", 2_000)


def write(folder, name="new.csv", change=None):
    """Write rows with an id and a label; return the file and the rows."""
    X, y = table(np.random.default_rng(1), N)
    X = X.assign(id=[f"row {i}" for i in range(N)], label=y)
    X = X if change is None else change(X)
    path = folder / name
    if "parquet" in name:
        X.to_parquet(path)
    else:
        X.to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    return path, X


SOURCE = TableSource("label", drop=("id",))


def score(detector, path, output, **options):
    """Score a file in many chunks."""
    return score_file(detector, path, output, **{"source": SOURCE, "chunk_rows": 60} | options)


IDS = {
    "decimal": pa.array(
        [Decimal(10**i) for i in range(6)] * 33 + [None, None], pa.decimal128(38, 2)
    ),
    "uuid": pa.array([bytes([i]) * 16 for i in range(200)], pa.binary(16)),
    "list": pa.array([[i, None] for i in range(200)]),
    "text": pa.array([f"row {i}" for i in range(200)]),
    "time": pa.array([10**15 * i for i in range(200)], pa.timestamp("us")),
}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_of_any_type_are_copied(detector, tmp_path, kind, suffix):
    X, _ = table(np.random.default_rng(1), 200)
    rows = pa.Table.from_pandas(X, preserve_index=False).append_column("key", IDS[kind])
    pq.write_table(rows, tmp_path / "a.parquet")
    output = tmp_path / f"s{suffix}"
    score(detector, tmp_path / "a.parquet", output, ids=["key"])
    if suffix == ".parquet":
        assert pq.read_table(output)["key"].combine_chunks() == IDS[kind]
    else:
        assert len(pd.read_csv(output)["key"]) == 200


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.parquet"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_scores_are_those_in_memory(detector, tmp_path, name, on_error):
    path, X = write(tmp_path, name)
    report = score(detector, path, tmp_path / "s.csv", ids=["id"], on_error=on_error)
    result = pd.read_csv(tmp_path / "s.csv")
    features = X.drop(columns=["id", "label"])
    np.testing.assert_allclose(
        result["score"], detector.predict_proba(features)[:, 1], rtol=1e-5, atol=1e-7
    )
    np.testing.assert_array_equal(result["is_anomaly"], detector.predict(features) == 1)
    np.testing.assert_allclose(result["p_value"], detector.p_values(features), rtol=1e-6)
    np.testing.assert_array_equal(result["row"], np.arange(N))
    np.testing.assert_array_equal(result["id"], X["id"])
    assert (report.n_rows, report.n_rejected, report.n_resumed) == (N, 0, 0)
    assert report.n_flagged == result["is_anomaly"].sum()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "s.csv"])


def damaged(folder, packed):
    """Write a file with a malformed row of each kind; return it and {row: part of the reason}."""
    path, _ = write(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    header = lines[0].decode().strip().split(",")

    def put(row, column, value):
        fields = lines[row + 1].split(b",")
        fields[header.index(column)] = value
        lines[row + 1] = b",".join(fields)

    put(3, "amount", b"12;5")
    put(60, "amount", b"")
    put(61, "amount", b"inf")
    put(130, "kind", b"")
    put(131, "kind", b"\xff\xfe")
    put(300, "count", b"NaN")
    reasons = {
        3: "not a number in column 'amount'",
        60: "missing value in column 'amount'",
        61: "infinite value in column 'amount'",
        130: "missing value in column 'kind'",
        131: "not UTF-8 in column 'kind'",
        300: "missing value in column 'count'",
    }
    for row in (0, 200, 201, 499):
        lines[row + 1] = lines[row + 1].replace(b"\n", b",x\n")
        reasons[row] = "8 fields instead of 7"
    lines[250] = b"only one\n"
    reasons[249] = "1 fields instead of 7"
    content = b"".join(lines)
    if packed:
        path = folder / "new.csv.gz"
        content = gzip.compress(content)
    path.write_bytes(content)
    return path, reasons


@pytest.mark.parametrize("packed", [False, True])
def test_malformed_rows_are_set_aside_and_the_others_keep_their_numbers(detector, tmp_path, packed):
    path, reasons = damaged(tmp_path, packed)
    report = score(
        detector,
        path,
        tmp_path / "s.parquet",
        ids=["id"],
        on_error="skip",
        rejects=tmp_path / "bad.csv",
    )
    assert (report.n_rows, report.n_rejected) == (N - len(reasons), len(reasons))
    bad = pd.read_csv(tmp_path / "bad.csv").set_index("row")
    assert list(bad.index) == sorted(reasons)
    for row, reason in reasons.items():
        assert reason in bad.loc[row, "reason"]
    assert "12;5" in bad.loc[3, "content"]
    assert bad.loc[249, "content"] == "only one"
    result = pd.read_parquet(tmp_path / "s.parquet")
    assert (result["id"] == [f"row {row}" for row in result["row"]]).all()
    assert set(result["row"]) == set(range(N)) - set(reasons)


@pytest.mark.parametrize(
    ("first", "message"),
    [(3, "row 3: not a number in column 'amount': 12;5"), (0, "8")],
    ids=["odd value", "ragged"],
)
def test_malformed_rows_are_an_error_by_default(detector, tmp_path, first, message):
    path, _ = write(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    odd = {0: lines[1].replace("\n", ",x\n"), 3: "12;5,0,True,a,low,i,0\n"}
    lines[first + 1] = odd[first]
    path.write_text("".join(lines))
    (tmp_path / "s.csv").write_text("earlier")
    with pytest.raises(ValueError, match=message):
        score(detector, path, tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text() == "earlier"


def test_all_rows_may_be_malformed(detector, tmp_path):
    path, _ = write(tmp_path, change=lambda X: X.assign(amount="?"))
    report = score(detector, path, tmp_path / "s.csv", on_error="skip")
    assert (report.n_rows, report.n_rejected) == (0, N)
    assert list(pd.read_csv(tmp_path / "s.csv")) == ["row", "score", "is_anomaly", "p_value"]


def test_quoted_line_breaks_and_byte_order_marks(detector, tmp_path):
    path, X = write(tmp_path, change=lambda X: X.assign(id=['ä "b",\nc €'] * N))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    score(detector, path, tmp_path / "s.parquet", ids=["id"], on_error="skip")
    result = pd.read_parquet(tmp_path / "s.parquet")
    np.testing.assert_array_equal(result["row"], np.arange(N))
    assert (result["id"] == X["id"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.drop(columns="kind"), "missing column 'kind'"),
        (lambda X: X.assign(extra=1), "unexpected column 'extra'.*--id"),
        (lambda X: X[:0], "holds no rows"),
    ],
)
def test_unfit_files_are_refused(detector, tmp_path, change, message):
    path, _ = write(tmp_path, change=change)
    with pytest.raises(ValueError, match=message):
        score(detector, path, tmp_path / "s.csv")
    with pytest.raises(ValueError, match=r"s\.xlsx"):
        score(detector, path, tmp_path / "s.xlsx")
    with pytest.raises(ValueError, match="'ignore'"):
        score(detector, path, tmp_path / "s.csv", on_error="ignore")
    assert [p.name for p in tmp_path.iterdir()] == ["new.csv"]


def test_an_interrupted_run_resumes(detector, tmp_path, monkeypatch):
    path, _ = damaged(tmp_path, packed=False)
    arguments = {"ids": ["id"], "on_error": "skip"}
    whole, rejected = tmp_path / "whole.csv", tmp_path / "whole_rejects.csv"
    score(detector, path, whole, rejects=rejected, **arguments)
    scored = scoring._scored

    def interrupt(detector, rows, reader):
        if rows.table.index[0] > 200:
            raise KeyboardInterrupt
        return scored(detector, rows, reader)

    output, rejects = tmp_path / "s.csv", tmp_path / "r.csv"
    monkeypatch.setattr(scoring, "_scored", interrupt)
    with pytest.raises(KeyboardInterrupt):
        score(detector, path, output, rejects=rejects, **arguments)
    assert not output.exists()
    monkeypatch.setattr(scoring, "_scored", scored)
    report = score(detector, path, output, rejects=rejects, **arguments)
    assert 0 < report.n_resumed < report.n_rows
    assert output.read_bytes() == whole.read_bytes()
    assert rejects.read_bytes() == rejected.read_bytes()
    # What another call, or another file, left is not used.
    monkeypatch.setattr(scoring, "_scored", interrupt)
    with pytest.raises(KeyboardInterrupt):
        score(detector, path, output, **arguments)
    monkeypatch.setattr(scoring, "_scored", scored)
    os.utime(path, ns=(0, 0))
    assert score(detector, path, output, **arguments).n_resumed == 0


def interrupted(monkeypatch, detector, path, output, **options):
    """Score a file until its fifth chunk."""
    scored = scoring._scored

    def interrupt(detector, rows, reader):
        if rows.table.index[0] >= 240:
            raise KeyboardInterrupt
        return scored(detector, rows, reader)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "_scored", interrupt)
        with pytest.raises(KeyboardInterrupt):
            score(detector, path, output, **options)


def test_overwritten_parts_of_a_folder_are_scored_again(detector, tmp_path, monkeypatch):
    folder = tmp_path / "rows"
    folder.mkdir()
    for i in range(2):
        write(folder, f"{i}.parquet")
    output = tmp_path / "s.csv"
    interrupted(monkeypatch, detector, folder, output)
    write(folder, "0.parquet", lambda X: X.assign(amount=X["amount"] * 2))
    assert score(detector, folder, output).n_resumed == 0
    score(detector, folder, tmp_path / "whole.csv")
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    interrupted(monkeypatch, detector, folder, output)
    assert score(detector, folder, output).n_resumed == 240


def test_only_one_run_at_a_time_writes_the_same_output(detector, tmp_path, monkeypatch):
    path, _ = write(tmp_path)
    other, _ = write(tmp_path, "other.csv", lambda X: X.assign(amount=X["amount"] * 2))
    output, scored, refused = tmp_path / "s.csv", scoring._scored, []

    def second_run(detector, rows, reader):
        if reader.path == path and rows.table.index[0] == 240:
            for file in (other, path):
                with pytest.raises(BlockingIOError) as error:
                    score(detector, file, output)
                refused.append(str(error.value))
            score(detector, other, tmp_path / "other_scores.csv")
        return scored(detector, rows, reader)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "_scored", second_run)
        score(detector, path, output)
    message = (
        f"another run is writing {str(output)!r}: wait until it ends, or choose another output"
    )
    assert refused == [message, message]
    score(detector, path, tmp_path / "whole.csv")
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_scores_and_rejects_go_to_different_files(detector, tmp_path):
    path, _ = write(tmp_path)
    for run in (score, explain_file):
        with pytest.raises(ValueError, match="choose another file for one of them"):
            run(
                detector,
                path,
                tmp_path / "s.csv",
                on_error="skip",
                rejects=tmp_path / "x" / ".." / "s.csv",
            )
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("run", [score, explain_file])
@pytest.mark.parametrize("named", ["output", "rejects"])
def test_the_table_that_is_read_is_never_written(run, named, detector, tmp_path):
    path, _ = write(tmp_path)
    before = path.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(path)
    for same in (path, tmp_path / "x" / ".." / path.name, link):
        files = {"output": tmp_path / "s.csv", "rejects": tmp_path / "r.csv", named: same}
        with pytest.raises(ValueError, match=r"is the table that is read.*name another file"):
            run(detector, path, files["output"], on_error="skip", rejects=files["rejects"])
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_an_output_does_not_become_a_part_of_the_table(detector, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    write(folder, "0.parquet")
    with pytest.raises(ValueError, match=r"would become a part of the table.*file elsewhere"):
        score(detector, folder, folder / "scores" / "s.parquet")
    score(detector, folder, folder / "s.csv")  # which is no part of a table of Parquet files
    score(detector, folder, folder / "s.csv")
    score(detector, folder, tmp_path / "s.parquet")


@pytest.mark.slow
def test_killed_runs_end_with_the_same_file(detector, tmp_path):
    """Kill the process at random moments, twice, then finish in this one."""
    path, _ = damaged(tmp_path, packed=False)
    detector.save(tmp_path / "model.keras")
    code = f"""
        import time
        from pathlib import Path
        from r2ad2 import load
        from r2ad2.bulk import score as scoring
        from r2ad2.tables.source import TableSource
        slow = scoring._scored
        scoring._scored = lambda *a: (time.sleep(0.05), slow(*a))[1]
        folder = Path({str(tmp_path)!r})
        scoring.score_file(
            load(folder / "model.keras"), folder / "new.csv", folder / "s.csv",
            source=TableSource("label", drop=("id",)), on_error="skip", rejects=folder / "r.csv",
            chunk_rows=20,
        )
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    random = np.random.default_rng(0)
    parts = tmp_path / ".s.csv.parts"
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        n_before = len(list(parts.glob("scores*")))
        while len(list(parts.glob("scores*"))) == n_before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    options = {"on_error": "skip", "chunk_rows": 20}
    report = score(detector, path, tmp_path / "s.csv", rejects=tmp_path / "r.csv", **options)
    assert 0 < report.n_resumed < report.n_rows
    score(detector, path, tmp_path / "whole.csv", rejects=tmp_path / "whole_rejects.csv", **options)
    killed, whole = (pd.read_csv(tmp_path / name) for name in ("s.csv", "whole.csv"))
    np.testing.assert_array_equal(killed["row"], whole["row"])
    np.testing.assert_allclose(killed["score"], whole["score"], rtol=1e-5)
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "whole_rejects.csv").read_bytes()
    assert not list(tmp_path.glob(".s.csv*"))
