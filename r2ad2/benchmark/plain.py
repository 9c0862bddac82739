"""The plain formulation of R2-AD2, written down as the publication has it.

`R2AD2` does the same arithmetic with less work. This is what it is measured against, and what tests
hold it equal to.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from r2ad2.networks.model import R2AD2


class PlainR2AD2(R2AD2):
    """R2AD2 with one tape per sample, Keras' own LSTM and Adam, and one pass per kind of sample.

    Takes the same arguments as `R2AD2` and has the same weights; raw gradients only.
    """

    _recurrent_layer = keras.layers.LSTM
    _optimizer_type = keras.optimizers.Adam

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **(kwargs | {"gradient_method": "vectorized_map"}))

    def _compute_gradients(self, x: tf.Tensor) -> tf.Tensor:
        """Map one tape over the samples for each snapshot, then stack the snapshots."""
        return tf.stack([engine(x) for engine in self._engines], axis=1)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Make the steps of Algorithm 1 one by one."""
        x, y, sample_weight = self._unpack(data)
        gradients = self.time_steps(x)
        synthetic = self.time_steps(self.sample_synthetic_anomalies(x))
        with tf.GradientTape() as tape:
            normalized = self.normalization(gradients, training=False)
            scores = self.alarm(normalized, training=True)
            normalized = self.normalization(synthetic, training=False)
            synthetic_scores = self.alarm(normalized, training=True)
            training_loss = self._crossentropy(y, scores, sample_weight)
            synthetic_loss = self._crossentropy(tf.ones_like(y), synthetic_scores)
            loss = training_loss + synthetic_loss
        weights = self.alarm.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        with tf.GradientTape() as tape:
            scores_again = self.alarm(self.normalization(gradients, training=True), training=False)
            normalization_loss = self._crossentropy(y, scores_again, sample_weight)
        weights = self.normalization.trainable_variables
        self.normalization_optimizer.apply(tape.gradient(normalization_loss, weights), weights)
        losses = (loss, training_loss, synthetic_loss, normalization_loss)
        self._track(losses, tf.shape(x)[0])
        return self.compute_metrics(x, y, scores, sample_weight)
