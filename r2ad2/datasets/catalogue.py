"""Finds data sets by name: those of this package and those that other packages register.

A data set is a module with two names: `CARD`, its `DatasetCard`, and ``read(folder)``, which reads
the files in its folder and returns a `Dataset`; ``read`` may have options. The modules of
`r2ad2.datasets.sets` are found without being listed anywhere. Another package registers a module by
an entry point in the group `r2ad2.datasets`, in its setup.cfg::

    [options.entry_points]
    r2ad2.datasets =
        pumps = mypackage.pumps

Modules are imported when their card or their samples are needed.
"""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast

from r2ad2.datasets import sets
from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.datasets.files import data_folder
from r2ad2.support.messages import require_known

logger = logging.getLogger(__name__)

GROUP = "r2ad2.datasets"


class DatasetModule(Protocol):
    """The names that a data set's module has."""

    CARD: DatasetCard

    def read(self, folder: Path, **options: Any) -> Dataset:
        """Read the files in the data set's folder."""


def dataset_names() -> list[str]:
    """List the data sets that can be loaded, in alphabetical order."""
    return sorted(_module_names())


def dataset_cards() -> dict[str, DatasetCard]:
    """Return the cards of all data sets by name, in alphabetical order.

    A registered module that cannot be imported is left out with a warning: it must not keep others
    from working.
    """
    cards = {}
    for name, module in sorted(_module_names().items()):
        try:
            cards[name] = _import_module(name, module).CARD
        except Exception as error:
            logger.warning("data set %r (%s) cannot be imported: %s", name, module, error)
    return cards


def load_dataset(name: str, data_dir: str | os.PathLike | None = None, **options: Any) -> Dataset:
    """Load a data set from its publisher's files.

    Args:
        name: one of `dataset_names()`.
        data_dir: folder with one sub-folder per data set; by default that of the environment
            variable R2AD2_DATA, else "data" in the current folder. Embedded sets need none.
        options: options of the set's reader.

    Raises:
        ValueError: for an unknown name, or a file whose contents are not as published.
        FileNotFoundError: if files are missing; the message says which and where to get them.
    """
    modules = _module_names()
    require_known([name], sorted(modules), "data set")
    return _import_module(name, modules[name]).read(data_folder(data_dir) / name, **options)


def _module_names() -> dict[str, str]:
    """Return the module of each data set by name, without importing it.

    Raises:
        ValueError: if two data sets have the same name.
    """
    modules = {
        found.name: f"{sets.__name__}.{found.name}" for found in pkgutil.iter_modules(sets.__path__)
    }
    for entry in entry_points(group=GROUP):
        first = modules.setdefault(entry.name, entry.value)
        if first != entry.value:
            raise ValueError(
                f"two data sets are registered as {entry.name!r}: {first} and {entry.value}; "
                "uninstall or rename one of them"
            )
    return modules


def _import_module(name: str, module_name: str) -> DatasetModule:
    module = importlib.import_module(module_name)
    for attribute in ("CARD", "read"):
        if not hasattr(module, attribute):
            raise ValueError(f"module {module_name} of data set {name!r} has no {attribute!r}")
    found = cast(DatasetModule, module)
    if found.CARD.name != name:
        raise ValueError(
            f"the card of module {module_name} must have the name {name!r}, not {found.CARD.name!r}"
        )
    return found
