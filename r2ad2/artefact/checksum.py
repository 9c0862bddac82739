"""A checksum at the end of a file, so that damage is noticed before the file is parsed.

The checksum is part of the comment that every zip archive may end with: other programs read the
archive as before. It reveals damage, not tampering: whoever changes the file can update it.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

_PATTERN = re.compile(rb"r2ad2 format (\d{1,6}) sha256 ([0-9a-f]{64})\Z")
_DIGEST_LENGTH = 64
_BLOCK = 1 << 20


def _comment(version: int, digest: str) -> bytes:
    return f"r2ad2 format {version} sha256 {digest}".encode()


def _digest(file: BinaryIO, n_bytes: int) -> str:
    """Compute the checksum of the next bytes."""
    checksum = hashlib.sha256()
    while n_bytes > 0 and (block := file.read(min(_BLOCK, n_bytes))):
        checksum.update(block)
        n_bytes -= len(block)
    return checksum.hexdigest()


def seal(path: Path, version: int) -> str:
    """Write the format's version and the checksum of all bytes before it to a zip archive's end.

    Returns:
        The checksum.
    """
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = _comment(version, "0" * _DIGEST_LENGTH)
    with path.open("r+b") as file:
        n_bytes = path.stat().st_size - _DIGEST_LENGTH
        digest = _digest(file, n_bytes)
        file.seek(n_bytes)
        file.write(digest.encode())
    return digest


def check_seal(path: Path, newest: int) -> str:
    """Check that a file is as `seal` left it.

    Args:
        path: the file.
        newest: the newest format version that can be read.

    Returns:
        The checksum.

    Raises:
        ValueError: if the file is damaged, has no checksum, or has a newer format.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(n_bytes - 128, 0))
        found = _PATTERN.search(file.read())
        if found is None:
            raise ValueError(
                f"{str(path)!r} is not a model file saved by r2ad2, or not a complete one: the "
                "checksum at its end is missing; copy it again from where it was saved"
            )
        if int(found[1]) > newest:
            raise ValueError(
                f"{str(path)!r} was saved by a newer version of r2ad2 (format {int(found[1])}, "
                f"this version reads {newest}): upgrade r2ad2"
            )
        file.seek(0)
        digest = _digest(file, n_bytes - _DIGEST_LENGTH)
        if digest != found[2].decode():
            raise ValueError(
                f"{str(path)!r} is damaged: its content does not agree with the checksum at its "
                "end; copy it again from where it was saved"
            )
    return digest
