"""DeepSAD: the distance of a sample's code to the centre of the normal ones."""

from __future__ import annotations

import functools
import os
from numbers import Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
from keras import layers, ops

from baselines.scores import SquashedScorer
from r2ad2.detectors.trained import AutoencoderDetector, draw_seeds, uncompiled
from r2ad2.networks.autoencoder import code_layer
from r2ad2.serving.onnx.activations import leaky, register_activation
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, register_converter
from r2ad2.support.sklearn_internals import Interval
from r2ad2.training.batches import in_chunks, shuffled_batches
from r2ad2.training.loop import Training

_CHUNK = 4096
_SLOPE = 0.01


@keras.saving.register_keras_serializable("r2ad2")
def leaky_relu(x: Any) -> Any:
    """Leaky ReLU with the slope of the published code; Keras' default is 0.2."""
    return ops.leaky_relu(x, negative_slope=_SLOPE)


register_activation(leaky_relu, leaky(_SLOPE))


@keras.saving.register_keras_serializable("r2ad2")
class SquaredDistance(layers.Layer):
    """Squared Euclidean distance (batch, 1) of codes (batch, ...) to a centre.

    Args:
        center: the centre's coordinates, of the flattened codes.
        **kwargs: of a Keras layer.
    """

    def __init__(self, center: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.center = [float(value) for value in np.ravel(center)]

    def call(self, codes: Any) -> Any:
        """Compute the distances."""
        flat = ops.reshape(codes, (-1, len(self.center)))
        return ops.sum(ops.square(flat - ops.cast(self.center, flat.dtype)), axis=1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "center": self.center}


@register_converter(SquaredDistance)
class SquaredDistanceConverter(Converter):
    """The same as ONNX operations."""

    def forward(self, call: Call) -> Tensor:
        """Write the distances."""
        center = call.layer.center
        return (call.input.reshape((len(center),)) - np.asarray(center)).sum_squares()


def center_of(codes: np.ndarray, margin: float = 0.1) -> np.ndarray:
    """Take the mean (d,) of codes (n, d), its coordinates moved away from 0 by `margin`.

    Weights of 0 would map every sample to a coordinate of 0.
    """
    center = codes.mean(axis=0)
    return np.where(np.abs(center) < margin, np.where(center < 0, -margin, margin), center)


def semi_supervised_loss(y: Any, distances: Any, eta: float = 1.0, epsilon: float = 1e-6) -> Any:
    """Compute each sample's loss: low for normal samples near the centre and anomalies far away.

    Args:
        y: labels (batch, 1), 1 = known anomaly.
        distances: squared distances (batch, 1).
        eta: weight of the known anomalies.
        epsilon: keeps the inverse finite.

    Returns:
        (batch, 1): the distance of a normal sample, eta / (distance + epsilon) of an anomaly.
    """
    y = ops.cast(y, distances.dtype)
    return (1 - y) * distances + y * eta / (distances + epsilon)


def _distance_model(encoder: keras.Model, normal: np.ndarray) -> keras.Model:
    """Append the squared distance to the normal samples' centre to an encoder."""
    codes = in_chunks(lambda batch: encoder(batch, training=False), normal, _CHUNK)
    return keras.Model(encoder.input, SquaredDistance(center_of(codes))(encoder.output))


class DeepSADDetector(AutoencoderDetector):
    """Deep semi-supervised anomaly detection: known anomalies are pushed away from a centre.

    An autoencoder without biases, with leaky ReLUs and a linear code, is trained with the mean
    squared error. Its encoder then learns to map normal samples close to their mean code and known
    anomalies far from it; the score is the squared distance to a centre, squashed to [0, 1] so that
    99 % of the normal training samples score 0.5 or less. A built autoencoder keeps its biases and
    activations: with biases its encoder can map all samples to the centre.

    Args:
        eta: weight of the known anomalies in the loss.
        weight_decay: factor of half the sum of squared weights in the loss; 0 as in R2-AD2's
            comparison, 1e-6 in the method's own code.
        recenter: whether scores are distances to the centre of the trained encoder's codes, as in
            R2-AD2's comparison, or to the centre that the training aimed at, as in the method's
            own code. Dropout, which that code does not use, moves codes away from the latter.
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

    Source: Ruff et al., "Deep Semi-Supervised Anomaly Detection", ICLR 2020.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **AutoencoderDetector._parameter_constraints,
        "eta": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "recenter": ["boolean"],
    }

    def __init__(
        self,
        *,
        eta: float = 1.0,
        weight_decay: float = 0.0,
        recenter: bool = True,
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
        self.eta = eta
        self.weight_decay = weight_decay
        self.recenter = recenter

    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        training: Training,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        network_seed, pretraining_seed, order_seed = draw_seeds(random, 3)
        normal = x[y == 0]
        autoencoder = self._make_autoencoder(
            x.shape[1:],
            network_seed,
            activation=leaky_relu,
            code_activation="linear",
            use_bias=False,
        )
        _, pretraining = self._train_autoencoder(
            autoencoder, normal, pretraining_seed, training, loss="mean_squared_error"
        )
        (samples,) = autoencoder.inputs
        encoder = keras.Model(samples, layers.Flatten()(code_layer(autoencoder).output))
        model = _distance_model(encoder, normal)
        for weight in model.trainable_weights:
            weight.regularizer = keras.regularizers.L2(self.weight_decay / 2)
        model.compile(
            keras.optimizers.Adam(self.learning_rate),
            loss=lambda labels, distances: semi_supervised_loss(labels, distances, self.eta),
        )
        labels = y[:, np.newaxis].astype(np.float32)
        batches = functools.partial(
            shuffled_batches, [x, labels], self._samples_per_step(len(x)), order_seed
        )
        losses = training.fit(model, batches, [("encoder", self.epochs)])
        scorer = _distance_model(encoder, normal) if self.recenter else model
        return SquashedScorer.fitted(uncompiled(scorer), normal), {
            "autoencoder": pretraining,
            "encoder": losses,
        }
