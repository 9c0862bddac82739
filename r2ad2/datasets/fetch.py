"""Downloads data sets that have a public source: resumable, checked, and atomic."""

from __future__ import annotations

import contextlib
import functools
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.check import is_published
from r2ad2.support.files import make_folder
from r2ad2.support.screen import make_console

_BLOCK = 1 << 18
_TIMEOUT = 60  # seconds without data


class Report(Protocol):
    """Shows the progress of a download."""

    def __call__(self, done: int, total: int | None) -> None:
        """Show the number of bytes received, and the total (None if unknown)."""


def fetch_dataset(card: DatasetCard, folder: Path, verbose: int = 1) -> list[Path]:
    """Download the missing files of a data set.

    An interrupted download resumes where it stopped. A file appears under its name only when it
    is complete and its checksum, if one is known, is right.

    Args:
        card: the data set's card.
        folder: where the files go.
        verbose: 1 shows a progress bar on a terminal and plain lines elsewhere; 0 shows nothing.

    Returns:
        The files that were downloaded.

    Raises:
        ValueError: if the data set has no public source, or a file is not as published.
        OSError: if a download fails.
    """
    if not card.files:
        raise ValueError(
            f"{card.name} is part of an installed package: there is nothing to download"
        )
    if not card.downloads:
        raise ValueError(
            f"{card.name} cannot be downloaded without registration: get "
            f"{' and '.join(card.files)} from {card.url} and put it into {str(folder)!r}"
        )
    fetched = []
    for name, source in card.downloads.items():
        if _is_present(card, folder, name):
            continue
        fetch = _FETCHERS[urlsplit(source).scheme]
        with show_progress(name, verbose) as report:
            fetch(source, folder / name, report, functools.partial(_check, card, name))
        fetched.append(folder / name)
    return fetched


def _is_present(card: DatasetCard, folder: Path, name: str) -> bool:
    """Whether the folder contains the file, or another that is accepted instead."""
    expected = next(file for file in card.files if name in (file, *card.alternatives.get(file, ())))
    whole = (expected, *card.alternatives.get(expected, ()))
    return any((folder / other).is_file() for other in whole)


def _check(card: DatasetCard, name: str, path: Path) -> None:
    if name in card.files and is_published(card, name, path) is False:
        raise ValueError(
            f"the downloaded file {name} of {card.name} is not as published: try again later, "
            f"or get it from {card.url}"
        )


def download(
    url: str,
    target: Path,
    report: Report | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Download a file over HTTP, resuming an earlier attempt.

    Args:
        url: address of the file.
        target: where it goes; its folder is created if necessary. Until the download is complete,
            the data is in a folder ".<name>.part" next to it.
        report: shows the progress.
        check: raises a ValueError if the complete file is not the right one.

    Raises:
        OSError: if the download fails; calling again resumes it.
    """
    part = target.parent / f".{target.name}.part"
    make_folder(part)
    # The file keeps its name there, which `is_published` needs.
    content, tag = part / target.name, part / "tag"
    done = content.stat().st_size if content.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "r2ad2"})
    if done and tag.is_file():
        # If the file has changed since then, the server sends all of it.
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", tag.read_text("utf-8"))
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            _receive(response, content, tag, done, report)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing left to send, the file is complete
            raise OSError(f"cannot download {url}: {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        received = content.stat().st_size if content.is_file() else 0
        raise OSError(
            f"the download of {url} stopped after {received:,} bytes ({error}): run the command "
            "again to resume it"
        ) from error
    try:
        if check is not None:
            check(content)
    except ValueError:
        content.unlink()  # resuming it would not help
        raise
    content.replace(target)
    tag.unlink(missing_ok=True)
    part.rmdir()
    return target


def _receive(
    response: HTTPResponse, content: Path, tag: Path, done: int, report: Report | None
) -> None:
    if response.status != 206:
        done = 0
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    tag.unlink(missing_ok=True)
    with content.open("ab" if done else "wb") as file:
        # Only now: a tag must never accompany the bytes of another version.
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        # A weak tag does not guarantee equal bytes.
        if validator and not validator.startswith("W/"):
            tag.write_text(validator, "utf-8")
        while block := response.read(_BLOCK):
            file.write(block)
            done += len(block)
            if report is not None:
                report(done, total)
    if total is not None and done < total:
        raise OSError(f"{total - done:,} bytes are missing")


def _fetch_openml(source: str, target: Path, report: Report, check: Callable[[Path], None]) -> Path:
    """Get "openml:<number>" through scikit-learn, as a CSV file with the class in the last column.

    scikit-learn keeps its own copy of what it downloads.
    """
    from sklearn.datasets import fetch_openml

    from r2ad2.tables.write import write_tables

    report(0, None)
    try:
        bunch = fetch_openml(data_id=int(urlsplit(source).path), as_frame=True, parser="auto")
    except (OSError, HTTPException) as error:
        raise OSError(f"cannot get {source} from OpenML: {error}") from error
    table = bunch.data.assign(**{str(bunch.target.name): bunch.target})
    path = write_tables(target, [table])
    report(path.stat().st_size, path.stat().st_size)
    return path


_FETCHERS: dict[str, Callable[[str, Path, Report, Callable[[Path], None]], Path]] = {
    "http": download,
    "https": download,
    "openml": _fetch_openml,
}


@contextlib.contextmanager
def show_progress(name: str, verbose: int = 1) -> Iterator[Report]:
    """Show the progress of a file's download: a bar on a terminal, a plain line elsewhere."""
    console = make_console(stderr=True, quiet=not verbose)
    if not console.is_terminal:
        console.print(f"downloading {name}", soft_wrap=True)
        yield lambda done, total: None
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
