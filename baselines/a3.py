"""A3: an alarm network that analyses the activations of an autoencoder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from r2ad2.artefact.composed import ComposedModel
from r2ad2.detectors.trained import AutoencoderDetector, draw_seeds, uncompiled
from r2ad2.gradients.forward import in_inference_mode, is_graph_of_layers, run_layers
from r2ad2.networks.alarm import build_alarm_network
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, register_converter
from r2ad2.serving.onnx.tape import Tape
from r2ad2.support.sklearn_internals import Interval
from r2ad2.training.batches import shuffled_batches
from r2ad2.training.loop import Training


def hidden_activations(model: keras.Model, x: Any) -> tf.Tensor:
    """Compute the outputs of a model's hidden layers, in inference mode.

    Args:
        model: a graph of layers, which may be such graphs themselves.
        x: samples (batch, ...).

    Returns:
        (batch, A): the outputs of all layers with weights except the last one, flattened and
        concatenated.

    Raises:
        ValueError: if there is no hidden layer.
    """
    outputs: list[tf.Tensor] = []

    def recorded(operation: Callable) -> Callable:
        if isinstance(operation, keras.Model) and is_graph_of_layers(operation):
            return lambda inputs, **_: run_layers(operation, inputs, recorded)
        call = in_inference_mode(operation)
        if not getattr(operation, "weights", []):
            return call

        def call_and_record(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            outputs.append(tf.reshape(result, (tf.shape(result)[0], np.prod(result.shape[1:]))))
            return result

        return call_and_record

    run_layers(model, x, recorded)
    if len(outputs) < 2:
        raise ValueError(f"model {model.name!r} has no hidden layer whose activations A3 could see")
    return tf.concat(outputs[:-1], axis=1)


@keras.saving.register_keras_serializable("r2ad2")
class A3(ComposedModel):
    """Activations of a frozen autoencoder, scored by an alarm network.

    Args:
        autoencoder: a trained autoencoder; it is frozen.
        alarm: Keras model from its hidden activations (batch, A) to scores (batch, 1).
        name: name of the model.
    """

    PARTS = ("autoencoder", "alarm")

    def __init__(self, autoencoder: keras.Model, alarm: keras.Model, name: str | None = None):
        super().__init__(name=name)
        autoencoder.trainable = False
        self.autoencoder = autoencoder
        self.alarm = alarm
        self.build(None)

    def call(self, x: Any, training: bool = False) -> Any:
        """Compute scores (batch, 1) in [0, 1] of samples (batch, ...)."""
        return self.alarm(hidden_activations(self.autoencoder, x), training=training)


@register_converter(A3)
class A3Converter(Converter):
    """The same as ONNX operations."""

    def forward(self, call: Call) -> Tensor:
        """Write the hidden activations and what the alarm network makes of them."""
        tape = Tape(call.graph)
        tape.run([call.layer.autoencoder], call.input)
        hidden = [part.reshape((math.prod(part.sample_shape),)) for part in tape.hidden[:-1]]
        return Tape(call.graph).run([call.layer.alarm], call.graph.concat(hidden))


class A3Detector(AutoencoderDetector):
    """Activation anomaly analysis: learns from normal data and known and synthetic anomalies.

    An autoencoder is trained on the normal samples. An alarm network then learns to tell its
    hidden activations for normal samples from those for known anomalies and for noise; its output
    is the score.

    Args:
        alarm_units: hidden layers of the alarm network.
        alarm_dropout: rate in [0, 1) in the alarm network.
        noise_mean: mean of the synthetic anomalies, in scaled features.
        noise_std: standard deviation of the synthetic anomalies.
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

    Source: Sperl, Schulze, Böttinger, "Activation Anomaly Analysis", ECML-PKDD 2020.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **AutoencoderDetector._parameter_constraints,
        "alarm_units": ["array-like"],
        "alarm_dropout": [Interval(Real, 0, 1, closed="left")],
        "noise_mean": [Interval(Real, None, None, closed="neither")],
        "noise_std": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        alarm_units: Sequence[int] = (1000, 500, 200, 75),
        alarm_dropout: float = 0.2,
        noise_mean: float = 0.5,
        noise_std: float = 1.0,
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
        self.alarm_units = alarm_units
        self.alarm_dropout = alarm_dropout
        self.noise_mean = noise_mean
        self.noise_std = noise_std

    def _with_synthetic_anomalies(
        self, batches: tf.data.Dataset, seed: int, first_batch: int = 0
    ) -> tf.data.Dataset:
        """Add synthetic anomalies, labelled 1, to each batch, as many as it has samples."""

        def add(number: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple:
            x, y = batch
            noise = tf.random.stateless_normal(
                tf.shape(x), [seed, number], self.noise_mean, self.noise_std, x.dtype
            )
            return tf.concat([x, noise], axis=0), tf.concat([y, tf.ones_like(y)], axis=0)

        return batches.enumerate(first_batch).map(add)

    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        training: Training,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        network_seed, target_seed, alarm_seed, order_seed, noise_seed = draw_seeds(random, 5)
        autoencoder, target_losses = self._train_autoencoder(
            self._make_autoencoder(x.shape[1:], network_seed), x[y == 0], target_seed, training
        )
        n_activations = hidden_activations(autoencoder, x[:1]).shape[1]
        alarm = build_alarm_network(
            1, n_activations, self.alarm_units, self.alarm_dropout, alarm_seed
        )
        model = A3(autoencoder, alarm)
        # The published loss is the sum of the means over samples and synthetic anomalies, twice the
        # mean over both: Adam is invariant to this factor.
        model.compile(keras.optimizers.Adam(self.learning_rate), loss="binary_crossentropy")
        labels = y[:, np.newaxis].astype(np.float32)

        def batches(first_epoch: int) -> tuple[tf.data.Dataset, int]:
            pipeline, steps = shuffled_batches(
                [x, labels], self._samples_per_step(len(x)), order_seed, first_epoch
            )
            return self._with_synthetic_anomalies(pipeline, noise_seed, first_epoch * steps), steps

        losses = training.fit(model, batches, [("alarm network", self.epochs)])
        return uncompiled(model), {"autoencoder": target_losses, "alarm network": losses}
