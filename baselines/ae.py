"""AE: the reconstruction error of an autoencoder."""

from __future__ import annotations

import math
import os
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import layers, ops

from baselines.scores import SquashedScorer
from r2ad2.detectors.trained import AutoencoderDetector, draw_seeds
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, register_converter
from r2ad2.training.loop import Training


@keras.saving.register_keras_serializable("r2ad2")
class ReconstructionError(layers.Layer):
    """Mean squared difference (batch, 1) of two tensors (batch, ...)."""

    def call(self, inputs: Any) -> Any:
        """Compare the samples and their reconstructions, given as a pair."""
        samples, reconstructions = inputs
        squares = ops.square(samples - reconstructions)
        return ops.mean(ops.reshape(squares, (ops.shape(squares)[0], -1)), axis=1, keepdims=True)


@register_converter(ReconstructionError)
class ReconstructionErrorConverter(Converter):
    """The same as ONNX operations."""

    def forward(self, call: Call) -> Tensor:
        """Write the mean squared difference."""
        samples, reconstructions = call.inputs
        n_values = math.prod(samples.sample_shape)
        differences = (samples - reconstructions).reshape((n_values,))
        return differences.sum_squares() * (1.0 / n_values)


class AEDetector(AutoencoderDetector):
    """Autoencoder whose reconstruction error is the score; learns from normal samples only.

    The autoencoder is trained with binary cross-entropy; the score is the mean squared error,
    squashed to [0, 1] so that 99 % of the normal training samples score 0.5 or less.

    Args:
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

    Source: R2-AD2 (ECML-PKDD 2022).
    """

    def __init__(
        self,
        *,
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

    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        training: Training,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        network_seed, order_seed = draw_seeds(random, 2)
        normal = x[y == 0]
        autoencoder, losses = self._train_autoencoder(
            self._make_autoencoder(x.shape[1:], network_seed), normal, order_seed, training
        )
        (samples,), (reconstructions,) = autoencoder.inputs, autoencoder.outputs
        scorer = keras.Model(samples, ReconstructionError()([samples, reconstructions]))
        return SquashedScorer.fitted(scorer, normal), {"autoencoder": losses}
