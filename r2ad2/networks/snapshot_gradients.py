"""Gradients of all snapshots side by side: what the alarm network sees of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from r2ad2.gradients import GradientSketch, PerSampleGradients
from r2ad2.gradients.blocks import Block, components_of_layers
from r2ad2.training.replicas import n_devices


class SnapshotGradients:
    """Computes the gradients (batch, K, G) of K snapshots, raw or sketched.

    Args:
        snapshots: K autoencoders of one architecture.
        weights: positions, in a snapshot's weights, of those to differentiate with respect to.
        loss: Keras reconstruction loss.
        method: see `PerSampleGradients`.
        sketch: settings of a `GradientSketch` without its shapes; None keeps the raw gradient.

    Attributes:
        sketch: the sketch's random matrices, shared by all snapshots; None for the raw gradient.
        n_features: G, the number of gradient components or of the sketch's.
    """

    def __init__(
        self,
        snapshots: Sequence[keras.Model],
        weights: Sequence[int],
        loss: str,
        method: str,
        sketch: dict[str, Any] | None = None,
    ):
        self._engines = [
            PerSampleGradients(
                snapshot, loss=loss, method=method, weights=[snapshot.weights[i] for i in weights]
            )
            for snapshot in snapshots
        ]
        blocks = self._engines[0].blocks
        self.sketch = (
            None
            if sketch is None
            else GradientSketch([(block.rows, block.columns) for block in blocks], **sketch)
        )
        self.n_features = self.sketch.output_size if self.sketch else self._engines[0].size
        inputs = snapshots[0].inputs[0]
        self._function = tf.function(
            self._compute,
            input_signature=[tf.TensorSpec(snapshots[0].input_shape, inputs.dtype)],
            autograph=False,
        )

    @property
    def blocks(self) -> list[Block]:
        """Blocks of the first snapshot's weights."""
        return self._engines[0].blocks

    @property
    def layer_components(self) -> dict[str, list[int]]:
        """Which of the `n_features` components belong to each of the autoencoder's layers."""
        largest = self.sketch.size if self.sketch else None
        return components_of_layers(self._engines[0].blocks, largest)

    @property
    def result_bytes(self) -> int:
        """Memory of one sample's gradients, in bytes."""
        itemsize = tf.as_dtype(self._engines[0].dtype).size
        return itemsize * len(self._engines) * self.n_features

    @property
    def working_bytes(self) -> int:
        """Estimate of the memory that one sample's gradients and their computation use, in bytes.

        Besides the gradients these are the activations and their deltas and, for convolutions, the
        raw gradients: only for dense layers does a sketch avoid those.
        """
        engine = self._engines[0]
        is_image = len(engine.model.input_shape) > 2
        formed = engine.size if is_image or not self.sketch else 0
        return self.result_bytes + 4 * len(self._engines) * (formed + 2 * engine.n_activations)

    def check(self, x: Any) -> tf.Tensor:
        """Convert samples (batch, ...) to a tensor of the snapshots' type.

        Raises:
            ValueError: if the samples do not have the snapshots' input shape.
        """
        return self._engines[0].check(x)

    def __call__(self, x: Any) -> tf.Tensor:
        """Compute the gradients (batch, K, G) of samples (batch, ...)."""
        x = self.check(x)
        if x.shape[0] == 0:  # TensorFlow's pooling kernels fail on empty batches
            return tf.zeros((0, len(self._engines), self.n_features), self._engines[0].dtype)
        return self._function(x)

    def _compute(self, x: tf.Tensor) -> tf.Tensor:
        if n_devices() == 1:
            return self._compute_some(x)
        # A device may get no sample of an epoch's last batch, but pooling kernels need one.
        padded = tf.concat([x, tf.zeros((1, *x.shape[1:]), x.dtype)], axis=0)
        return self._compute_some(padded)[:-1]

    def _compute_some(self, x: tf.Tensor) -> tf.Tensor:
        """Compute the gradients of at least one sample."""
        pieces: list[tf.Tensor] = []
        for engine in self._engines:
            blocks = engine.block_gradients(x)
            if self.sketch is None:
                pieces += [block.flat() for block in blocks]
            else:
                pieces += self.sketch.project(blocks)
        # One copy puts all pieces in place.
        together = tf.concat([tf.cast(p, self._engines[0].dtype) for p in pieces], axis=1)
        return tf.reshape(together, (tf.shape(x)[0], len(self._engines), self.n_features))
