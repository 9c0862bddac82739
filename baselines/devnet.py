"""DevNet: a network that learns anomaly scores by their deviation from a normal distribution."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers, ops

from baselines.labels import require_known_anomalies
from baselines.scores import SquashedScorer
from r2ad2.detectors.trained import NetworkDetector, draw_seeds, uncompiled
from r2ad2.networks.snapshots import trainable_copy
from r2ad2.support.sklearn_internals import Interval
from r2ad2.training.loop import Training


def deviation_loss(y: Any, scores: Any, reference: Any, margin: float = 5.0) -> Any:
    """Compute each sample's deviation loss.

    Args:
        y: labels (batch, 1), 1 = known anomaly.
        scores: raw scores (batch, 1).
        reference: scores (n,) of the prior.
        margin: how far anomalies should score above the reference, in standard deviations.

    Returns:
        (batch, 1): the absolute deviation of an unlabelled sample, what an anomaly lacks to the
        margin; the deviation is counted in standard deviations from the reference's mean.
    """
    y = ops.cast(y, scores.dtype)
    deviation = (scores - ops.mean(reference)) / ops.std(reference)
    return (1 - y) * ops.absolute(deviation) + y * ops.relu(margin - deviation)


def balanced_batches(
    x: np.ndarray,
    y: np.ndarray,
    batch_size: int,
    seed: int,
    batches_per_epoch: int | None = None,
    first_epoch: int = 0,
) -> tuple[tf.data.Dataset, int]:
    """Make an endless pipeline of batches of half unlabelled samples, half known anomalies.

    Both halves are drawn with replacement, so that a single anomaly is enough.

    Args:
        x: samples (n, ...).
        y: labels (n,), 1 = known anomaly.
        batch_size: samples per batch, 2 at least; of an odd number the unlabelled half is larger.
        seed: decides all draws, together with the number of the batch.
        batches_per_epoch: by default as many as have as many samples as there are.
        first_epoch: number of the epoch with which to begin.

    Returns:
        The pipeline of samples and labels (batch, 1), and the number of batches of one epoch.
    """
    groups = [tf.constant(np.flatnonzero(y == label)) for label in (0, 1)]
    sizes = [max(batch_size - batch_size // 2, 1), max(batch_size // 2, 1)]
    samples = tf.constant(x)
    labels = tf.constant(np.repeat([[0.0], [1.0]], sizes, axis=0), tf.float32)

    def batch(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = [
            tf.gather(
                group,
                tf.random.stateless_uniform(
                    [size], [seed + label, number], maxval=len(group), dtype=tf.int64
                ),
            )
            for label, (group, size) in enumerate(zip(groups, sizes, strict=True))
        ]
        return tf.gather(samples, tf.concat(drawn, axis=0)), labels

    steps = batches_per_epoch or math.ceil(len(x) / batch_size)
    numbers = tf.data.Dataset.counter(first_epoch * steps)
    return numbers.map(batch).prefetch(tf.data.AUTOTUNE), steps


class DevNetDetector(NetworkDetector):
    """Deviation network: scores of anomalies are to stand out from a standard normal distribution.

    Needs at least one known anomaly. Images are flattened, unless `feature_network` says otherwise.
    The score is the network's output, squashed to [0, 1] so that 99 % of the normal training
    samples score 0.5 at most.

    Args:
        hidden_units: sizes of the hidden layers (ReLU).
        weight_decay: factor of the hidden kernels' squares in the loss.
        margin: how far anomalies should score above the reference scores, in standard deviations.
        n_reference: reference scores drawn from N(0, 1) for each batch.
        batches_per_epoch: steps of an epoch, 20 as in the method's own code (which trains for 50
            epochs of batches of 512); None makes an epoch as long as one pass over the samples is.
        feature_network: a built Keras model from samples to features (batch, ...), in place of the
            flattened samples; its weights are copied, then trained.
        epochs: epochs of each phase of the training.
        batch_size: samples per training step; "auto" uses about an eightieth of the samples, up to
            512.
        learning_rate: of all optimisers.
        false_positive_rate: from here on, see `DetectorParameters`. Share of fresh
            normal samples that may be flagged, on average.
        contamination: share of the training samples to flag.
        calibration_fraction: share of the normal samples that is held back for calibration.
        missing: "error" or "indicator".
        anomaly_label: the label that means anomaly.
        checkpoint_dir: directory that keeps the state of the training.
        random_state: int, RandomState or None; seed or generator of all randomness.
        verbose: 0 or 1.

    Source: Pang et al., "Deep Anomaly Detection with Deviation Networks", KDD 2019.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NetworkDetector._parameter_constraints,
        "hidden_units": ["array-like"],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "margin": [Interval(Real, 0, None, closed="neither")],
        "n_reference": [Interval(Integral, 2, None, closed="left")],
        "batches_per_epoch": [Interval(Integral, 1, None, closed="left"), None],
        "feature_network": [keras.Model, None],
    }

    def __init__(
        self,
        *,
        hidden_units: Sequence[int] = (20,),
        weight_decay: float = 0.01,
        margin: float = 5.0,
        n_reference: int = 5000,
        batches_per_epoch: int | None = 20,
        feature_network: keras.Model | None = None,
        epochs: int = 100,
        batch_size: int | str = 512,
        learning_rate: float = 1e-3,
        false_positive_rate: float | None = None,
        contamination: float | None = None,
        calibration_fraction: float = 0.1,
        missing: str = "error",
        anomaly_label: Any = None,
        checkpoint_dir: str | os.PathLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        super().__init__(
            false_positive_rate=false_positive_rate,
            contamination=contamination,
            calibration_fraction=calibration_fraction,
            missing=missing,
            anomaly_label=anomaly_label,
            checkpoint_dir=checkpoint_dir,
            random_state=random_state,
            verbose=verbose,
        )
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.hidden_units = hidden_units
        self.weight_decay = weight_decay
        self.margin = margin
        self.n_reference = n_reference
        self.batches_per_epoch = batches_per_epoch
        self.feature_network = feature_network

    def _make_network(self, sample_shape: Sequence[int], seed: int) -> keras.Model:
        """Make the network from samples to raw scores (batch, 1)."""
        seeds = iter(np.random.default_rng(seed).integers(2**31, size=len(self.hidden_units) + 1))
        inputs = outputs = keras.Input(sample_shape)
        if self.feature_network is not None:
            outputs = trainable_copy(self.feature_network)(outputs)
        outputs = layers.Flatten()(outputs)
        for width in self.hidden_units:
            outputs = layers.Dense(
                width,
                activation="relu",
                kernel_initializer=keras.initializers.GlorotUniform(int(next(seeds))),
                kernel_regularizer=keras.regularizers.L2(self.weight_decay),
            )(outputs)
        initializer = keras.initializers.GlorotUniform(int(next(seeds)))
        outputs = layers.Dense(1, kernel_initializer=initializer, name="score")(outputs)
        return keras.Model(inputs, outputs)

    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        training: Training,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        require_known_anomalies("DevNet", y)
        network_seed, order_seed, reference_seed = draw_seeds(random, 3)
        model = self._make_network(x.shape[1:], network_seed)
        draws = keras.random.SeedGenerator(reference_seed)

        def loss(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
            reference = keras.random.normal((self.n_reference,), seed=draws)
            return deviation_loss(labels, scores, reference, self.margin)

        # The method's own code clips the norm of all gradients together.
        model.compile(keras.optimizers.RMSprop(self.learning_rate, global_clipnorm=1.0), loss=loss)
        batches = functools.partial(
            balanced_batches,
            x,
            y,
            self._samples_per_step(len(x)),
            order_seed,
            self.batches_per_epoch,
        )
        losses = training.fit(model, batches, [("network", self.epochs)], variables=[draws.state])
        return SquashedScorer.fitted(uncompiled(model), x[y == 0]), {"network": losses}
