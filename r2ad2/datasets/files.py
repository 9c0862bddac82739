"""Where the files of data sets are."""

from __future__ import annotations

import os
from pathlib import Path

from r2ad2.datasets.cards import DatasetCard


def data_folder(data_dir: str | os.PathLike | None = None) -> Path:
    """Return the folder of all data sets: the argument, else $R2AD2_DATA, else "data"."""
    return Path(data_dir or os.environ.get("R2AD2_DATA") or "data")


def find_file(card: DatasetCard, folder: Path, *names: str) -> Path:
    """Return the first of the named files, or of those that the card accepts instead.

    Raises:
        FileNotFoundError: if none is in the folder.
    """
    accepted = list(dict.fromkeys(other for name in names for other in card.accepted_names(name)))
    for name in accepted:
        if (folder / name).is_file():
            return folder / name
    raise missing_files(card, folder, *accepted)


def missing_files(card: DatasetCard, folder: Path, *names: str) -> FileNotFoundError:
    """Make the error that says which files are missing and where to get them."""
    download = f"run `r2ad2 data fetch {card.name}`, " if card.downloads else ""
    return FileNotFoundError(
        f"data set {card.name} needs {' or '.join(names)} in folder {str(folder)!r}: {download}"
        f"get it from {card.url}, or set R2AD2_DATA to the folder that contains {card.name}/"
    )
