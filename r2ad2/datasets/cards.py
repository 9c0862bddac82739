"""What is known of each data set: publisher, files, classes, settings of the publication."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class DatasetCard:
    """A data set's entry in the index.

    Attributes:
        name: name of the data set and of its folder.
        title: one line on what it is.
        publisher: who made it.
        url: where to get it.
        files: expected files with their SHA-256 sums (empty for embedded data sets).
        normal: normal classes.
        anomalous: anomalous classes of the test split.
        known_transfer: known anomaly classes of the experiment with unknown anomalies.
        architecture: autoencoder of the publication.
        alarm_units: hidden layers of the alarm network.
        batch_size: samples per training step in the original.
    """

    name: str
    title: str
    publisher: str
    url: str
    files: Mapping[str, str]
    normal: tuple[str, ...]
    anomalous: tuple[str, ...]
    known_transfer: tuple[str, ...]
    architecture: str
    alarm_units: tuple[int, ...]
    batch_size: int


@functools.cache
def read_cards() -> Mapping[str, DatasetCard]:
    """Read the index of all data sets, by name."""
    index = json.loads(files("r2ad2.datasets").joinpath("index.json").read_text("utf-8"))
    cards = {}
    for name, entry in index.items():
        values: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()
        }
        cards[name] = DatasetCard(name=name, **values)
    return MappingProxyType(cards)
