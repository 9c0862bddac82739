"""AE: the reconstruction error of an autoencoder."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import layers, ops

from baselines.base import AutoencoderDetector, draw_seeds
from baselines.scores import SquashedScorer
from r2ad2.training.loop import Training


@keras.saving.register_keras_serializable("r2ad2")
class ReconstructionError(layers.Layer):
    """Mean squared difference (batch, 1) of two tensors (batch, ...)."""

    def call(self, inputs: Any) -> Any:
        """Compare the samples and their reconstructions, given as a pair."""
        samples, reconstructions = inputs
        squares = ops.square(samples - reconstructions)
        return ops.mean(ops.reshape(squares, (ops.shape(squares)[0], -1)), axis=1, keepdims=True)


class AEDetector(AutoencoderDetector):
    """Autoencoder whose reconstruction error is the score; learns from the normal samples alone.

    The autoencoder is trained by binary cross-entropy; the score is the mean squared error,
    squashed to [0, 1] so that 99 % of the normal training samples score 0.5 at most.

    Args:
        **shared: the parameters of every autoencoder, see `AutoencoderDetector`.

    Source: METHOD of R2-AD2 (ECML-PKDD 2022), section "baselines".
    """

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
