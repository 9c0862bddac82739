"""Folders that results are written into."""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(folder: str | os.PathLike) -> Path:
    """Make a folder, with those above it, unless it is there.

    Returns:
        Its path.

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
    return path
