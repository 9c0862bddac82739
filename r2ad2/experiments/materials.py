"""The samples of a run: a data set, read and split as its experiment wants."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from r2ad2.datasets import Dataset, DatasetCard, Split, load_dataset
from r2ad2.datasets.adbench import read_adbench, split_adbench
from r2ad2.experiments.runs import Run

SplitRequest = Callable[[DatasetCard, float | None], dict[str, Any]]


@dataclass(frozen=True)
class Material:
    """What a method is trained and tested with.

    Attributes:
        card: description of the data set, with the settings that the paper chose for it.
        x_train: float32 samples (n, ...).
        y_train: labels (n,): 1 = known anomaly.
        x_test: float32 samples.
        y_test: 1 = anomaly.
        n_polluting: anomalies among the training samples with label 0.
        is_whole: whether these are all rows of the data set, not just a sample of them.
    """

    card: DatasetCard
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    n_polluting: int
    is_whole: bool


def paper_material(run: Run, data_dir: str | None, request: SplitRequest) -> Material:
    """Split a data set as the paper does.

    Args:
        run: which data set, level and seed.
        data_dir: folder of the data sets.
        request: maps a card and a level to the arguments of `Dataset.split`.
    """
    dataset = _load(run.dataset, data_dir)
    split = dataset.split(
        **request(dataset.card, run.level), random_state=run.seed, max_normal=run.max_rows
    )
    return Material(
        dataset.card,
        split.x_train,
        split.y_train,
        split.x_test,
        split.y_test,
        _count_polluting(dataset, split),
        dataset.is_whole,
    )


@functools.lru_cache(maxsize=2)
def _load(name: str, data_dir: str | None) -> Dataset:
    return load_dataset(name, data_dir)


def _count_polluting(dataset: Dataset, split: Split) -> int:
    labelled_normal = split.train_indices[split.y_train == 0]
    return int(np.isin(dataset.classes[labelled_normal], dataset.card.anomalous).sum())


def adbench_material(run: Run, data_dir: str | None, clean: bool) -> Material:
    """Split a table of ADBench; see `split_adbench`.

    Args:
        run: which set, seed, and number of labelled anomalies (its level).
        data_dir: folder of the data sets.
        clean: whether to leave unlabelled anomalies out.
    """
    X, y = read_adbench(run.dataset, data_dir)
    split = split_adbench(X, y, int(run.level or 0), run.seed, clean)
    return Material(
        UNPUBLISHED,
        split.x_train.astype(np.float32),
        split.y_train,
        split.x_test.astype(np.float32),
        split.y_test,
        split.n_unlabelled,
        is_whole=True,
    )


# No settings are published for these sets, or for a user's: networks are sized for the samples.
UNPUBLISHED = DatasetCard(
    name="unpublished",
    title="a table without published settings",
    publisher="",
    url="",
    files={},
    normal=("0",),
    anomalous=("1",),
    known_transfer=("1",),
    architecture="auto",
    alarm_units=(100, 50, 25, 10),
    batch_size=128,
)
