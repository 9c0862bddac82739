"""Files and folders that users name: what is there, what can be written, writing all or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def require_file(path: Path) -> None:
    """Check that there is such a file.

    Raises:
        FileNotFoundError: if not, or if it is a folder.
    """
    if path.is_dir():
        raise FileNotFoundError(f"{str(path)!r} is a folder: name a file")
    if not path.is_file():
        raise FileNotFoundError(f"file {str(path)!r} does not exist")


def make_folder(folder: str | os.PathLike) -> None:
    """Make a folder, with those above it, unless it is there.

    Raises:
        OSError: if nothing can be written there; the message names the folder and says why.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"cannot write into {str(path)!r}: a file is in its place, choose another folder"
        ) from error
    except OSError as error:
        raise type(error)(f"cannot write into {str(path)!r}: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise PermissionError(f"cannot write into {str(path)!r}: no permission")


def write_atomically(path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step.

    Args:
        path: where the file shall be; its folder is made if necessary.
        write: called with the temporary path, which has the same suffix.

    Returns:
        The final path.
    """
    target = Path(path)
    make_folder(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        temporary = Path(folder) / target.name
        write(temporary)
        temporary.replace(target)
    return target


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a text file (UTF-8), all or nothing."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_atomically(path, write)
