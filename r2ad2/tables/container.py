"""What a table file is, by its first bytes: text, Parquet or Feather, and how it is compressed."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from r2ad2.support.files import require_file
from r2ad2.support.messages import count, quoted, reason_of

# What reading damaged files raises.
DAMAGED = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,  # a zip file's unusual compression
    pa.ArrowException,
)
_PACKINGS = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"PK\x03\x04": "zip",
}
_FORMATS = {b"PAR1": "parquet", b"ARROW1": "feather"}
_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "feather",
    ".arrow": "feather",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_NAMES = {"parquet": "a Parquet file", "feather": "a Feather (Arrow) file"}
_REFUSED = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save its sheet as CSV (UTF-8)",
    b"FEA1": "a Feather file of version 1: write it with version 2",
    b"ORC": "an ORC file: convert it to Parquet",
    b"Obj\x01": "an Avro file: convert it to Parquet",
    b"\x89HDF": "an HDF5 file: convert it to Parquet",
    b"SQLite format 3": "an SQLite database: export its table as CSV",
    b"%PDF": "a PDF document: export its table as CSV",
}
_EXCEL = "is an Excel workbook: save its sheet as CSV (UTF-8)"


@dataclass(frozen=True)
class Container:
    """A table file and how its bytes are packed.

    Attributes:
        path: the file, or a folder of Parquet files.
        format: "text", "jsonl", "parquet" or "feather".
        packing: "gz", "bz2", "xz", "zst" or "zip"; empty if it is not compressed.
        member: name of the only file in a zip file.
    """

    path: Path
    format: str
    packing: str = ""
    member: str = ""

    @property
    def name(self) -> str:
        """Name of the table without the extension of its compression, in lower case."""
        return (self.member or self.path.name).lower().removesuffix(f".{self.packing}")

    def parts(self) -> list[Path]:
        """Return the Parquet files of a folder, or the file itself."""
        return parquet_parts(self.path) if self.path.is_dir() else [self.path]

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
        """Open the file for reading.

        Yields:
            The uncompressed bytes, and a function that returns how many bytes of the file have
            been read.
        """
        with self.path.open("rb") as raw:
            yield _unpacked(raw, self.packing, self.member), raw.tell

    def open_seekable(self, part: Path) -> Any:
        """Open a Parquet or Feather file.

        Raises:
            ValueError: if its compression does not allow this.
        """
        if not self.packing:
            return pa.memory_map(str(part)) if self.format == "feather" else part
        if self.packing == "zst":
            raise ValueError(f"{str(part)!r} is compressed as a whole: unpack it first")
        return _unpacked(part.open("rb"), self.packing, self.member)


def unreadable(path: Path, error: BaseException) -> ValueError:
    """Build the error for a file that cannot be read."""
    return ValueError(f"cannot read {str(path)!r} as a table: {reason_of(error)}")


def open_container(path: Path) -> Container:
    """Find out what a table file is.

    Raises:
        FileNotFoundError: if there is no such file, or a folder without Parquet files.
        ValueError: if it is damaged, or no table; the message says what it is.
    """
    if path.is_dir() and parquet_parts(path):
        return Container(path, "parquet")
    require_file(path)
    start = _start(path.open("rb"))
    packing = _of_magic(start, _PACKINGS)
    suffix = path.suffix.lower().removeprefix(".")
    if not packing and suffix in _PACKINGS.values() and start:
        complete = {"gz": "a gzip", "zst": "a Zstandard"}.get(suffix, f"a .{suffix}")
        raise ValueError(f"cannot read {str(path)!r} as a table: it is not {complete} file")
    member = ""
    if packing:
        try:
            if packing == "zip":
                member = _only_member(path)
            with path.open("rb") as raw:
                start = _start(_unpacked(raw, packing, member))
        except DAMAGED as error:
            raise unreadable(path, error) from error
    container = Container(path, "text", packing, member)
    found = _of_magic(start, _FORMATS)
    expected = _SUFFIXES.get(Path(container.name).suffix, "text")
    refused = _of_magic(start, _REFUSED)
    if refused:
        raise ValueError(f"{str(path)!r} is {refused}")
    if not found and expected in _NAMES and start:
        raise ValueError(f"cannot read {str(path)!r} as a table: it is not {_NAMES[expected]}")
    return Container(path, found or expected, packing, member)


def parquet_parts(folder: Path) -> list[Path]:
    """Return the Parquet files in a folder and its sub-folders, in the order of their names.

    Raises:
        ValueError: if sub-folders named "column=value" hold a column.
    """
    parts = []
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder).parts
        if path.suffix.lower() not in (".parquet", ".pq") or any(p[0] in "._" for p in inner):
            continue
        if any("=" in name for name in inner[:-1]):
            raise ValueError(
                f"the folder {str(folder)!r} holds a column in the names of its sub-folders, "
                f"{quoted(inner[0])}: write it to the files, or name one sub-folder"
            )
        parts.append(path)
    return parts


def _of_magic(start: bytes, magics: dict[bytes, str]) -> str:
    return next((name for magic, name in magics.items() if start.startswith(magic)), "")


def _start(file: BinaryIO) -> bytes:
    with file:
        return file.read(16)


def _unpacked(raw: BinaryIO, packing: str, member: str) -> BinaryIO:
    match packing:
        case "gz":
            return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
        case "bz2":
            return bz2.BZ2File(raw)  # type: ignore[return-value]
        case "xz":
            return lzma.LZMAFile(raw)  # type: ignore[return-value]
        case "zip":
            return zipfile.ZipFile(raw).open(member)  # type: ignore[return-value]
        case "zst":
            stream = pa.CompressedInputStream(pa.PythonFile(raw), "zstd")
            return io.BufferedReader(stream)
    return raw


def _only_member(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        files = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith(("__MACOSX/", "."))
        ]
        names = [member.filename for member in files]
    if "[Content_Types].xml" in names or "mimetype" in names:
        raise ValueError(f"{str(path)!r} {_EXCEL}")
    if len(files) != 1:
        raise ValueError(
            f"{str(path)!r} holds {count(len(files), 'file')}"
            f"{' (' + ', '.join(map(quoted, names[:3])) + ')' if names else ''}: "
            "a zip file must hold one table"
        )
    if files[0].flag_bits & 1:
        raise ValueError(f"{str(path)!r} is encrypted: unpack it first")
    return names[0]
