"""What is known of each data set: publisher, files, classes, settings of the publication."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        files: expected files with their SHA-256 sums, "" where the sum is not known; empty for
            embedded data sets.
        normal: normal classes.
        anomalous: anomalous classes of the test split.
        known_transfer: known anomaly classes of the experiment with unknown anomalies.
        architecture: autoencoder of the publication.
        alarm_units: hidden layers of the alarm network.
        batch_size: samples per training step in the original.
        licence: terms of use as the publisher states them.
        rows: samples the publisher distributes, before incomplete ones are dropped.
        class_counts: how many samples of each class these are.
        contents: SHA-256 sums of the unpacked content of gzipped files, which may be packed anew.
        alternatives: for an expected file, other names under which the same rows are accepted.
        samples: for an expected file, reduced files that stand in for it, and what these lack.
        downloads: files that can be downloaded without registration, and from where.
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
    licence: str = "ask the publisher"
    rows: int | None = None
    class_counts: Mapping[str, int] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)
    alternatives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    samples: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    downloads: Mapping[str, str] = field(default_factory=dict)

    def names_of(self, file: str) -> tuple[str, ...]:
        """List the names under which an expected file is accepted, whole ones before samples."""
        return (file, *self.alternatives.get(file, ()), *self.samples.get(file, {}))


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
