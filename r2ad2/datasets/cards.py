"""The card of a data set: publisher, files, classes, settings of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DatasetCard:
    """The description of a data set.

    Attributes:
        name: name of the data set and of its folder.
        title: one line that says what it is.
        publisher: who made it.
        url: where to get it.
        files: expected files with their SHA-256 sums, "" where the sum is not known; empty for
            embedded data sets.
        normal: normal classes.
        anomalous: anomalous classes of the test split.
        known_transfer: known anomaly classes of the experiment with unknown anomalies.
        architecture: the paper's autoencoder.
        alarm_units: hidden layers of the alarm network.
        batch_size: samples per training step in the original.
        licence: terms of use as the publisher states them.
        rows: number of published samples, including incomplete ones that the reader drops.
        class_counts: number of published samples of each class.
        contents: SHA-256 sums of the unpacked contents of gzipped files: repacking changes the
            sum of the file, but not that of its contents.
        alternatives: other names under which the same rows are accepted, by expected file.
        samples: reduced files that may replace an expected file, with what they lack.
        downloads: files that can be downloaded without registration, with their addresses.
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

    def accepted_names(self, file: str) -> tuple[str, ...]:
        """List the names under which an expected file is accepted, whole files before samples."""
        return (file, *self.alternatives.get(file, ()), *self.samples.get(file, {}))
