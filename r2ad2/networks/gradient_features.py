"""What the trees of a gradient forest see: values, gradient norms and residuals of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2ad2.artefact.composed import ComposedModel
from r2ad2.networks.gradient_norms import GradientNorms, double_precision_copy


@keras.saving.register_keras_serializable("r2ad2")
class GradientFeatures(ComposedModel):
    """Computes features of samples from autoencoder snapshots.

    The features are, in this order: the sample's values; for each snapshot and layer the logarithm
    of the norm of the per-sample gradient of the reconstruction loss; and the residual of the last
    snapshot.

    Args:
        snapshots: K autoencoders of one architecture; copies that compute in double precision are
            kept.
        gradient_weights: positions, in a snapshot's weights, of those whose gradient is used.
        squashed: whether the autoencoder sees ``sigmoid((x - center) / scale)`` instead of the
            sample: heavy tails, and features that are not limited to [0, 1], cannot dominate it.
        name: name of the model.

    Attributes:
        center: float64, shape of a sample; only if `squashed`.
        scale: float64, shape of a sample; only if `squashed`.
        norms: computes the gradients' norms.
        layer_names: names of the autoencoder's layers.
        sample_shape: shape of a sample.
        n_values: number of values of a sample.
        norm_positions: positions (K, layers) of the gradient norms among the features.
        residual_positions: positions (values,) of the residual.
        size: number of features.
    """

    PARTS = ("snapshots",)
    SETTINGS = ("gradient_weights", "squashed")

    def __init__(
        self,
        snapshots: Sequence[keras.Model],
        gradient_weights: Sequence[int],
        squashed: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.snapshots = [
            double_precision_copy(snapshot, f"snapshot_{k}") for k, snapshot in enumerate(snapshots)
        ]
        self.gradient_weights = [int(i) for i in gradient_weights]
        self.squashed = squashed
        self.norms = GradientNorms(self.snapshots, self.gradient_weights)
        self.layer_names = self.norms.layers
        self.sample_shape = tuple(int(n) for n in self.snapshots[0].input_shape[1:])
        self.n_values = int(np.prod(self.sample_shape))
        shape = (len(self.snapshots), len(self.layer_names))
        self.norm_positions = self.n_values + np.arange(np.prod(shape)).reshape(shape)
        first = self.n_values + self.norm_positions.size
        self.size = first + self.n_values
        self.residual_positions = np.arange(first, self.size)
        if squashed:
            self.center = self._per_value("center", "zeros")
            self.scale = self._per_value("scale", "ones")
        self.build(None)

    def _per_value(self, name: str, initializer: str) -> keras.Variable:
        return self.add_weight(
            shape=self.sample_shape,
            dtype="float64",
            initializer=initializer,
            trainable=False,
            name=name,
        )

    @property
    def working_bytes(self) -> int:
        """Estimate of the memory that one sample's computation uses, in bytes."""
        return self.norms.working_bytes + 12 * self.size

    def call(self, x: Any, training: bool = False) -> tf.Tensor:
        """Compute the features, float32 (batch, features), of samples (batch, ...)."""
        x = tf.ensure_shape(tf.convert_to_tensor(x), (None, *self.sample_shape))
        inputs = tf.cast(x, tf.float64)
        if self.squashed:
            inputs = tf.sigmoid((inputs - self.center) / self.scale)
        norms, reconstruction = self.norms(inputs)
        residual = inputs - tf.cast(reconstruction, tf.float64)
        n_samples = tf.shape(x)[0]
        parts = [
            (x, self.n_values),
            (norms, self.norm_positions.size),
            (residual, self.n_values),
        ]
        return tf.concat(
            [tf.cast(tf.reshape(part, (n_samples, n)), tf.float32) for part, n in parts], axis=1
        )

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """Return the shape of the features: (batch, features)."""
        return (input_shape[0], self.size)
