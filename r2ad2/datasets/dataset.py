"""A data set in memory and its splits for the publication's experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

from r2ad2.datasets.cards import DatasetCard

_TEST_SHARE = 0.2
_VALIDATION_SHARE = 0.05
_TEST_SEED = 42  # the original keeps its test split fixed


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
    """

    card: DatasetCard
    x: np.ndarray
    classes: np.ndarray
    feature_names: list[str] | None = None
    test_mask: np.ndarray | None = None

    def split(
        self,
        n_known_anomalies: int = 100,
        pollution: float = 0.0,
        known_classes: Sequence[str] | None = None,
        random_state: int = 110,
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

        Raises:
            ValueError: for values out of range, unknown classes, or too few anomalies.

        Source: METHOD of R2-AD2 (ECML-PKDD 2022), section "data".
        """
        known = self._check_request(n_known_anomalies, pollution, known_classes)
        normal_or_known = (*self.card.normal, *known)
        rest, test = self._test_split()
        train, val = train_test_split(rest, test_size=_VALIDATION_SHARE, random_state=random_state)
        val = val[np.isin(self.classes[val], normal_or_known)]
        random = np.random.default_rng(random_state)

        is_normal = np.isin(self.classes[train], self.card.normal)
        normal, anomalous = train[is_normal], train[~is_normal]
        n_polluting = round(pollution / (1 - pollution) * len(normal))
        polluting = self._draw(random, anomalous, n_polluting, "to pollute the training data")
        candidates = np.setdiff1d(anomalous[np.isin(self.classes[anomalous], known)], polluting)
        known_anomalies = self._draw(random, candidates, n_known_anomalies, "known anomalies")

        labelled_normal = np.concatenate([normal, polluting])
        train = np.concatenate([labelled_normal, known_anomalies])
        y_train = np.repeat([0, 1], [len(labelled_normal), len(known_anomalies)])
        x_train, x_val, x_test = self._scaled(labelled_normal, [train, val, test])
        return Split(
            x_train=x_train,
            y_train=y_train,
            x_val=x_val,
            y_val=self._is_anomalous(val),
            x_test=x_test,
            y_test=self._is_anomalous(test),
            train_indices=train,
            val_indices=val,
            test_indices=test,
            classes_test=self.classes[test],
        )

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
            return np.flatnonzero(used & ~self.test_mask), np.flatnonzero(used & self.test_mask)
        rest, test = train_test_split(
            np.flatnonzero(used), test_size=_TEST_SHARE, random_state=_TEST_SEED
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

    def _scaled(self, labelled_normal: np.ndarray, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the samples of each part; tables are scaled on the rows labelled normal."""
        if self.x.ndim > 2:
            return [self.x[part] for part in parts]
        scaler = MinMaxScaler().fit(self.x[labelled_normal])
        return [
            # No part is empty but, in tiny data sets, the validation split.
            scaler.transform(self.x[part]).astype(np.float32) if len(part) else self.x[part]
            for part in parts
        ]
