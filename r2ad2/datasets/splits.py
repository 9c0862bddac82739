"""Splits of a data set into training, validation and test samples, as the paper draws them.

A split is drawn in indices first (`plan_split`), so that pipelines need not copy any samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from r2ad2.datasets.cards import DatasetCard

if TYPE_CHECKING:
    import tensorflow as tf

Part = Literal["train", "val", "test"]

_TEST_SHARE = 0.2
_VALIDATION_SHARE = 0.05
_TEST_SEED = 42  # the original keeps its test split fixed
_MIN_SAMPLES = 3  # one for each part


@dataclass(frozen=True)
class Split:
    """Training, validation and test samples of one experiment.

    Attributes:
        x_train: float32 samples (n, ...). Tables are scaled so that the rows labelled normal
            span [0, 1]; other rows may fall outside that range.
        y_train: labels (n,): 1 = known anomaly, 0 = normal or polluting anomaly.
        x_val: validation samples.
        y_val: validation labels; 1 = anomaly of a class known in training.
        x_test: test samples.
        y_test: test labels; 1 = anomaly of any class.
        train_indices: positions of the training samples in the data set.
        val_indices: positions of the validation samples.
        test_indices: positions of the test samples.
        classes_test: class of each test sample.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    train_indices: np.ndarray
    val_indices: np.ndarray
    test_indices: np.ndarray
    classes_test: np.ndarray

    def as_tf_data(
        self,
        part: Part = "train",
        batch_size: int = 512,
        shuffle: bool | None = None,
        random_state: int = 0,
    ) -> tf.data.Dataset:
        """Make a pipeline of batches of one part.

        Args:
            part: "train", "val" or "test".
            batch_size: samples per batch; the last batch may be smaller.
            shuffle: whether to reshuffle in each epoch; None shuffles the training part only.
            random_state: seed of the shuffling.

        Returns:
            Pairs of float32 samples (batch, ...) and int64 labels (batch,).

        Raises:
            ValueError: for an unknown part, or a batch size below 1.
        """
        from r2ad2.datasets.pipelines import batches_of

        require_part(part)
        arrays = (getattr(self, f"x_{part}"), getattr(self, f"y_{part}"))
        return batches_of(
            arrays, batch_size, part == "train" if shuffle is None else shuffle, random_state
        )


def require_part(part: str) -> None:
    """Check the name of a part.

    Raises:
        ValueError: if a split has no such part.
    """
    if part not in get_args(Part):
        raise ValueError(f"a split has no part {part!r}: choose train, val or test")


@dataclass(frozen=True)
class SplitRequest:
    """What a split should contain; the arguments of `Dataset.split`, where they are explained."""

    n_known_anomalies: int = 100
    pollution: float = 0.0
    known_classes: Sequence[str] | None = None
    random_state: int = 110
    allow_fewer: bool = False
    max_normal: int | None = None

    def check(self, card: DatasetCard) -> None:
        """Check the values.

        Raises:
            ValueError: if one is out of range, or a class is not an anomaly class of the set,
                or for a text instead of a list of classes.
        """
        if self.n_known_anomalies < 0:
            raise ValueError(
                f"n_known_anomalies must not be negative, got {self.n_known_anomalies}"
            )
        if not 0 <= self.pollution < 1:
            raise ValueError(f"pollution must be in [0, 1), got {self.pollution}")
        if isinstance(self.known_classes, str):
            raise ValueError(
                f"known_classes must be a list of classes, got {self.known_classes!r}: pass "
                f"[{self.known_classes!r}]"
            )
        for name in self.known_classes or ():
            if name not in card.anomalous:
                raise ValueError(
                    f"{card.name} has no anomaly class {name!r}: choose among "
                    f"{', '.join(card.anomalous)}"
                )
        if self.max_normal is not None and self.max_normal < 1:
            raise ValueError(f"max_normal must be positive, got {self.max_normal}")


@dataclass(frozen=True)
class SplitPlan:
    """Which samples go where, as positions in the data set.

    Attributes:
        labelled_normal: training samples with label 0.
        known_anomalies: training samples with label 1.
        val: validation samples.
        test: test samples.
    """

    labelled_normal: np.ndarray
    known_anomalies: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def train(self) -> np.ndarray:
        """All training samples."""
        return np.concatenate([self.labelled_normal, self.known_anomalies])

    @property
    def y_train(self) -> np.ndarray:
        """Labels of the training samples."""
        return np.repeat([0, 1], [len(self.labelled_normal), len(self.known_anomalies)])


def plan_split(
    card: DatasetCard, classes: np.ndarray, test_mask: np.ndarray | None, request: SplitRequest
) -> SplitPlan:
    """Draw the parts of a split.

    Args:
        card: the data set's card, which says which classes are normal.
        classes: class of each sample (n,).
        test_mask: whether each sample is in the publisher's test split (n,); None if it has none.
        request: what the split should contain.

    Raises:
        ValueError: for an invalid request, or too few samples to meet it.
    """
    from sklearn.model_selection import train_test_split

    request.check(card)
    known = card.anomalous if request.known_classes is None else tuple(request.known_classes)
    rest, test = _separate_test(card, classes, test_mask)
    train, val = train_test_split(
        rest, test_size=_VALIDATION_SHARE, random_state=request.random_state
    )
    val = val[np.isin(classes[val], (*card.normal, *known))]
    # The order of the draws below decides what a seed gives: it must not change.
    random = np.random.default_rng(request.random_state)

    is_normal = np.isin(classes[train], card.normal)
    normal, anomalous = train[is_normal], train[~is_normal]
    if not len(normal):
        raise ValueError(
            f"{card.name} has no normal sample in its training split: of {len(classes):,} samples "
            f"{len(rest):,} are for training"
        )
    if request.max_normal is not None and request.max_normal < len(normal):
        normal = random.choice(normal, request.max_normal, replace=False)
    n_polluting = round(request.pollution / (1 - request.pollution) * len(normal))
    polluting = _draw(random, anomalous, n_polluting, "to pollute the training data", card.name)
    candidates = np.setdiff1d(anomalous[np.isin(classes[anomalous], known)], polluting)
    n_known = request.n_known_anomalies
    if request.allow_fewer:
        n_known = min(n_known, len(candidates))
    known_anomalies = _draw(random, candidates, n_known, "as known anomalies", card.name)
    return SplitPlan(np.concatenate([normal, polluting]), known_anomalies, val, test)


def _separate_test(
    card: DatasetCard, classes: np.ndarray, test_mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions for training and validation, and those of the test split."""
    from sklearn.model_selection import train_test_split

    is_used = np.isin(classes, [*card.normal, *card.anomalous])
    used = np.flatnonzero(is_used)
    if test_mask is not None:
        rest, test = np.flatnonzero(is_used & ~test_mask), np.flatnonzero(is_used & test_mask)
    elif len(used) >= _MIN_SAMPLES:
        rest, test = train_test_split(used, test_size=_TEST_SHARE, random_state=_TEST_SEED)
    else:
        rest, test = used, used[:0]
    # Checked here because train_test_split's own message does not name the data set.
    if len(rest) < 2 or not len(test):
        raise ValueError(
            f"{card.name} has too few samples to split: of {len(used):,} samples of the classes in "
            f"use, {len(rest):,} are for training and {len(test):,} for testing"
        )
    return rest, test


def _draw(
    random: np.random.Generator, candidates: np.ndarray, n: int, purpose: str, name: str
) -> np.ndarray:
    if n > len(candidates):
        raise ValueError(
            f"{name} has only {len(candidates):,} suitable anomalies left in its training split, "
            f"but {n:,} are needed {purpose}"
        )
    return random.choice(candidates, n, replace=False)
