"""What detectors share that train a network in batches, or an autoencoder first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd

from r2ad2.detectors.base import AnomalyDetector
from r2ad2.networks.snapshots import SnapshotTraining, make_target, train_snapshots
from r2ad2.support.sklearn_internals import Interval, StrOptions
from r2ad2.training.batches import default_batch_size
from r2ad2.training.loop import Training

logger = logging.getLogger(__name__)

# With fewer training steps a network has hardly left its initial state: the moving statistics of
# the alarm network's normalisation alone need some hundred steps.
_FEW_STEPS = 500


def draw_seeds(random: np.random.RandomState, n: int) -> list[int]:
    """Draw n seeds."""
    return [int(seed) for seed in random.randint(2**31 - 1, size=n)]


def uncompiled(model: keras.Model) -> keras.Model:
    """Copy a model without its optimiser, whose state is not part of a saved detector."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def warn_of_few_steps(network: str, n_steps: int) -> None:
    """Log a warning if a network is about to train for too few steps to be useful."""
    if n_steps < _FEW_STEPS:
        logger.warning(
            "%s trains for only %d steps: for better scores raise epochs or lower batch_size",
            network,
            n_steps,
        )


class NetworkDetector(AnomalyDetector):
    """Base of detectors that train a network in batches.

    A subclass has the parameters below in its constructor.

    Attributes:
        epochs: epochs of each phase of the training.
        batch_size: samples per training step; "auto" uses about an eightieth of the samples, up to
            512.
        learning_rate: of all optimisers.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **AnomalyDetector._parameter_constraints,
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
    }

    epochs: int
    batch_size: int | str
    learning_rate: float

    def _samples_per_step(self, n_samples: int) -> int:
        """Return the batch size for a training on n samples."""
        if isinstance(self.batch_size, str):
            return default_batch_size(n_samples)
        return self.batch_size


class AutoencoderDetector(NetworkDetector):
    """Base of detectors that begin with an autoencoder of the normal samples.

    A subclass has the parameters below in its constructor, and those of `NetworkDetector`.

    Attributes:
        architecture: "40-20-10" (dense), "8C3-8C3-8" (convolutional), a built autoencoder (its
            weights are copied, then trained), or "auto": chosen for the input's shape.
        dropout: rate in [0, 1) in the autoencoder.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **NetworkDetector._parameter_constraints,
        "architecture": [str, keras.Model],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    architecture: str | keras.Model
    dropout: float

    def _make_autoencoder(
        self, sample_shape: Sequence[int], seed: int, **settings: Any
    ) -> keras.Model:
        """Make the untrained autoencoder; `settings`: see `make_target`."""
        return make_target(self.architecture, sample_shape, self.dropout, seed, **settings)

    def _train_snapshots(
        self,
        autoencoder: keras.Model,
        normal: np.ndarray,
        batch_size: int,
        seed: int,
        training: Training,
        **settings: Any,
    ) -> SnapshotTraining:
        """Train the autoencoder in place; `settings`: see `train_snapshots`."""
        return train_snapshots(
            autoencoder,
            normal,
            batch_size=batch_size,
            learning_rate=self.learning_rate,
            random_state=seed,
            training=training,
            **settings,
        )

    def _train_autoencoder(
        self,
        autoencoder: keras.Model,
        normal: np.ndarray,
        seed: int,
        training: Training,
        loss: str = "binary_crossentropy",
    ) -> tuple[keras.Model, pd.DataFrame]:
        """Train the autoencoder on all normal samples for `epochs` epochs.

        Returns:
            A frozen copy of it, and its losses.
        """
        trained = self._train_snapshots(
            autoencoder,
            normal,
            self._samples_per_step(len(normal)),
            seed,
            training,
            start_epoch=self.epochs,
            n_snapshots=1,
            holdout=0.0,
            loss=loss,
        )
        return trained.snapshots[0], trained.history
