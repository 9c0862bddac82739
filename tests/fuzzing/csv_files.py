"""Damaged CSV files: a valid one whose bytes are changed at random."""

from __future__ import annotations

import gzip

import numpy as np

_TOKENS = [
    b'"',
    b'""',
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b",",
    b";",
    b"\t",
    b"|",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xff",
    b"\xed\xa0\x80",
    b"1e999",
    b"-1e999",
    b"nan",
    b"inf",
    b"5e-324",
    b"1.7e308",
    b"9" * 400,
    b"1_000",
    b"1,000",
    b"0x10",
    b"\xd9\xa3",
    b"true",
    b"",
    b" ",
    b"'",
    b"2024-13-45",
    b"0001-01-01",
    b"9999-12-31T23:59:60Z",
    b"2024-01-01T00:00:00+99:00",
    b"=1+1",
    b"#",
    b"\\",
    b"\x1a<missing>",
    b"x" * 70000,
]


def _flip(random: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[random.integers(len(changed))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _insert(random: np.random.Generator, content: bytes) -> bytes:
    position = int(random.integers(len(content) + 1))
    token = _TOKENS[random.integers(len(_TOKENS))]
    return content[:position] + token + content[position:]


def _cut(random: np.random.Generator, content: bytes) -> bytes:
    start, stop = sorted(random.integers(len(content) + 1, size=2).tolist())
    return content[:start] + content[min(stop, start + 20) :]


def _repeat(random: np.random.Generator, content: bytes) -> bytes:
    start, stop = sorted(random.integers(len(content) + 1, size=2).tolist())
    return content[:stop] + content[start:]


def _truncate(random: np.random.Generator, content: bytes) -> bytes:
    return content[: random.integers(len(content) + 1)]


def _replace_value(random: np.random.Generator, content: bytes) -> bytes:
    lines = content.split(b"\n")
    row = int(random.integers(len(lines)))
    fields = lines[row].split(b",")
    fields[random.integers(len(fields))] = _TOKENS[random.integers(len(_TOKENS))]
    lines[row] = b",".join(fields)
    return b"\n".join(lines)


def _other_separator(random: np.random.Generator, content: bytes) -> bytes:
    return content.replace(b",", [b";", b"\t", b"|", b", "][random.integers(4)])


def _other_line_end(random: np.random.Generator, content: bytes) -> bytes:
    return content.replace(b"\n", [b"\r\n", b"\r", b"\n\r"][random.integers(3)])


def _other_encoding(random: np.random.Generator, content: bytes) -> bytes:
    name = ["utf-16", "utf-8-sig", "latin-1", "utf-32", "cp500"][random.integers(5)]
    return content.decode("utf-8", "ignore").encode(name, "replace")


def _pack(random: np.random.Generator, content: bytes) -> bytes:
    return gzip.compress(content, 1)


_CHANGES = (
    [_flip, _insert, _cut, _repeat, _truncate]
    + [_replace_value] * 4
    + [_other_separator, _other_line_end, _other_encoding, _pack]
)
_SUFFIXES = (".csv",) * 6 + (".tsv", ".csv.gz", ".parquet", ".txt")


def changed(random: np.random.Generator, content: bytes) -> bytes:
    """Change a file's bytes up to three times."""
    for _ in range(int(random.integers(4))):
        content = _CHANGES[random.integers(len(_CHANGES))](random, content)
    return content


def suffix(random: np.random.Generator) -> str:
    """Choose a file name's extension, most often .csv."""
    return _SUFFIXES[random.integers(len(_SUFFIXES))]
