"""A data set in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.splits import Part, Split, SplitPlan, SplitRequest, plan_split, require_part

if TYPE_CHECKING:
    import tensorflow as tf
    from sklearn.preprocessing import MinMaxScaler


@dataclass(frozen=True)
class Dataset:
    """A data set as published: samples, their classes and, where there is one, the test split.

    Attributes:
        card: the description of the data set.
        x: float32 samples: (n, features), categories one-hot, not scaled; or images
            (n, height, width, channels) in [0, 1].
        classes: class of each sample (n,), as text.
        feature_names: names of the columns; None for images.
        test_mask: whether each sample is in the publisher's test split (n,); None if there is none.
        n_dropped: rows that the reader left out because of missing or infinite values.
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
        """Whether all published rows were read, not just a sample of them."""
        return self.card.rows is None or len(self.x) + self.n_dropped == self.card.rows

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of samples of each class."""
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
            pollution: share p in [0, 1) of unlabelled anomalies among the training samples
                labelled normal. For n normal samples, n p/(1-p) anomalies of all classes are
                added.
            known_classes: classes of the known anomalies; None means all anomalous classes.
            random_state: seed of the draws and of the validation split.
            allow_fewer: whether to use all available known anomalies if there are fewer than
                `n_known_anomalies`, instead of raising an error.
            max_normal: maximum number of normal training samples, drawn at random; None means all.

        Raises:
            ValueError: for values out of range, unknown classes, or too few samples.

        Source: R2-AD2 (ECML-PKDD 2022).
        """
        plan = self._plan(
            SplitRequest(
                n_known_anomalies, pollution, known_classes, random_state, allow_fewer, max_normal
            )
        )
        scaler = self._scaler(plan)
        return Split(
            x_train=self._samples(plan.train, scaler),
            y_train=plan.y_train,
            x_val=self._samples(plan.val, scaler),
            y_val=self._is_anomalous(plan.val),
            x_test=self._samples(plan.test, scaler),
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

        Only the data set itself and the current batches are in memory. For table files larger than
        memory see `r2ad2.datasets.streaming`.

        Args:
            part: "train", "val" or "test".
            batch_size: samples per batch; None uses the paper's batch size.
            shuffle: whether to reshuffle in each epoch; None shuffles the training part only.
            random_state: seed of the split, as for `split`, and of the shuffling.
            request: the other arguments of `split`.

        Returns:
            Pairs of float32 samples (batch, ...) and int64 labels (batch,).

        Raises:
            ValueError: as `split`, and for an unknown part or a batch size below 1.
        """
        from r2ad2.datasets.pipelines import batches_of

        require_part(part)
        plan = self._plan(SplitRequest(random_state=random_state, **request))
        indices = getattr(plan, part)
        labels = plan.y_train if part == "train" else self._is_anomalous(indices)
        return batches_of(
            (self.x, labels),
            self.card.batch_size if batch_size is None else batch_size,
            part == "train" if shuffle is None else shuffle,
            random_state,
            rows=indices,
            scaler=self._scaler(plan),
        )

    def _plan(self, request: SplitRequest) -> SplitPlan:
        return plan_split(self.card, self.classes, self.test_mask, request)

    def _is_anomalous(self, indices: np.ndarray) -> np.ndarray:
        return np.isin(self.classes[indices], self.card.anomalous).astype(np.int64)

    def _scaler(self, plan: SplitPlan) -> MinMaxScaler | None:
        """Fit a table's scaling on the rows labelled normal; images have none."""
        from sklearn.preprocessing import MinMaxScaler

        return MinMaxScaler().fit(self.x[plan.labelled_normal]) if self.x.ndim == 2 else None

    def _samples(self, indices: np.ndarray, scaler: MinMaxScaler | None) -> np.ndarray:
        samples = self.x[indices]
        # The validation split of a tiny data set may be empty, which the scaler refuses.
        if scaler is None or not len(indices):
            return samples
        return scaler.transform(samples).astype(np.float32)
