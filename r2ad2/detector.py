"""R2-AD2 as a scikit-learn estimator."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
from sklearn.utils._param_validation import Interval

from r2ad2.autoencoder import Autoencoder
from r2ad2.base import AnomalyDetector
from r2ad2.batches import shuffled_batches
from r2ad2.model import R2AD2
from r2ad2.progress import TrainingProgress
from r2ad2.snapshots import frozen_copy, snapshot_epochs, train_snapshots

logger = logging.getLogger(__name__)

PRESETS: dict[str, dict[str, Any]] = {
    # The settings of the publication are the constructor's defaults.
    "paper": {},
    "fast": {"alarm_units": (100, 50, 25, 10), "epochs": 30, "batch_size": 256},
}
# Below this number of training steps the alarm network has hardly left its initial state: the
# moving statistics of its normalisation alone need some hundred steps.
_FEW_STEPS = 500


def default_architecture(sample_shape: tuple[int, ...]) -> str:
    """Choose an architecture of the publication by the number of features.

    Args:
        sample_shape: (features,) or (height, width, channels).
    """
    if len(sample_shape) == 3:
        return "8C3-8C3-8"
    n_features = sample_shape[0]
    if n_features < 10:
        return "5-3-2"
    return "20-10-5" if n_features < 40 else "40-20-10"


class R2AD2Detector(AnomalyDetector):
    """Raw gradient anomaly detection (R2-AD2): learns from normal data and a few known anomalies.

    The defaults are the publication's settings; `from_preset` gives others by name.

    Args:
        architecture: "40-20-10" (dense), "8C3-8C3-8" (convolutional), a built autoencoder (its
            weights are copied, then trained), or "auto": by the input's shape.
        alarm_units: hidden layers of the alarm network.
        start_epoch: epochs of the autoencoder before its first snapshot.
        n_snapshots: number of snapshots K.
        snapshot_interval: epochs between snapshots.
        epochs: epochs of the alarm network.
        batch_size: samples per training step, of autoencoder and alarm network.
        learning_rate: of all Adam optimisers.
        dropout: rate in [0, 1) in autoencoder and alarm network.
        noise_mean: mean of the synthetic anomalies, in scaled features.
        noise_std: standard deviation of the synthetic anomalies.
        holdout: share of the normal samples in [0, 1) that the autoencoder does not see, so that
            the alarm network also learns from gradients of fresh normal samples.
        random_state: int, RandomState or None; decides everything random.
        verbose: 0 is silent, 1 shows progress.

    Source: METHOD of R2-AD2 (ECML-PKDD 2022).
    """

    _parameter_constraints: ClassVar[dict] = {
        "architecture": [str, keras.Model],
        "alarm_units": ["array-like"],
        "start_epoch": [Interval(Integral, 1, None, closed="left")],
        "n_snapshots": [Interval(Integral, 1, None, closed="left")],
        "snapshot_interval": [Interval(Integral, 1, None, closed="left")],
        "epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "noise_mean": [Interval(Real, None, None, closed="neither")],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "holdout": [Interval(Real, 0, 1, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        architecture: str | keras.Model = "auto",
        alarm_units: Sequence[int] = (1000, 500, 200, 75),
        start_epoch: int = 10,
        n_snapshots: int = 3,
        snapshot_interval: int = 5,
        epochs: int = 100,
        batch_size: int = 512,
        learning_rate: float = 1e-3,
        dropout: float = 0.4,
        noise_mean: float = 0.5,
        noise_std: float = 1.0,
        holdout: float = 0.25,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.architecture = architecture
        self.alarm_units = alarm_units
        self.start_epoch = start_epoch
        self.n_snapshots = n_snapshots
        self.snapshot_interval = snapshot_interval
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.noise_mean = noise_mean
        self.noise_std = noise_std
        self.holdout = holdout
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_preset(cls, preset: str, **overrides: Any) -> R2AD2Detector:
        """Make a detector with named settings, of which `overrides` replaces some.

        Raises:
            ValueError: for an unknown preset.
        """
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}: choose one of {sorted(PRESETS)}")
        return cls(**(PRESETS[preset] | overrides))

    def _target(self, sample_shape: tuple[int, ...], seed: int) -> keras.Model:
        """Make the untrained autoencoder."""
        if isinstance(self.architecture, keras.Model):
            if tuple(self.architecture.input_shape[1:]) != sample_shape:
                raise ValueError(
                    f"the autoencoder takes samples of shape {self.architecture.input_shape[1:]}, "
                    f"but the encoded samples have shape {sample_shape}"
                )
            target = frozen_copy(self.architecture)
            target.trainable = True
            return target
        auto = self.architecture == "auto"
        return Autoencoder(
            default_architecture(sample_shape) if auto else self.architecture,
            input_shape=sample_shape,
            dropout=self.dropout,
            seed=seed,
        )

    def _fit_scorer(
        self, x: np.ndarray, y: np.ndarray, random: np.random.RandomState
    ) -> tuple[keras.Model, pd.DataFrame]:
        target_seed, snapshot_seed, model_seed, order_seed = random.randint(2**31 - 1, size=4)
        target = self._target(x.shape[1:], int(target_seed))
        last_epoch = snapshot_epochs(self.start_epoch, self.n_snapshots, self.snapshot_interval)[-1]
        with TrainingProgress(self.verbose) as progress:
            trained = train_snapshots(
                target,
                x[y == 0],
                start_epoch=self.start_epoch,
                n_snapshots=self.n_snapshots,
                snapshot_interval=self.snapshot_interval,
                holdout=self.holdout,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                random_state=int(snapshot_seed),
                callbacks=[progress.phase("autoencoder", last_epoch)],
            )
            model = R2AD2(
                trained.snapshots,
                alarm_units=self.alarm_units,
                dropout=self.dropout,
                noise_mean=self.noise_mean,
                noise_std=self.noise_std,
                seed=int(model_seed),
            )
            model.compile(self.learning_rate)
            batches, steps = shuffled_batches(
                [x, y.astype(np.float32)], self.batch_size, seed=int(order_seed)
            )
            if steps * self.epochs < _FEW_STEPS:
                logger.warning(
                    "the alarm network trains for only %d steps: for better scores raise epochs or "
                    "lower batch_size",
                    steps * self.epochs,
                )
            fitted = model.fit(
                batches,
                epochs=self.epochs,
                steps_per_epoch=steps,
                shuffle=False,  # the pipeline shuffles
                verbose=0,
                callbacks=[progress.phase("alarm network", self.epochs)],
            )
        alarm_history = pd.DataFrame(fitted.history)
        alarm_history.insert(0, "epoch", np.arange(1, len(alarm_history) + 1))
        history = pd.concat(
            {"autoencoder": trained.history, "alarm network": alarm_history}, names=["phase"]
        )
        history = history.reset_index("phase").reset_index(drop=True)
        # The optimisers' state is not part of the artefact.
        scorer = R2AD2.from_config(model.get_config())
        scorer.set_weights(model.get_weights())
        return scorer, history
