"""Compares the files at hand with what the publishers distribute."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from r2ad2.datasets.cards import DatasetCard

State = Literal["ok", "unverified", "sample", "differs", "missing"]
_BLOCK = 1 << 20


@dataclass(frozen=True)
class FileReport:
    """What became of one expected file.

    Attributes:
        name: the file found, or the expected one.
        state: "ok": the published content; "unverified": there, but nothing to compare it with;
            "sample": a reduced file in its place; "differs": not as published; "missing".
        note: details for the reader.
    """

    name: str
    state: State
    note: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether the file can be read."""
        return self.state not in ("differs", "missing")


def sha256(path: Path, unpacked: bool = False) -> str:
    """Compute a file's SHA-256 sum, or that of a gzipped file's content."""
    digest = hashlib.sha256()
    with gzip.open(path) if unpacked else path.open("rb") as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def is_published(card: DatasetCard, file: str, path: Path) -> bool | None:
    """Compare a file with the published sums; None where none is known for it.

    Args:
        card: the data set's card.
        file: the expected file's name.
        path: where it, or the same content unpacked, is.
    """
    content = card.contents.get(file)
    if path.name == file and card.files.get(file):
        if sha256(path) == card.files[file]:
            return True
        # The same content may have been packed anew: the head of a gzip file has a time stamp.
        return _has_content(path, content) if content else False
    if content and path.name == file.removesuffix(".gz"):
        return sha256(path) == content
    return None


def _has_content(path: Path, content: str) -> bool:
    try:
        return sha256(path, unpacked=True) == content
    except (OSError, EOFError):  # not a complete gzip file
        return False


def check_files(card: DatasetCard, folder: Path, verify: bool = True) -> list[FileReport]:
    """Look for each expected file of a data set.

    Args:
        card: the data set's card.
        folder: where its files should be.
        verify: whether to compare their content with the published sums, which reads all of it.

    Returns:
        One report per expected file; none for embedded data sets.
    """
    reports = [_check_file(card, folder, file, verify) for file in card.files]
    return list(dict.fromkeys(reports))  # one sample may stand in for several files


def availability(reports: list[FileReport]) -> str:
    """Sum up the reports of a data set: embedded, complete, sample, incomplete or missing."""
    states = {report.state for report in reports}
    if not states & {"missing", "differs"}:
        complete = "complete" if reports else "embedded"
        return "sample" if "sample" in states else complete
    return "missing" if states == {"missing"} else "incomplete"


def is_at_hand(card: DatasetCard, folder: Path) -> bool:
    """Whether a data set can be loaded from the folder: all of its files, or samples, are there."""
    return all(report.is_usable for report in check_files(card, folder, verify=False))


def _check_file(card: DatasetCard, folder: Path, file: str, verify: bool) -> FileReport:
    samples = card.samples.get(file, {})
    for name in card.names_of(file):
        path = folder / name
        if not path.is_file():
            continue
        if name in samples:
            return FileReport(name, "sample", samples[name])
        published = is_published(card, file, path) if verify else None
        if published is None:
            return FileReport(name, "unverified", "no published checksum" if verify else "")
        if published:
            return FileReport(name, "ok")
        return FileReport(name, "differs", f"content is not as published: get it from {card.url}")
    fetch = f"run `r2ad2 data fetch {card.name}`, or " if card.downloads else ""
    return FileReport(file, "missing", f"{fetch}get it from {card.url}")
