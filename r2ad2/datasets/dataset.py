"""A data set in memory and its splits for the publication's experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

from r2ad2.datasets.cards import DatasetCard

if TYPE_CHECKING:
    import tensorflow as tf

Part = Literal["train", "val", "test"]

_TEST_SHARE = 0.2
_VALIDATION_SHARE = 0.05
_TEST_SEED = 42  # the original keeps its test split fixed
_FEWEST_SAMPLES = 3  # to draw one for each part


@dataclass(frozen=True)
class Split:
    """Training, validation and test samples of one experiment.

    Attributes:
        x_train: float32 samples (n, ...), tables scaled to [0, 1] on the rows labelled normal;
            other values may leave [0, 1].
        y_train: labels (n,): 1 = known anomaly, 0 = normal or polluting anomaly.
        x_val: validation samples.
        y_val: validation labels; 1 = anomaly of a class known in training.
        x_test: test samples.
        y_test: test labels; 1 = anomaly of any class.
        train_indices: which samples of the data set are in the training split.
        val_indices: which are in the validation split.
        test_indices: which are in the test split.
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
            batch_size: samples per batch; the last one may be smaller.
            shuffle: whether to draw a new order in each epoch; None: in training only.
            random_state: decides the orders.

        Returns:
            Pairs of float32 samples (batch, ...) and int64 labels (batch,).

        Raises:
            ValueError: for another part, or a batch size below one.
        """
        from r2ad2.datasets.pipelines import batches_of

        _check_part(part)
        arrays = (getattr(self, f"x_{part}"), getattr(self, f"y_{part}"))
        return batches_of(
            arrays, batch_size, part == "train" if shuffle is None else shuffle, random_state
        )


def _check_part(part: str) -> None:
    if part not in get_args(Part):
        raise ValueError(f"a split has no part {part!r}: choose train, val or test")


@dataclass(frozen=True)
class _Plan:
    """Which samples go where: indices of the data set, and labels of those for training.

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
        return np.concatenate([self.labelled_normal, self.known_anomalies])

    @property
    def y_train(self) -> np.ndarray:
        return np.repeat([0, 1], [len(self.labelled_normal), len(self.known_anomalies)])


@dataclass(frozen=True)
class Dataset:
    """A data set as published: samples, their classes and, where there is one, the test split.

    Attributes:
        card: what is known of the data set.
        x: float32 samples: (n, features), categories one-hot, not scaled; or images
            (n, height, width, channels) in [0, 1].
        classes: class of each sample (n,), as text.
        feature_names: names of the columns; None for images.
        test_mask: (n,) whether a sample is in the publisher's test split; None if there is none.
        n_dropped: rows left out by the reader, for missing or infinite values.
        dropped_columns: columns left out for the same reason.
    """

    card: DatasetCard
    x: np.ndarray
    classes: np.ndarray
    feature_names: list[str] | None = None
    test_mask: np.ndarray | None = None
    n_dropped: int = 0
    dropped_columns: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all rows that the publisher distributes were read, or it is a sample of them."""
        return self.card.rows is None or len(self.x) + self.n_dropped == self.card.rows

    @property
    def class_counts(self) -> dict[str, int]:
        """How many samples there are of each class."""
        names, counts = np.unique(self.classes, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def split(
        self,
        n_known_anomalies: int = 100,
        pollution: float = 0.0,
        known_classes: Sequence[str] | None = None,
        random_state: int = 110,
        allow_fewer: bool = False,
        max_normal: int | None = None,
    ) -> Split:
        """Split the data set for one experiment.

        The test split is the publisher's, or 20 % drawn with a fixed seed; 5 % of the rest is for
        validation.

        Args:
            n_known_anomalies: anomalies in training with label 1, drawn without replacement.
            pollution: share in [0, 1) that unlabelled anomalies make up of the samples labelled
                normal; p/(1-p) of the normal samples' number are added, of all anomaly classes.
            known_classes: classes of the known anomalies; None means all anomalous classes.
            random_state: decides the draws and the validation split.
            allow_fewer: whether to take all known anomalies there are where there are fewer than
                `n_known_anomalies`.
            max_normal: at most so many normal training samples, drawn at random; None means all.

        Raises:
            ValueError: for values out of range, unknown classes, or too few anomalies.

        Source: METHOD of R2-AD2 (ECML-PKDD 2022), section "data".
        """
        plan = self._plan(
            n_known_anomalies, pollution, known_classes, random_state, allow_fewer, max_normal
        )
        x_train, x_val, x_test = self._scaled(
            plan.labelled_normal, [plan.train, plan.val, plan.test]
        )
        return Split(
            x_train=x_train,
            y_train=plan.y_train,
            x_val=x_val,
            y_val=self._is_anomalous(plan.val),
            x_test=x_test,
            y_test=self._is_anomalous(plan.test),
            train_indices=plan.train,
            val_indices=plan.val,
            test_indices=plan.test,
            classes_test=self.classes[plan.test],
        )

    def as_tf_data(
        self,
        part: Part = "train",
        batch_size: int | None = None,
        shuffle: bool | None = None,
        random_state: int = 110,
        **request: Any,
    ) -> tf.data.Dataset:
        """Make a pipeline of the samples that `split` gives, scaled batch by batch.

        Beside the data set itself only the batches are in memory. For tables in files larger than
        memory see `r2ad2.datasets.streaming`.

        Args:
            part: "train", "val" or "test".
            batch_size: samples per batch; None is that of the publication.
            shuffle: whether to draw a new order in each epoch; None: in training only.
            random_state: as for `split`; decides the orders, too.
            request: the other arguments of `split`.

        Returns:
            Pairs of float32 samples (batch, ...) and int64 labels (batch,).

        Raises:
            ValueError: as `split`, and for another part or a batch size below one.
        """
        from r2ad2.datasets.pipelines import batches_of

        _check_part(part)
        plan = self._plan(random_state=random_state, **request)
        indices = getattr(plan, part)
        labels = plan.y_train if part == "train" else self._is_anomalous(indices)
        return batches_of(
            (self.x, labels),
            self.card.batch_size if batch_size is None else batch_size,
            part == "train" if shuffle is None else shuffle,
            random_state,
            rows=indices,
            scaler=self._scaler(plan.labelled_normal),
        )

    def _plan(
        self,
        n_known_anomalies: int = 100,
        pollution: float = 0.0,
        known_classes: Sequence[str] | None = None,
        random_state: int = 110,
        allow_fewer: bool = False,
        max_normal: int | None = None,
    ) -> _Plan:
        """Draw the parts; see `split`."""
        known = self._check_request(n_known_anomalies, pollution, known_classes)
        if max_normal is not None and max_normal < 1:
            raise ValueError(f"max_normal must be positive, got {max_normal}")
        normal_or_known = (*self.card.normal, *known)
        rest, test = self._test_split()
        train, val = train_test_split(rest, test_size=_VALIDATION_SHARE, random_state=random_state)
        val = val[np.isin(self.classes[val], normal_or_known)]
        random = np.random.default_rng(random_state)

        is_normal = np.isin(self.classes[train], self.card.normal)
        normal, anomalous = train[is_normal], train[~is_normal]
        if not len(normal):
            raise ValueError(
                f"{self.card.name} has no normal sample in its training split: of "
                f"{len(self.classes):,} samples {len(rest):,} are for training"
            )
        if max_normal is not None and max_normal < len(normal):
            normal = self._draw(random, normal, max_normal, "normal samples")
        n_polluting = round(pollution / (1 - pollution) * len(normal))
        polluting = self._draw(random, anomalous, n_polluting, "to pollute the training data")
        candidates = np.setdiff1d(anomalous[np.isin(self.classes[anomalous], known)], polluting)
        n_known = min(n_known_anomalies, len(candidates)) if allow_fewer else n_known_anomalies
        known_anomalies = self._draw(random, candidates, n_known, "known anomalies")
        return _Plan(np.concatenate([normal, polluting]), known_anomalies, val, test)

    def _check_request(
        self, n_known: int, pollution: float, known_classes: Sequence[str] | None
    ) -> tuple[str, ...]:
        """Check the request and return the classes of known anomalies."""
        if n_known < 0:
            raise ValueError(f"n_known_anomalies must not be negative, got {n_known}")
        if not 0 <= pollution < 1:
            raise ValueError(f"pollution must be in [0, 1), got {pollution}")
        if known_classes is None:
            return self.card.anomalous
        unknown = [name for name in known_classes if name not in self.card.anomalous]
        if unknown:
            raise ValueError(
                f"{self.card.name} has no anomaly class {unknown[0]!r}: choose among "
                f"{', '.join(self.card.anomalous)}"
            )
        return tuple(known_classes)

    def _test_split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return indices for training and validation, and those of the test split."""
        used = np.isin(self.classes, [*self.card.normal, *self.card.anomalous])
        if self.test_mask is not None:
            rest, test = (
                np.flatnonzero(used & ~self.test_mask),
                np.flatnonzero(used & self.test_mask),
            )
        elif used.sum() >= _FEWEST_SAMPLES:
            rest, test = train_test_split(
                np.flatnonzero(used), test_size=_TEST_SHARE, random_state=_TEST_SEED
            )
        else:
            rest, test = np.flatnonzero(used), np.array([], dtype=np.int64)
        # train_test_split would complain in its own words.
        if len(rest) < 2 or not len(test):
            raise ValueError(
                f"{self.card.name} has {int(used.sum()):,} samples of the classes in use, "
                f"{len(rest):,} for training and {len(test):,} to test on: too few to split"
            )
        return rest, test

    def _draw(
        self, random: np.random.Generator, candidates: np.ndarray, n: int, purpose: str
    ) -> np.ndarray:
        if n > len(candidates):
            raise ValueError(
                f"{self.card.name} has only {len(candidates):,} fitting anomalies left in its "
                f"training split, but {n:,} are asked for {purpose}"
            )
        return random.choice(candidates, n, replace=False)

    def _is_anomalous(self, indices: np.ndarray) -> np.ndarray:
        return np.isin(self.classes[indices], self.card.anomalous).astype(np.int64)

    def _scaler(self, labelled_normal: np.ndarray) -> MinMaxScaler | None:
        """Learn a table's scaling on the rows labelled normal; images have none."""
        return MinMaxScaler().fit(self.x[labelled_normal]) if self.x.ndim == 2 else None

    def _scaled(self, labelled_normal: np.ndarray, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the samples of each part; tables are scaled on the rows labelled normal."""
        scaler = self._scaler(labelled_normal)
        if scaler is None:
            return [self.x[part] for part in parts]
        return [
            # No part is empty but, in tiny data sets, the validation split.
            scaler.transform(self.x[part]).astype(np.float32) if len(part) else self.x[part]
            for part in parts
        ]
