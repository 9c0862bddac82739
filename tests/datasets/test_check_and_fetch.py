"""Files are compared with published sums; downloads go on, are checked, and never half there."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from sklearn.utils import Bunch

from r2ad2.cli import main as cli
from r2ad2.datasets import dataset_names, load_dataset
from r2ad2.datasets.cards import read_cards
from r2ad2.datasets.check import availability, check_files
from r2ad2.datasets.fetch import download, fetch_dataset
from tests.conftest import PROJECT

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 700_000, dtype=np.uint8))
CARD = dataclasses.replace(
    read_cards()["breast_cancer"],
    name="toy",
    files={"a.csv": hashlib.sha256(CONTENT).hexdigest(), "b.csv": ""},
    alternatives={"b.csv": ("b.csv.gz",)},
    samples={"b.csv": {"b.sample.csv": "only ten rows"}},
)


def states(folder, **options):
    return [(report.name, report.state) for report in check_files(CARD, folder, **options)]


def test_every_card_is_complete_and_has_a_page():
    for name in dataset_names():
        card = read_cards()[name]
        assert sum(card.class_counts.values()) == card.rows
        assert {*card.normal, *card.anomalous} <= set(card.class_counts)
        assert set(card.known_transfer) <= set(card.anomalous)
        assert card.licence
        assert (PROJECT / "data" / name / "README.md").is_file()
        assert set(card.downloads) <= {n for file in card.files for n in card.names_of(file)}
        assert all(len(digest) in (0, 64) for digest in card.files.values())


def test_files_are_compared_with_the_published_sums(tmp_path):
    assert states(tmp_path) == [("a.csv", "missing"), ("b.csv", "missing")]
    (tmp_path / "a.csv").write_bytes(CONTENT)
    (tmp_path / "b.sample.csv").write_text("x")
    assert states(tmp_path) == [("a.csv", "ok"), ("b.sample.csv", "sample")]
    assert availability(check_files(CARD, tmp_path)) == "sample"
    (tmp_path / "b.csv.gz").write_bytes(b"x")
    assert states(tmp_path)[1] == ("b.csv.gz", "unverified")
    assert availability(check_files(CARD, tmp_path)) == "complete"
    (tmp_path / "a.csv").write_bytes(CONTENT[:-1])
    assert states(tmp_path)[0] == ("a.csv", "differs")
    assert availability(check_files(CARD, tmp_path)) == "incomplete"
    assert states(tmp_path, verify=False)[0] == ("a.csv", "unverified")


def test_gzipped_files_may_be_packed_anew(tmp_path):
    packed = gzip.compress(CONTENT, mtime=1)
    card = dataclasses.replace(
        CARD,
        files={"a.gz": hashlib.sha256(packed).hexdigest()},
        contents={"a.gz": hashlib.sha256(CONTENT).hexdigest()},
        alternatives={"a.gz": ("a",)},
    )

    def state():
        return check_files(card, tmp_path)[0].state

    for content, expected in [
        (packed, "ok"),
        (gzip.compress(CONTENT, mtime=2), "ok"),
        (gzip.compress(CONTENT[1:]), "differs"),
        (packed[:-9], "differs"),
    ]:
        (tmp_path / "a.gz").write_bytes(content)
        assert state() == expected
    (tmp_path / "a.gz").unlink()
    (tmp_path / "a").write_bytes(CONTENT)
    assert state() == "ok"


# ---- downloads --------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; can break off, and forget to support ranges."""

    content = CONTENT
    break_after: int | None = None
    ranges = True
    requests: list[str | None]

    def do_GET(self):
        self.requests.append(self.headers.get("Range"))
        tag = f'"{hashlib.sha256(self.content).hexdigest()[:8]}"'
        start = 0
        if self.ranges and self.headers.get("Range") and self.headers.get("If-Range") == tag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(self.content):
            self.send_error(416)
            return
        if self.path != "/file":
            self.send_error(404, "Not Found")
            return
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.end_headers()
        self.wfile.write(body[: self.break_after])

    def log_message(self, *args):
        """Be quiet."""


@pytest.fixture
def server():
    """Run a server on this machine; yield its handler class and the file's address."""
    handler = type("OneTest", (Handler,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield handler, f"http://127.0.0.1:{running.server_port}/file"
        running.shutdown()


def test_an_interrupted_download_goes_on_where_it_ended(server, tmp_path):
    handler, url = server
    handler.break_after = 300_000
    target = tmp_path / "new" / "file.bin"
    with pytest.raises(OSError, match="run the command again") as raised:
        download(url, target)
    assert "300,000 bytes" in str(raised.value)
    assert not target.exists()
    handler.break_after = None
    seen = []
    download(url, target, report=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert handler.requests == [None, "bytes=300000-"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert all(done > 300_000 for done, _ in seen)
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("change", ["content", "ranges"])
def test_a_download_begins_anew_if_it_cannot_go_on(server, tmp_path, change):
    handler, url = server
    handler.break_after = 300_000
    with pytest.raises(OSError, match="ended after"):
        download(url, tmp_path / "file.bin")
    handler.break_after = None
    if change == "content":
        handler.content = CONTENT[::-1]
    else:
        handler.ranges = False
    assert download(url, tmp_path / "file.bin").read_bytes() == handler.content


def test_a_download_that_only_has_to_be_put_in_place(server, tmp_path):
    handler, url = server

    def interrupted(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(url, tmp_path / "file.bin", check=interrupted)
    assert not (tmp_path / "file.bin").exists()
    assert download(url, tmp_path / "file.bin").read_bytes() == CONTENT
    assert handler.requests == [None, f"bytes={len(CONTENT)}-"]


def toy_download(url, content=CONTENT):
    return dataclasses.replace(
        CARD, files={"a.csv": hashlib.sha256(content).hexdigest()}, downloads={"a.csv": url}
    )


def test_only_what_is_missing_is_fetched(server, tmp_path, capfd):
    handler, url = server
    card = toy_download(url)
    assert fetch_dataset(card, tmp_path, verbose=1) == [tmp_path / "a.csv"]
    assert "downloading a.csv" in capfd.readouterr().err
    assert fetch_dataset(card, tmp_path, verbose=0) == []
    assert len(handler.requests) == 1


def test_other_content_is_refused_and_not_kept(server, tmp_path):
    _, url = server
    with pytest.raises(ValueError, match=r"a\.csv of toy is not as published"):
        fetch_dataset(toy_download(url, b"other"), tmp_path, verbose=0)
    assert not any(path.is_file() and path.name == "a.csv" for path in tmp_path.rglob("*"))


def test_errors_of_the_server_and_the_network_are_named(server, tmp_path):
    _, url = server
    with pytest.raises(OSError, match="404 Not Found"):
        download(url + "s", tmp_path / "a")
    with pytest.raises(OSError, match="ended after 0 bytes"):
        download("http://127.0.0.1:9/file", tmp_path / "a")


def test_sets_without_a_public_source_say_where_to_get_them(tmp_path):
    with pytest.raises(ValueError, match=r"without registration: get Darknet\.CSV from https"):
        fetch_dataset(read_cards()["darknet"], tmp_path)
    with pytest.raises(ValueError, match="nothing to download"):
        fetch_dataset(read_cards()["digits"], tmp_path)


def test_mammography_comes_from_openml(tmp_path, monkeypatch):
    x = pd.DataFrame(np.arange(24.0).reshape(4, 6), columns=[f"attr{i}" for i in range(1, 7)])
    y = pd.Series(["-1", "-1", "1", "-1"], name="class", dtype="category")

    def fetch_openml(data_id, as_frame, parser):
        assert (data_id, as_frame) == (310, True)
        return Bunch(data=x, target=y)

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch_openml)
    fetch_dataset(read_cards()["mammography"], tmp_path / "mammography", verbose=0)
    dataset = load_dataset("mammography", tmp_path)
    np.testing.assert_array_equal(dataset.x, x)
    assert list(dataset.classes) == ["normal", "normal", "malignant", "normal"]


# ---- commands ---------------------------------------------------------------------------------


def run(monkeypatch, capfd, *arguments):
    """Run a command; return exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["r2ad2", "data", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capfd.readouterr()
    return stopped.value.code, captured.out, captured.err


def test_list_shows_all_sets_and_what_is_there(tmp_path, monkeypatch, capfd):
    (tmp_path / "url").mkdir()
    (tmp_path / "url" / "All_Infogain.csv").write_text("x")
    code, out, _ = run(monkeypatch, capfd, "list", "--data-dir", tmp_path)
    assert code == 0
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    assert set(rows) == set(dataset_names())
    assert "sample" in rows["url"]
    assert "missing" in rows["mnist"]
    assert "embedded" in rows["digits"]


def test_check_names_what_is_missing_and_where_to_get_it(tmp_path, monkeypatch, capfd):
    code, out, err = run(monkeypatch, capfd, "check", "doh", "--data-dir", tmp_path)
    assert code == 2
    assert err == "Error: files are missing or not as published: doh (l2-benign.csv and 1 more)\n"
    assert "https://www.unb.ca/cic/datasets/dohbrw-2020.html" in out
    code, out, _ = run(monkeypatch, capfd, "check", "--data-dir", tmp_path)
    assert code == 0  # nobody has all of them
    (tmp_path / "creditcard").mkdir()
    (tmp_path / "creditcard" / "creditcard.csv").write_text("other")
    code, out, err = run(monkeypatch, capfd, "check", "--data-dir", tmp_path)
    assert code == 2
    assert "creditcard (creditcard.csv)" in err


def test_check_counts_rows_and_classes(monkeypatch, capfd):
    code, out, _ = run(monkeypatch, capfd, "check", "breast_cancer", "--read")
    assert code == 0
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert ["breast_cancer", "all", "569", "569", "whole"] in cells
    assert ["", "malignant", "212", "212", ""] in cells


def test_check_names_sets_that_cannot_be_read(tmp_path, monkeypatch, capfd):
    (tmp_path / "url").mkdir()
    (tmp_path / "url" / "All.csv").write_text("a,URL_Type_obf_Type\n1,unheard-of\n")
    code, out, err = run(monkeypatch, capfd, "check", "--read", "--data-dir", tmp_path)
    assert code == 2
    assert "'unheard-of'" in out
    assert err == "Error: files are missing or not as published: url (cannot be read)\n"


def test_check_says_that_a_sample_is_not_the_whole(real_data, monkeypatch, capfd):
    code, out, _ = run(monkeypatch, capfd, "check", "url", "--read", "--data-dir", real_data)
    assert code == 0
    assert "only 12 of 79 features" in out
    assert "not the whole data set" in out


def test_real_whole_files_have_the_published_sums(real_data):
    for name in ("mammography", "nsl_kdd", "mnist", "fashion_mnist"):
        reports = check_files(read_cards()[name], real_data / name)
        assert [report.state for report in reports] == ["ok"] * len(reports)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "mnists"], "Error: unknown data set 'mnists': choose one of breast_cancer"),
        (["fetch", "doh"], "Error: doh cannot be downloaded without registration"),
    ],
)
def test_errors_are_one_line_and_exit_code_two(monkeypatch, capfd, tmp_path, arguments, message):
    code, _, err = run(monkeypatch, capfd, *arguments, "--data-dir", tmp_path)
    assert code == 2
    assert err.startswith(message)
    assert err.count("\n") == 1
