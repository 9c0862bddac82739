"""The gradient forest as a Keras model: trees judge a sample and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2ad2.artefact.composed import ComposedModel
from r2ad2.networks.forest import TreeEnsemble
from r2ad2.networks.gradient_features import GradientFeatures

ARMS = ("values", "gradients")
# From the sum of a sample's leaves to a score in [0, 1].
LINKS: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "probability": tf.identity,
    "logit": tf.sigmoid,
}


@dataclass(frozen=True)
class Judge:
    """One forest of those whose mean is the score.

    Attributes:
        name: unique name.
        arm: "values" if it sees only the sample's values, "gradients" if it sees all features.
        link: one of `LINKS`; what the sum of a sample's leaves is.
        offset: added to this sum.
    """

    name: str
    arm: str
    link: str = "probability"
    offset: float = 0.0


@keras.saving.register_keras_serializable("r2ad2")
class GradientForest(ComposedModel):
    """Scores samples with decision trees over their values, gradient norms and residuals.

    Args:
        features: computes what the trees see.
        forest: the trees of all judges with link "probability".
        shallow: those of the other judges, which are less deep; None if there are none.
        judges: settings of each forest, in the order of the trees; see `Judge`.
        importances: importance of each feature; sums to 1.
        name: name of the model.
    """

    PARTS = ("features", "forest", "shallow")
    SETTINGS = ("judges", "importances")

    def __init__(
        self,
        features: GradientFeatures,
        forest: TreeEnsemble,
        shallow: TreeEnsemble | None,
        judges: Sequence[dict[str, Any]],
        importances: Sequence[float],
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.features = features
        self.forest = forest
        self.shallow = shallow
        self.judges = [dict(judge) for judge in judges]
        self.importances = [float(number) for number in importances]
        self.build(None)

    @property
    def n_features(self) -> int:
        """Number of features that the trees see."""
        return self.features.size

    @property
    def working_bytes(self) -> int:
        """Estimate of the memory that scoring one sample uses, in bytes."""
        ensembles = [self.forest, *([self.shallow] if self.shallow else [])]
        return self.features.working_bytes + 40 * sum(sum(part.n_trees) for part in ensembles)

    def call(self, x: Any, training: bool = False) -> tf.Tensor:
        """Compute anomaly scores (batch, 1) in [0, 1] of samples (batch, ...)."""
        return self.score_features(self.features(x))

    def score_features(self, features: tf.Tensor) -> tf.Tensor:
        """Compute scores (batch, 1) from the trees' features (batch, features)."""
        scores = tf.reduce_sum(self.arm_scores(features), axis=1, keepdims=True)
        return tf.cast(scores, tf.float32)

    def arm_scores(self, features: tf.Tensor) -> tf.Tensor:
        """Compute what each of `ARMS` adds to the score: float64 (batch, arms)."""
        judges = [Judge(**settings) for settings in self.judges]
        sums = self.forest(features)
        if self.shallow is not None:
            sums = tf.concat([sums, self.shallow(features)], axis=1)
        scores = tf.stack(
            [
                LINKS[judge.link](leaves + judge.offset)
                for judge, leaves in zip(judges, tf.unstack(sums, axis=1), strict=True)
            ],
            axis=1,
        )
        shares = np.array([[j.arm == arm for arm in ARMS] for j in judges]) / len(judges)
        return tf.matmul(scores, shares)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """Return the shape of the scores: (batch, 1)."""
        return (input_shape[0], 1)
