"""Files are compared with published checksums; downloads resume, are checked, and never partial."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import threading

import numpy as np
import pytest

from r2ad2.datasets.catalogue import dataset_cards
from r2ad2.datasets.check import availability, check_files, is_available
from r2ad2.datasets.fetch import download, fetch_dataset
from tests.datasets.sets.cases import scrambled

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 700_000, dtype=np.uint8))
CARD = dataclasses.replace(
    dataset_cards()["breast_cancer"],
    name="toy",
    files={"a.csv": hashlib.sha256(CONTENT).hexdigest(), "b.csv": ""},
    alternatives={"b.csv": ("b.csv.gz",)},
    samples={"b.csv": {"b.sample.csv": "only ten rows"}},
)


def states(folder, **options):
    return [(report.name, report.state) for report in check_files(CARD, folder, **options)]


def test_files_are_compared_with_the_published_checksums(tmp_path):
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
    assert [report.is_usable for report in check_files(CARD, tmp_path)] == [False, True]
    assert availability(check_files(CARD, tmp_path)) == "incomplete"
    assert states(tmp_path, verify=False)[0] == ("a.csv", "unverified")


def test_a_set_is_available_if_each_file_or_a_sample_is_present(tmp_path):
    assert not is_available(CARD, tmp_path)
    (tmp_path / "a.csv").write_bytes(b"")
    assert not is_available(CARD, tmp_path)
    (tmp_path / "b.sample.csv").write_bytes(b"")
    assert is_available(CARD, tmp_path)
    assert availability(check_files(CARD, tmp_path, verify=False)) == "sample"


def test_gzipped_files_may_be_repacked_or_unpacked(tmp_path):
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
        (scrambled(packed), "differs"),
    ]:
        (tmp_path / "a.gz").write_bytes(content)
        assert state() == expected
    (tmp_path / "a.gz").unlink()
    (tmp_path / "a").write_bytes(CONTENT)
    assert state() == "ok"
    (tmp_path / "a").write_bytes(CONTENT[1:])
    assert state() == "differs"


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (gzip.compress(CONTENT), "ok"),
        (gzip.compress(CONTENT[1:]), "differs"),
        (CONTENT, "differs"),
    ],
    ids=["published", "other", "not gzipped"],
)
def test_files_that_were_published_plain_may_be_gzipped(tmp_path, content, state):
    card = dataclasses.replace(
        CARD,
        files={"a.csv": hashlib.sha256(CONTENT).hexdigest()},
        alternatives={"a.csv": ("a.csv.gz",)},
    )
    (tmp_path / "a.csv.gz").write_bytes(content)
    assert [report.state for report in check_files(card, tmp_path)] == [state]


# ---- downloads --------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; can break off, and can ignore requests for a range."""

    content = CONTENT
    break_after: int | None = None
    ranges = True
    weak = False
    requests: list[str | None]

    def do_GET(self):
        self.requests.append(self.headers.get("Range"))
        tag = f'"{hashlib.sha256(self.content).hexdigest()[:8]}"'
        if self.weak:
            tag = f"W/{tag}"
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
        """Print nothing."""


@pytest.fixture
def server():
    """Run a local server; yield its handler class and the address of the file."""
    handler = type("OneTest", (Handler,), {"requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        # The interval is how long the shutdown takes.
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield handler, f"http://127.0.0.1:{running.server_port}/file"
        running.shutdown()


def test_an_interrupted_download_resumes_where_it_stopped(server, tmp_path):
    handler, url = server
    handler.break_after = 300_000
    target = tmp_path / "new" / "file.bin"
    with pytest.raises(OSError, match="run the command again to resume") as raised:
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


@pytest.mark.parametrize("change", ["content", "ranges", "weak"])
def test_a_download_restarts_if_it_cannot_resume(server, tmp_path, change):
    handler, url = server
    handler.break_after = 300_000
    handler.weak = change == "weak"
    with pytest.raises(OSError, match="stopped after"):
        download(url, tmp_path / "file.bin")
    handler.break_after = None
    if change == "content":
        handler.content = CONTENT[::-1]
    handler.ranges = change != "ranges"
    assert download(url, tmp_path / "file.bin").read_bytes() == handler.content
    # A weak tag does not guarantee that the rest would fit, so that no range is requested.
    assert (handler.requests[-1] is None) == handler.weak


def test_a_complete_download_only_has_to_be_put_in_place(server, tmp_path):
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


def test_unpublished_content_is_refused_and_deleted(server, tmp_path):
    _, url = server
    with pytest.raises(ValueError, match=r"a\.csv of toy is not as published"):
        fetch_dataset(toy_download(url, b"other"), tmp_path, verbose=0)
    assert not any(path.is_file() and path.name == "a.csv" for path in tmp_path.rglob("*"))


def test_server_and_network_errors_name_the_cause(server, tmp_path):
    _, url = server
    with pytest.raises(OSError, match="404 Not Found"):
        download(url + "s", tmp_path / "a")
    with pytest.raises(OSError, match="stopped after 0 bytes"):
        download("http://127.0.0.1:9/file", tmp_path / "a")


def test_sets_without_a_public_source_name_their_publisher(tmp_path):
    with pytest.raises(ValueError, match=r"without registration: get Darknet\.CSV from https"):
        fetch_dataset(dataset_cards()["darknet"], tmp_path)
    with pytest.raises(ValueError, match="nothing to download"):
        fetch_dataset(dataset_cards()["digits"], tmp_path)
