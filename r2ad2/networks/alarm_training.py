"""How normalisation and alarm network are trained: Algorithm 1 as a Keras training step."""

from __future__ import annotations

import abc
from typing import Any

import keras
import tensorflow as tf

from r2ad2.gradients import GradientSketch
from r2ad2.networks.adam import FusedAdam
from r2ad2.support.keras_internals import ReplicatedModel, loss_tracker
from r2ad2.training.replicas import mean_on_replica, share_of_batch


class AlarmTraining(ReplicatedModel):
    """A Keras model whose `fit` trains a normalisation and an alarm network by Algorithm 1.

    Subclasses build the networks; training never touches the snapshots behind `alarm_inputs`.

    Attributes:
        normalization: the batch normalisation of gradients.
        alarm: the alarm network, from normalised gradients to scores (batch, 1).
        sketch: trained along with the alarm network if it is trainable; None without a sketch.

    Source: R2-AD2 (ECML-PKDD 2022), Algorithm 1 and equations 2 and 3.
    """

    normalization: keras.layers.Layer
    alarm: keras.Sequential
    sketch: GradientSketch | None

    def __init__(self, name: str | None = None):
        super().__init__(name=name)
        self._training_loss = keras.metrics.Mean(name="training_loss")
        self._synthetic_loss = keras.metrics.Mean(name="synthetic_loss")
        self._normalization_loss = keras.metrics.Mean(name="normalization_loss")
        self._crossentropy = keras.losses.BinaryCrossentropy()

    # ---- what subclasses define -----------------------------------------------------------

    @abc.abstractmethod
    def check_samples(self, x: Any) -> tf.Tensor:
        """Convert samples (batch, ...) to a tensor of the model's type."""

    @abc.abstractmethod
    def sample_synthetic_anomalies(self, x: tf.Tensor) -> tf.Tensor:
        """Draw counterexamples of the shape of x."""

    @abc.abstractmethod
    def alarm_inputs(self, x: Any) -> tf.Tensor:
        """Compute what the normalisation takes from samples, or from samples with gradients."""

    # ---- scores ---------------------------------------------------------------------------

    def _scores(self, gradients: tf.Tensor, *, normalize: bool, drop: bool) -> tf.Tensor:
        """Compute scores (batch, 1) from `alarm_inputs`.

        Args:
            gradients: result of `alarm_inputs`.
            normalize: whether the batch's own statistics normalise it, instead of the moving ones.
            drop: whether dropout is on.
        """
        return self.alarm(self.normalization(gradients, training=normalize), training=drop)

    # ---- compilation ----------------------------------------------------------------------

    def compile(
        self,
        learning_rate: Any = 1e-3,
        *,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = False,
    ) -> None:
        """Configure the training: two Adam optimisers, for the alarm network and normalisation.

        Args:
            learning_rate: number or Keras learning-rate schedule, for both optimisers.
            metrics: Keras metrics of scores and labels.
            weighted_metrics: the same, weighted by sample and class weights.
            run_eagerly: run steps without a graph, for debugging.
            steps_per_execution: batches per call of the compiled step.
            jit_compile: compile steps with XLA; "auto" leaves the choice to Keras.
        """
        arguments = {
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
        }
        self._compile_arguments = {
            key: keras.saving.serialize_keras_object(value)
            for key, value in (arguments | {"learning_rate": learning_rate}).items()
        }
        optimizer, self.normalization_optimizer = (FusedAdam(learning_rate) for _ in range(2))
        super().compile(optimizer=optimizer, loss=self._crossentropy, **arguments)
        self.optimizer.build(self._alarm_variables)
        self.normalization_optimizer.build(self.normalization.trainable_variables)

    @property
    def _alarm_variables(self) -> list[keras.Variable]:
        """What the alarm network's optimiser trains: its weights, and a trainable sketch."""
        return self.alarm.trainable_variables + (
            self.sketch.trainable_variables if self.sketch else []
        )

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`, serialised."""
        return dict(self._compile_arguments) if self.compiled else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with `get_compile_config`'s result."""
        self.compile(
            **{key: keras.saving.deserialize_keras_object(value) for key, value in config.items()}
        )

    # ---- steps ----------------------------------------------------------------------------

    def _unpack(self, data: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Split a batch into samples, labels (batch, 1) and sample weights."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        shape = (tf.shape(tf.nest.flatten(x)[0])[0], 1)
        y = tf.zeros(shape) if y is None else tf.reshape(tf.cast(y, tf.float32), shape)
        return x, y, sample_weight

    def _inputs_with_synthetic(self, x: Any, samples: tf.Tensor) -> tf.Tensor:
        """Compute `alarm_inputs` of samples, then those of as many synthetic anomalies."""
        given = x if isinstance(x, dict) else {}
        if "synthetic_gradients" in given:
            synthetic = {"gradients": given["synthetic_gradients"]}
            return tf.concat([self.alarm_inputs(x), self.alarm_inputs(synthetic)], axis=0)
        drawn = tf.cast(self.sample_synthetic_anomalies(samples), samples.dtype)
        if "gradients" in given:
            return tf.concat([self.alarm_inputs(x), self.alarm_inputs(drawn)], axis=0)
        return self.alarm_inputs(tf.concat([samples, drawn], axis=0))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Make one step of Algorithm 1 on a batch of samples and labels.

        1. Draw as many synthetic anomalies as there are samples, unless their gradients are given.
        2. Update the alarm network by the losses of samples and synthetic anomalies (equation 2);
           the normalisation uses its moving statistics.
        3. Update the normalisation, moving statistics included, by the loss of the samples alone
           (equation 3) under the updated alarm network without dropout.
        """
        x, y, sample_weight = self._unpack(data)
        samples = self.check_samples(x["x"] if isinstance(x, dict) else x)
        n_samples = tf.shape(samples)[0]
        alarm_weights = self._alarm_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([weight.value for weight in alarm_weights])
            # Samples and synthetic anomalies go through the networks together.
            gradients = self._inputs_with_synthetic(x, samples)
            all_scores = self._scores(gradients, normalize=False, drop=True)
            scores, synthetic_scores = all_scores[:n_samples], all_scores[n_samples:]
            training_loss = self._mean_loss(y, scores, sample_weight)
            synthetic_loss = self._mean_loss(tf.ones_like(y), synthetic_scores)
            loss = training_loss + synthetic_loss
            minimized = share_of_batch(loss, n_samples)
        self.optimizer.apply(tape.gradient(minimized, alarm_weights), alarm_weights)

        normalization_weights = self.normalization.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([weight.value for weight in normalization_weights])
            normalized_scores = self._scores(gradients[:n_samples], normalize=True, drop=False)
            normalization_loss = self._mean_loss(y, normalized_scores, sample_weight)
            minimized = share_of_batch(normalization_loss, n_samples)
        self.normalization_optimizer.apply(
            tape.gradient(minimized, normalization_weights), normalization_weights
        )

        for tracker, value in [
            (loss_tracker(self), loss),
            (self._training_loss, training_loss),
            (self._synthetic_loss, synthetic_loss),
            (self._normalization_loss, normalization_loss),
        ]:
            tracker.update_state(value, sample_weight=n_samples)
        return self.compute_metrics(x, y, scores, sample_weight)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Evaluate the loss of samples and labels; there are no synthetic anomalies here."""
        x, y, sample_weight = self._unpack(data)
        scores = self(x, training=False)
        loss = self._mean_loss(y, scores, sample_weight)
        loss_tracker(self).update_state(loss, sample_weight=tf.shape(y)[0])
        results = self.compute_metrics(x, y, scores, sample_weight)
        training_only = {"training_loss", "synthetic_loss", "normalization_loss"}
        return {name: value for name, value in results.items() if name not in training_only}

    def _mean_loss(
        self, y: tf.Tensor, scores: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Compute the mean loss of the samples of this device."""
        return mean_on_replica(self._crossentropy(y, scores, sample_weight))
