"""Text files of tables: their encoding, line ends, separator and header."""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import io
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from r2ad2.support.messages import quoted
from r2ad2.tables.container import DAMAGED, Container, unreadable

# Stands for bytes that the encoding does not have; no text holds this noncharacter.
UNDECODABLE = "\ufdd0"
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_OPTIONS = {separator: f'"{separator}"' for separator in SEPARATORS} | {"\t": "tab"}
_COMMA_OF_TEXT = re.compile(r"(?<!\d),|,(?!\d)")  # all others may be decimal signs
_HEAD_BYTES = 1 << 18
_WHOLE = re.compile(r"\s*-?\d+\s*")
_SNIFFED_LINES = 100
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return UNDECODABLE, error.end


codecs.register_error("r2ad2.mark", _mark)


class Utf8Stream(io.RawIOBase):
    r"""Decodes a stream of bytes and gives it as UTF-8, with `UNDECODABLE` for what is invalid.

    Args:
        source: the bytes.
        encoding: their encoding.
        translate: whether "\r" and "\r\n" become "\n".
    """

    def __init__(self, source: BinaryIO, encoding: str, translate: bool):
        super().__init__()
        decoder: Any = codecs.getincrementaldecoder(encoding)("r2ad2.mark")
        if translate:
            decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._source, self._decoder = source, decoder
        self._buffer, self._ended = b"", False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill the target with the next bytes; return how many there were."""
        view = memoryview(target)
        while not self._buffer and not self._ended:
            block = self._source.read(max(len(view), 1 << 16))
            self._ended = not block
            text = self._decoder.decode(block, final=self._ended)
            self._buffer = text.encode("utf-8", "replace")
        n = min(len(view), len(self._buffer))
        view[:n], self._buffer = self._buffer[:n], self._buffer[n:]
        return n


@dataclass(frozen=True)
class TextFile:
    """A table in text: comma-separated values, or values separated by another character.

    Attributes:
        container: the file.
        separator: the character between values; by default found in the first lines.
        encoding: encoding of the text; by default UTF-8, or as the byte order mark says.
        header: whether the first line names the columns.
    """

    container: Container
    separator: str = ""
    encoding: str = ""
    header: bool = True

    @functools.cached_property
    def found_encoding(self) -> str:
        """The encoding that is used.

        Raises:
            ValueError: if the encoding is unknown, or the file is clearly not text.
        """
        start = self._start
        marked = next((n for m, n in _BYTE_ORDER_MARKS.items() if start.startswith(m)), "")
        if self.encoding:
            try:
                name = codecs.lookup(self.encoding).name
                "a".encode(name)  # not all codecs are of text
            except LookupError as error:
                raise ValueError(
                    f"unknown encoding {self.encoding!r}: such as utf-8, latin-1, cp1252 or utf-16"
                ) from error
            return "utf-8-sig" if name == "utf-8" else name
        if not marked and start[:2000].count(0) > len(start[:2000]) // 4:
            order = "le" if start[1:2] == b"\0" else "be"
            raise ValueError(
                f"the header of {str(self.container.path)!r} is not UTF-8 text: it seems to be "
                f"UTF-16 without a byte order mark (--encoding utf-16-{order})"
            )
        return marked or "utf-8"

    @functools.cached_property
    def _start(self) -> bytes:
        try:
            with self.container.open() as (file, _):
                return file.read(_HEAD_BYTES)
        except DAMAGED as error:
            raise unreadable(self.container.path, error) from error

    @functools.cached_property
    def _translates(self) -> bool:
        """Whether lines end with carriage returns alone."""
        decoder = codecs.getincrementaldecoder(self.found_encoding)("r2ad2.mark")
        text = re.sub(r'"[^"]*"', "", decoder.decode(self._start))  # values may hold line breaks
        first = re.search("\r\n|\r|\n", text)
        return first is not None and first[0] == "\r"

    @contextlib.contextmanager
    def open(self) -> Iterator[tuple[io.BufferedReader, Callable[[], int]]]:
        """Open the file as UTF-8, at its start.

        Yields:
            The stream, and a function that returns how many bytes of the file have been read.
        """
        with self.container.open() as (file, tell):
            yield (
                io.BufferedReader(Utf8Stream(file, self.found_encoding, self._translates), 1 << 20),
                tell,
            )

    @contextlib.contextmanager
    def open_rows(self) -> Iterator[tuple[io.BufferedReader, Callable[[], int]]]:
        """Open the file as UTF-8, at its first row; see `open`."""
        with self.open() as (stream, tell):
            for _ in range(self._first_lines[1]):
                stream.readline()
            yield stream, tell

    @functools.cached_property
    def found_separator(self) -> str:
        """The separator that is used.

        Raises:
            ValueError: if it is not one character, or several ones may be meant.
        """
        if self.separator:
            separator = {"tab": "\t", "\\t": "\t"}.get(self.separator.lower(), self.separator)
            if len(separator) != 1 or separator in '"\r\n' or ord(separator) > 127:
                raise ValueError(
                    f"the separator must be one character such as , ; | or tab, got "
                    f"{self.separator!r}"
                )
            return separator
        usual = "\t" if self.container.name.endswith(".tsv") else ","
        candidates = [usual, *(s for s in SEPARATORS if s != usual)]
        found = _sniffed(self._head_lines, candidates)
        if len(found) > 1:
            named = " or by ".join(map(describe_separator, found))
            names = " or ".join(f"--separator {_OPTIONS[separator]}" for separator in found)
            raise ValueError(
                f"the columns of {str(self.container.path)!r} may be separated by {named}: say by "
                f"which ({names})"
            )
        return found[0]

    @functools.cached_property
    def _head_lines(self) -> list[str]:
        """The first lines that are complete."""
        try:
            with self.open() as (stream, _):
                lines = list(itertools.islice(iter(stream.readline, b""), _SNIFFED_LINES))
        except DAMAGED as error:
            raise unreadable(self.container.path, error) from error
        return [line.decode() for line in lines]

    @functools.cached_property
    def _first_lines(self) -> tuple[list[str], int]:
        """Fields of the first line that is not blank, and the number of lines before the rows."""
        path = self.container.path
        try:
            with self.open() as (stream, _):
                lines = io.TextIOWrapper(stream, "utf-8", newline="")
                reader = csv.reader(lines, delimiter=self.found_separator)
                first = next((row for row in reader if row), [])
                n_lines = reader.line_num
        except (*DAMAGED, csv.Error) as error:
            raise unreadable(path, error) from error
        if not first:
            raise ValueError(f"{str(path)!r} holds no rows")
        return first, n_lines if self.header else 0

    @property
    def n_header_lines(self) -> int:
        """Number of lines before the first row."""
        return self._first_lines[1]

    @functools.cached_property
    def columns(self) -> list[str]:
        """Names of all columns without surrounding blanks.

        A repeated name gets ".1", ".2", and an empty one is "Unnamed: i", as in pandas.

        Raises:
            ValueError: if the file is empty or its header cannot be read.
        """
        first = self._first_lines[0]
        if not self.header:
            return [str(i) for i in range(len(first))]
        if any(UNDECODABLE in name for name in first):
            raise ValueError(
                f"the header of {str(self.container.path)!r} is not UTF-8 text: name its encoding "
                "(--encoding latin-1 or cp1252, for instance)"
            )
        return unique_names([name.strip() or f"Unnamed: {i}" for i, name in enumerate(first)])

    @functools.cached_property
    def begins_with_row_numbers(self) -> bool:
        """Whether the first column holds whole numbers, as far as the first lines show."""
        rows: list[list[str]] = []
        with contextlib.suppress(csv.Error):
            reader = csv.reader(self._head_lines, delimiter=self.found_separator)
            rows += (row for row in reader if len(row) == len(self.columns))
        header = [self._first_lines[0]] if self.header else []
        return all(_WHOLE.fullmatch(row[0]) for row in rows if row not in header)

    @property
    def written_names(self) -> dict[str, str]:
        """Names of the columns as the header has them, without surrounding blanks."""
        return dict(zip(self.columns, map(str.strip, self._first_lines[0]), strict=True))

    def line_numbers(self) -> Iterator[int]:
        """Yield the number of the first line of each row, from 1; blank lines are no rows."""
        with self.open_rows() as (stream, _), contextlib.suppress(csv.Error, *DAMAGED):
            reader = csv.reader(
                io.TextIOWrapper(stream, "utf-8", newline=""), delimiter=self.found_separator
            )
            line = self.n_header_lines + 1
            for row in reader:
                if row:
                    yield line
                line = self.n_header_lines + reader.line_num + 1


def unique_names(names: list[str]) -> list[str]:
    """Number repeated names."""
    unique: list[str] = []
    taken = set(names)
    for i, name in enumerate(names):
        n, new = 1, name
        if name in names[:i]:
            while (new := f"{name}.{n}") in taken:
                n += 1
            taken.add(new)
        unique.append(new)
    return unique


def _sniffed(lines: list[str], candidates: list[str]) -> list[str]:
    """Choose the separator of lines; the first candidate if none is found.

    Returns:
        The separator; several ones if the lines do not show which of them it is.
    """
    found, consistent = [], []
    for separator in candidates:
        try:
            rows = [row for row in csv.reader(lines, delimiter=separator) if row]
        except csv.Error:
            continue
        numbers = [len(row) for row in rows]
        if not numbers or numbers[0] == 1:
            continue
        if len(set(numbers)) == 1:
            consistent.append(separator)
        elif any(n > 1 for n in numbers[1:]):
            found.append(separator)
    if "\t" in consistent and candidates[0] == "\t":
        return ["\t"]  # the file's name says so
    if len(consistent) > 1 and not any(map(_COMMA_OF_TEXT.search, lines)):
        consistent = [separator for separator in consistent if separator != ","]
    return consistent or [*found, *candidates][:1]


def describe_separator(separator: str) -> str:
    """Name a separator for a message."""
    return SEPARATORS.get(separator, quoted(separator))
