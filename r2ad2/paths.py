"""Files and folders that users name: what is there, and what can be written."""

from __future__ import annotations

import os
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
