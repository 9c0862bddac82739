"""The plain formulation of R2-AD2, written down as in the paper, from Keras' own parts.

`R2AD2` does the same arithmetic with less work. Benchmarks compare it with this model, and tests
hold both equal.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from r2ad2.gradients import PerSampleGradients
from r2ad2.networks.alarm import build_normalization
from r2ad2.networks.model import R2AD2


def _plain_alarm_network(model: R2AD2) -> keras.Sequential:
    """Build the alarm network of a model from Keras' own layers, with the same weights."""
    n_recurrent = min(2, len(model.alarm_units)) if len(model.snapshots) > 1 else 0
    dtype = model.alarm_dtype
    alarm = keras.Sequential([keras.Input(model.alarm.input_shape[1:])])
    for i, width in enumerate(model.alarm_units):
        if i < n_recurrent:
            alarm.add(layers.Dropout(model.dropout, dtype=dtype))
            alarm.add(layers.LSTM(width, return_sequences=i + 1 < n_recurrent, dtype=dtype))
        else:
            alarm.add(layers.Dense(width, activation="relu", dtype=dtype))
            alarm.add(layers.Dropout(model.dropout, dtype=dtype))
    alarm.add(layers.Dense(1, activation="sigmoid", dtype="float32"))
    alarm.set_weights(model.alarm.get_weights())
    return alarm


class PlainR2AD2(keras.Model):
    """R2-AD2 with one tape per sample, Keras' LSTM and Adam, and one pass per kind of sample.

    Args:
        model: gives the settings, the snapshots, and a copy of its weights; raw gradients only.
    """

    def __init__(self, model: R2AD2):
        super().__init__()
        self.snapshots = model.snapshots
        self.noise_mean, self.noise_std = model.noise_mean, model.noise_std
        self.alarm = _plain_alarm_network(model)
        self.normalization = build_normalization(len(model.snapshots))
        self.normalization.build(self.alarm.input_shape)
        self.normalization.set_weights(model.normalization.get_weights())
        self._engines = [
            PerSampleGradients(
                snapshot,
                loss=model.reconstruction_loss,
                method="vectorized_map",
                weights=[snapshot.weights[i] for i in model.gradient_weights],
            )
            for snapshot in self.snapshots
        ]
        self._crossentropy = keras.losses.BinaryCrossentropy()
        # Compiled, like the gradients of `R2AD2`.
        self.gradients = tf.function(self._stacked_gradients, autograph=False)

    def _stacked_gradients(self, x: tf.Tensor) -> tf.Tensor:
        """Map one tape over the samples for each snapshot, then stack the snapshots."""
        return tf.stack([engine(x) for engine in self._engines], axis=1)

    def _alarm_inputs(self, x: tf.Tensor) -> tf.Tensor:
        gradients = self.gradients(x)
        return gradients if len(self.snapshots) > 1 else gradients[:, 0]

    def sample_synthetic_anomalies(self, x: tf.Tensor) -> tf.Tensor:
        """Draw counterexamples of the shape of x."""
        return tf.random.normal(tf.shape(x), self.noise_mean, self.noise_std, x.dtype)

    def call(self, x: Any, training: bool = False) -> tf.Tensor:
        """Compute anomaly scores (batch, 1) in [0, 1] of samples."""
        normalized = self.normalization(self._alarm_inputs(x), training=training)
        return self.alarm(normalized, training=training)

    def compile(self, learning_rate: float = 1e-3) -> None:
        """Configure the training: two Adam optimisers, for the alarm network and normalisation."""
        self.normalization_optimizer = keras.optimizers.Adam(learning_rate)
        super().compile(keras.optimizers.Adam(learning_rate), self._crossentropy)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Make the steps of Algorithm 1 one by one.

        Returns:
            The losses of this step.
        """
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y = tf.reshape(y, (-1, 1))
        gradients = self._alarm_inputs(x)
        synthetic = self._alarm_inputs(self.sample_synthetic_anomalies(x))
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
        return {
            "loss": loss,
            "training_loss": training_loss,
            "synthetic_loss": synthetic_loss,
            "normalization_loss": normalization_loss,
        }
