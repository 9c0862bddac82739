"""Locks that keep two runs from working in the same folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from r2ad2.support.files import make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "lock"


class LockedFolder:
    """A folder that only one run at a time works in; it is made if necessary.

    The system gives the lock back when the process ends, however it ends, so that the next run can
    use what a killed one left. Where locks are not available (Windows, some network drives), any
    number of runs may enter.

    Args:
        folder: the folder.

    Raises:
        BlockingIOError: if another run works in it.
        OSError: if it cannot be written to.
    """

    def __init__(self, folder: Path):
        make_folder(folder)
        self._file: BinaryIO | None = None
        while fcntl is not None and self._file is None:
            self._file = _locked(folder / LOCK_NAME)

    def close(self) -> None:
        """Let other runs in."""
        if self._file is not None:
            self._file.close()


def _locked(path: Path) -> BinaryIO | None:
    """Lock a file until it is closed; None if another run removed it meanwhile.

    Raises:
        BlockingIOError: if it is locked already.
    """
    make_folder(path.parent)
    try:
        file = path.open("ab")
    except FileNotFoundError:
        return None
    try:
        _lock(file)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    except FileNotFoundError:
        pass
    except BlockingIOError:
        file.close()
        raise
    file.close()
    return None


def _lock(file: BinaryIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # a network drive without locks
