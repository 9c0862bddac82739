"""GradCon: how far a sample's gradients point away from those of the training."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from baselines.scores import SquashedScorer
from r2ad2.artefact.composed import ComposedModel
from r2ad2.detectors.trained import AutoencoderDetector, draw_seeds, uncompiled
from r2ad2.gradients import PerSampleGradients
from r2ad2.gradients.blocks import Block
from r2ad2.networks.autoencoder import code_layer
from r2ad2.serving.onnx.gradients import block_gradients
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, register_converter
from r2ad2.support.keras_internals import loss_tracker
from r2ad2.support.sklearn_internals import Interval
from r2ad2.training.batches import bounded_batch_size, shuffled_batches
from r2ad2.training.loop import Training

# Square of the length that shorter vectors count as.
_SHORTEST = 1e-12


def decoder_kernels(autoencoder: keras.Model) -> list[int]:
    """Find the trainable kernels behind the code layer, as positions in the model's weights."""
    layers = autoencoder.layers
    decoder = layers[layers.index(code_layer(autoencoder)) + 1 :]
    kernels = {
        id(weight)
        for layer in decoder
        for weight in layer.trainable_weights
        if len(weight.shape) > 1
    }
    return [i for i, weight in enumerate(autoencoder.weights) if id(weight) in kernels]


def cosine_similarity(gradients: tf.Tensor, references: tf.Tensor) -> tf.Tensor:
    """Compute the cosines (batch,) of gradients (batch, n) to one reference (n,).

    Vectors shorter than 1e-6 count as if they were that long: there is none to a vector of zeros.
    """
    directions = tf.math.l2_normalize(gradients, axis=-1, epsilon=_SHORTEST)
    return tf.linalg.matvec(directions, tf.math.l2_normalize(references, epsilon=_SHORTEST))


@keras.saving.register_keras_serializable("r2ad2")
class GradCon(ComposedModel):
    """An autoencoder whose decoder's gradients are kept to one direction while it is trained.

    `fit` takes normal samples alone; calling the model gives raw scores (batch, 1): the mean
    squared reconstruction error minus `score_weight` times the `alignment` of the sample.

    Args:
        autoencoder: a functional or sequential autoencoder; it is trained in place.
        kernels: positions of the decoder's kernels in its weights; None looks for them.
        gradient_weight: weight of the alignment in the loss.
        score_weight: weight of the alignment in the score.
        name: name of the model.

    Attributes:
        average: the mean over all training steps of the decoder kernels' gradients (n,).
        n_steps: the number of these steps.

    Source: Kwon et al., "Backpropagated Gradient Representations for Anomaly Detection", ECCV 2020.
    """

    PARTS = ("autoencoder",)
    SETTINGS = ("kernels", "gradient_weight", "score_weight")

    def __init__(
        self,
        autoencoder: keras.Model,
        *,
        kernels: Sequence[int] | None = None,
        gradient_weight: float = 0.03,
        score_weight: float = 0.12,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.autoencoder = autoencoder
        self.kernels = tuple(decoder_kernels(autoencoder) if kernels is None else kernels)
        self.gradient_weight = gradient_weight
        self.score_weight = score_weight
        self._decoder = [autoencoder.weights[i] for i in self.kernels]
        self._engine = PerSampleGradients(
            autoencoder, loss="mean_squared_error", weights=self._decoder
        )
        self._sizes = [part.stop - part.start for part in self._engine.names.values()]
        self.average, self.n_steps = (
            self.add_weight(
                shape=shape,
                initializer="zeros",
                dtype=self._engine.dtype,
                trainable=False,
                name=name,
            )
            for name, shape in [("average", (self._engine.size,)), ("n_steps", ())]
        )
        self._reconstruction_loss = keras.metrics.Mean(name="reconstruction_loss")
        self._alignment = keras.metrics.Mean(name="alignment")
        self.build(None)

    @property
    def working_bytes(self) -> int:
        """Estimate of the memory needed to score one sample, in bytes."""
        return 4 * (2 * self._engine.size + 2 * self._engine.n_activations)

    @property
    def gradient_blocks(self) -> list[Block]:
        """The decoder's kernels whose gradients are compared."""
        return self._engine.blocks

    def alignment(self, gradients: tf.Tensor) -> tf.Tensor:
        """Compute the mean over the kernels of their cosines (batch,) to the average.

        Args:
            gradients: gradients of the kernels, flattened and concatenated (batch, n).
        """
        kernels = tf.split(gradients, self._sizes, axis=1)
        averages = tf.split(self.average.value, self._sizes)
        cosines = [cosine_similarity(*pair) for pair in zip(kernels, averages, strict=True)]
        return tf.add_n(cosines) / len(cosines)

    def call(self, x: Any, training: bool = False) -> tf.Tensor:
        """Compute raw scores (batch, 1) of samples (batch, ...)."""
        x = self._engine.check(x)
        errors = self._engine.loss(x, self.autoencoder(x, training=training))
        return (errors - self.score_weight * self.alignment(self._engine(x)))[:, tf.newaxis]

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Make one step on a batch of samples, and add its gradients to their average.

        The loss is the reconstruction error minus `gradient_weight` times the alignment of the
        decoder's gradients of that error; in the first step the average, and with it the
        alignment, is zero. As in the published code the gradients of the whole loss are averaged.
        """
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        weights = self.trainable_weights
        kernels = [kernel.value for kernel in self._decoder]
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner_tape:
                error = tf.reduce_mean(self._engine.loss(x, self.autoencoder(x, training=True)))
            alignment = self.alignment(_flat(inner_tape.gradient(error, kernels)))[0]
            loss = error - self.gradient_weight * alignment
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        self.optimizer.apply(gradients, weights)

        found = {id(weight): g for weight, g in zip(weights, gradients, strict=True)}
        change = _flat([found[id(kernel)] for kernel in self._decoder])[0] - self.average
        self.n_steps.assign_add(1.0)
        self.average.assign_add(change / self.n_steps)

        n_samples = tf.shape(x)[0]
        for tracker, value in [
            (loss_tracker(self), loss),
            (self._reconstruction_loss, error),
            (self._alignment, alignment),
        ]:
            tracker.update_state(value, sample_weight=n_samples)
        return self.get_metrics_result()


def _flat(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Flatten and concatenate gradients of any shapes: (1, n)."""
    return tf.concat([tf.reshape(gradient, (1, -1)) for gradient in gradients], axis=1)


@register_converter(GradCon)
class GradConConverter(Converter):
    """The same as ONNX operations."""

    def forward(self, call: Call) -> Tensor:
        """Write the raw scores (batch, 1)."""
        model, x = call.layer, call.input
        gradients, outputs = block_gradients(
            call.graph, [model.autoencoder], x, "mean_squared_error", model.gradient_blocks
        )
        n_values = math.prod(x.sample_shape)
        errors = (x - outputs).reshape((n_values,)).sum_squares() * (1.0 / n_values)
        ends = np.cumsum([block.size for block in model.gradient_blocks])
        cosines = [
            (gradient.flat() @ _direction(reference)[:, np.newaxis])
            / gradient.squared_norm().clip(_SHORTEST, np.inf).unary("Sqrt")
            for gradient, reference in zip(
                gradients, np.split(model.average.numpy(), ends[:-1]), strict=True
            )
        ]
        total = sum(cosines[1:], cosines[0])
        return errors - total * (model.score_weight / len(cosines))


def _direction(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt(max(np.sum(np.square(vector)), _SHORTEST))


class GradConDetector(AutoencoderDetector):
    """Gradient constraint: an autoencoder's error and its gradients' direction; unsupervised.

    Learns from normal samples only. The score is squashed to [0, 1] so that 99 % of the normal
    training samples score 0.5 or less.

    Args:
        gradient_weight: weight of the gradients' alignment in the training loss.
        score_weight: weight of the gradients' alignment in the score.
        architecture: "40-20-10" (dense), "8C3-8C3-8" (convolutional), a built autoencoder (its
            weights are copied, then trained), or "auto": chosen for the input's shape.
        dropout: rate in [0, 1) in the autoencoder.
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

    Source: Kwon et al., "Backpropagated Gradient Representations for Anomaly Detection", ECCV 2020.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **AutoencoderDetector._parameter_constraints,
        "gradient_weight": [Interval(Real, 0, None, closed="left")],
        "score_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        gradient_weight: float = 0.03,
        score_weight: float = 0.12,
        architecture: str | keras.Model = "auto",
        dropout: float = 0.4,
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
        self.architecture = architecture
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.gradient_weight = gradient_weight
        self.score_weight = score_weight

    @property
    def _scoring_batch_size(self) -> int:
        return bounded_batch_size(self.model_.scorer.working_bytes)

    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        training: Training,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        network_seed, order_seed = draw_seeds(random, 2)
        normal = x[y == 0]
        model = GradCon(
            self._make_autoencoder(x.shape[1:], network_seed),
            gradient_weight=self.gradient_weight,
            score_weight=self.score_weight,
        )
        model.compile(keras.optimizers.Adam(self.learning_rate))
        batches = functools.partial(
            shuffled_batches, [normal], self._samples_per_step(len(normal)), order_seed
        )
        losses = training.fit(model, batches, [("autoencoder", self.epochs)])
        return SquashedScorer.fitted(uncompiled(model), normal), {"autoencoder": losses}
