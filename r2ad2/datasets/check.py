"""Compares the available files with what the publishers distribute."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from r2ad2.datasets.cards import DatasetCard
from r2ad2.tables.container import DAMAGED

State = Literal["ok", "unverified", "sample", "differs", "missing"]
_BLOCK = 1 << 20


@dataclass(frozen=True)
class FileReport:
    """The state of one expected file.

    Attributes:
        name: the file found, or the expected one.
        state: "ok": contents as published; "unverified": present, but not compared with a
            published checksum; "sample": a reduced file replaces it; "differs": contents not as
            published; "missing".
        note: details for the user.
    """

    name: str
    state: State
    note: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether the file can be read."""
        return self.state not in ("differs", "missing")


def sha256(path: Path, unpacked: bool = False) -> str:
    """Compute the SHA-256 sum of a file, or of the contents of a gzipped file."""
    digest = hashlib.sha256()
    with gzip.open(path) if unpacked else path.open("rb") as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def is_published(card: DatasetCard, file: str, path: Path) -> bool | None:
    """Compare a file with the published checksums.

    Args:
        card: the data set's card.
        file: name of the expected file.
        path: where it is; gzipped or not, whichever was published.

    Returns:
        Whether its contents are the published ones; None if no checksum is known for it.
    """
    whole, is_packed = card.files[file], file.endswith(".gz")
    if path.name == file and whole and sha256(path) == whole:
        return True
    # The contents may be the same in a repacked file: the header of a gzip file has a time stamp.
    contents = card.contents.get(file, "" if is_packed else whole)
    if contents and path.name.removesuffix(".gz") == file.removesuffix(".gz"):
        return _contents_sum(path) == contents
    return False if path.name == file and whole else None


def _contents_sum(path: Path) -> str | None:
    """Compute the SHA-256 sum of a file's contents; None for a damaged gzip file."""
    try:
        return sha256(path, unpacked=path.suffix == ".gz")
    except DAMAGED:
        return None


def check_files(card: DatasetCard, folder: Path, verify: bool = True) -> list[FileReport]:
    """Look for each expected file of a data set.

    Args:
        card: the data set's card.
        folder: where its files should be.
        verify: whether to compare their contents with the published checksums, which reads all
            of them.

    Returns:
        One report per expected file; none for embedded data sets.
    """
    reports = [_check_file(card, folder, file, verify) for file in card.files]
    return list(dict.fromkeys(reports))  # one sample may replace several files


def availability(reports: list[FileReport]) -> str:
    """Summarise the reports of a data set: embedded, complete, sample, incomplete or missing."""
    states = {report.state for report in reports}
    if not states & {"missing", "differs"}:
        complete = "complete" if reports else "embedded"
        return "sample" if "sample" in states else complete
    return "missing" if states == {"missing"} else "incomplete"


def is_available(card: DatasetCard, folder: Path) -> bool:
    """Whether a data set can be loaded from the folder: all files, or samples, are present."""
    return all(report.is_usable for report in check_files(card, folder, verify=False))


def _check_file(card: DatasetCard, folder: Path, file: str, verify: bool) -> FileReport:
    samples = card.samples.get(file, {})
    for name in card.accepted_names(file):
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
        return FileReport(name, "differs", f"contents not as published: get it from {card.url}")
    fetch = f"run `r2ad2 data fetch {card.name}`, or " if card.downloads else ""
    return FileReport(file, "missing", f"{fetch}get it from {card.url}")
