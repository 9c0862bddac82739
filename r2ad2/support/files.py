"""Files and folders that users name: checks, and writing all or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def require_file(path: Path) -> None:
    """Check that a file exists.

    Raises:
        FileNotFoundError: if it does not, or is a folder.
    """
    if path.is_dir():
        raise FileNotFoundError(f"{str(path)!r} is a folder: name a file")
    if not path.is_file():
        raise FileNotFoundError(f"file {str(path)!r} does not exist")


def require_model_name(path: Path) -> None:
    """Check that a model file has the extension that Keras needs.

    Raises:
        ValueError: if it has not.
    """
    if path.suffix != ".keras":
        raise ValueError(f"a model file's name must end in .keras, got {str(path)!r}")


def format_suffix(path: Path) -> str:
    """Return the extension in lower case, ignoring a final .gz: ".csv" of "Rows.CSV.gz"."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def make_folder(folder: str | os.PathLike) -> None:
    """Make a folder and its parents, unless they exist.

    Raises:
        OSError: if the folder cannot be written to; the message names it and says why.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(
            f"cannot write into {str(path)!r}: it is a file, choose another folder"
        ) from error
    except OSError as error:
        raise type(error)(f"cannot write into {str(path)!r}: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise PermissionError(f"cannot write into {str(path)!r}: no permission")


def write_atomically(path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary file next to `path`, then move it into place in one step.

    Args:
        path: the file to write; its folder is made if necessary.
        write: called with the temporary path, which has the same suffix.

    Returns:
        The final path. A symbolic link stays one: what it leads to is replaced.
    """
    target = Path(path)
    target = target.resolve() if target.is_symlink() else target
    make_folder(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        temporary = Path(folder) / target.name
        write(temporary)
        temporary.replace(target)
    return Path(path)


def fsync_directory(folder: str | os.PathLike) -> None:
    """Flush a directory to disk so that a rename within it survives a power loss.

    Does nothing on Windows, where directories cannot be opened.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write a text file (UTF-8) atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    return write_atomically(path, write)
