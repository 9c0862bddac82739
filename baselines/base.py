"""What the baselines share: parameters of their training, and the autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
from sklearn.utils._param_validation import Interval, StrOptions

from r2ad2.detectors.base import AnomalyDetector
from r2ad2.networks.snapshots import make_target, train_snapshots
from r2ad2.training.batches import default_batch_size
from r2ad2.training.loop import Training


def draw_seeds(random: np.random.RandomState, n: int) -> list[int]:
    """Draw n seeds."""
    return [int(seed) for seed in random.randint(2**31 - 1, size=n)]


def uncompiled(model: keras.Model) -> keras.Model:
    """Copy a model without its optimiser, whose state is not part of a saved detector."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


class NetworkDetector(AnomalyDetector):
    """Base of detectors that train a network in batches.

    Args:
        epochs: epochs of each phase of the training.
        batch_size: samples per training step; "auto" takes about an eightieth of the samples, 512
            at most.
        learning_rate: of all optimisers.
        **shared: the parameters of every detector, see `AnomalyDetector`.
    """

    _parameter_constraints: ClassVar[dict] = {
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        *,
        epochs: int = 100,
        batch_size: int | str = 512,
        learning_rate: float = 1e-3,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def _samples_per_step(self, n_samples: int) -> int:
        if isinstance(self.batch_size, str):
            return default_batch_size(n_samples)
        return self.batch_size


class AutoencoderDetector(NetworkDetector):
    """Base of detectors that begin with an autoencoder of the normal samples.

    Args:
        architecture: "40-20-10" (dense), "8C3-8C3-8" (convolutional), a built autoencoder (its
            weights are copied, then trained), or "auto": by the input's shape.
        dropout: rate in [0, 1) in the autoencoder.
        **shared: the parameters of every network, see `NetworkDetector`.
    """

    _parameter_constraints: ClassVar[dict] = {
        "architecture": [str, keras.Model],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self, *, architecture: str | keras.Model = "auto", dropout: float = 0.4, **shared: Any
    ):
        super().__init__(**shared)
        self.architecture = architecture
        self.dropout = dropout

    def _make_autoencoder(
        self, sample_shape: Sequence[int], seed: int, **settings: Any
    ) -> keras.Model:
        return make_target(self.architecture, sample_shape, self.dropout, seed, **settings)

    def _train_autoencoder(
        self,
        autoencoder: keras.Model,
        normal: np.ndarray,
        seed: int,
        training: Training,
        loss: str = "binary_crossentropy",
    ) -> tuple[keras.Model, pd.DataFrame]:
        """Train the autoencoder on all normal samples; give a frozen copy of it, and the losses."""
        trained = train_snapshots(
            autoencoder,
            normal,
            start_epoch=self.epochs,
            n_snapshots=1,
            holdout=0.0,
            batch_size=self._samples_per_step(len(normal)),
            learning_rate=self.learning_rate,
            loss=loss,
            random_state=seed,
            training=training,
        )
        return trained.snapshots[0], trained.history
