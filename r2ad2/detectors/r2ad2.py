"""R2-AD2 as a scikit-learn estimator."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from r2ad2.detectors.r2ad2_presets import R2AD2_PRESETS
from r2ad2.detectors.registry import with_settings
from r2ad2.detectors.trained import (
    AutoencoderDetector,
    draw_seeds,
    uncompiled,
    warn_of_few_steps,
)
from r2ad2.encoders.scaling import SCALINGS
from r2ad2.networks.model import GRADIENTS, R2AD2
from r2ad2.support.messages import count, require_known
from r2ad2.support.shapley import attribute
from r2ad2.support.sklearn_internals import Interval, StrOptions
from r2ad2.training.batches import (
    batches_in_order,
    bounded_batch_size,
    in_chunks,
    shuffled_batches,
)
from r2ad2.training.loop import DivergenceError, EarlyStopping, Training

# What epochs="auto" stands for.
_AUTO_EPOCHS, _AUTO_STEPS = 100, 2_000
# With fewer samples none can be held back for early stopping.
_FEW_SAMPLES = 8
# Early stopping waits for these: an untrained network can have the lowest loss by chance.
_SETTLING_STEPS = 1_000


class R2AD2Detector(AutoencoderDetector):
    """Raw gradient anomaly detection (R2-AD2): learns from normal data and a few known anomalies.

    The defaults are the paper's settings, except that a tenth of the normal samples is held
    back for calibration; `from_preset` gives others by name ("paper" holds none back).

    Args:
        architecture: "40-20-10" (dense), "8C3-8C3-8" (convolutional), a built autoencoder (its
            weights are copied, then trained), or "auto": chosen for the input's shape.
        alarm_units: hidden layers of the alarm network.
        start_epoch: epochs of the autoencoder before its first snapshot.
        n_snapshots: number of snapshots K.
        snapshot_interval: epochs between snapshots.
        epochs: epochs of the alarm network; "auto": 100, or as many more as small tables need for
            2,000 training steps.
        batch_size: samples per training step, of autoencoder and alarm network; "auto" uses about
            an eightieth of the samples, up to 512, much as the paper does.
        learning_rate: of all Adam optimisers.
        dropout: rate in [0, 1) in the autoencoder and the alarm network.
        noise_mean: mean of the synthetic anomalies, in scaled features.
        noise_std: standard deviation of the synthetic anomalies.
        holdout: share of the normal samples in [0, 1) that the autoencoder does not see, so that
            the alarm network also learns from gradients of fresh normal samples.
        gradient: "raw", every component, as published; or "sketch", `sketch_size` random inner
            products per layer, at a fraction of the time (docs/performance.md compares them).
        sketch_size: inner products per layer, for layers whose gradient is larger than that.
        scaling: how numeric columns are scaled to [0, 1] on normal rows: "minmax", by their range,
            as published; "limited", by their range without extreme outliers; "quantile", by ranks
            (normal scores), which suits heavy tails; or "robust", squashed around the median.
        alarm_dtype: Keras dtype policy of the alarm network: "float32" or "mixed_bfloat16".
        early_stopping: whether to hold back `validation_fraction` of the training samples and stop
            when the loss on them and an equal number of synthetic anomalies has not improved for
            `n_iter_no_change` epochs; the best weights are kept. The first 1,000 steps, or half
            of the training if that is less, do not count.
        validation_fraction: share of the samples in (0, 1) that is held back for early stopping.
        n_iter_no_change: epochs without improvement before training stops early.
        cache_size: megabytes of memory for the gradients of the training samples. If they fit, they
            are computed once, otherwise for each batch: the results agree up to rounding.
        synthetic_pool: synthetic anomalies per training sample whose gradients are computed once,
            before training, and kept in the same memory; every epoch draws from them. If there is
            less room the pool is smaller; if there is not even room for one per sample, or for 0,
            every step computes the gradients of new ones, as published.
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

    epochs: int | str  # type: ignore[assignment]  # a number for all other detectors

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **AutoencoderDetector._parameter_constraints,
        "alarm_units": ["array-like"],
        "epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "start_epoch": [Interval(Integral, 1, None, closed="left")],
        "n_snapshots": [Interval(Integral, 1, None, closed="left")],
        "snapshot_interval": [Interval(Integral, 1, None, closed="left")],
        "noise_mean": [Interval(Real, None, None, closed="neither")],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "holdout": [Interval(Real, 0, 1, closed="left")],
        "gradient": [StrOptions(set(GRADIENTS))],
        "sketch_size": [Interval(Integral, 1, None, closed="left")],
        "scaling": [StrOptions(set(SCALINGS))],
        "alarm_dtype": [StrOptions({"float32", "mixed_bfloat16"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "cache_size": [Interval(Real, 0, None, closed="left")],
        "synthetic_pool": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        architecture: str | keras.Model = "auto",
        alarm_units: Sequence[int] = (1000, 500, 200, 75),
        start_epoch: int = 10,
        n_snapshots: int = 3,
        snapshot_interval: int = 5,
        epochs: int | str = 100,
        batch_size: int | str = 512,
        learning_rate: float = 1e-3,
        dropout: float = 0.4,
        noise_mean: float = 0.5,
        noise_std: float = 1.0,
        holdout: float = 0.25,
        gradient: str = "raw",
        sketch_size: int = 256,
        scaling: str = "minmax",
        alarm_dtype: str = "float32",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        cache_size: float = 512,
        synthetic_pool: int = 0,
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
        self.gradient = gradient
        self.sketch_size = sketch_size
        self.scaling = scaling
        self.alarm_dtype = alarm_dtype
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.cache_size = cache_size
        self.synthetic_pool = synthetic_pool

    @classmethod
    def from_preset(cls, preset: str, **overrides: Any) -> R2AD2Detector:
        """Make a detector with the settings of a preset, some of them overridden.

        Raises:
            ValueError: for an unknown preset or setting.
        """
        require_known([preset], R2AD2_PRESETS, "preset")
        return with_settings(cls, R2AD2_PRESETS[preset], overrides)

    def _hold_back(
        self, x: np.ndarray, y: np.ndarray, seed: int
    ) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """Split samples and labels into a training and a validation part.

        An equal number of synthetic anomalies is added to the validation part: otherwise a
        network that finds everything normal would be the best one if no known anomaly is there.
        """
        random = np.random.default_rng(seed)
        orders = [random.permutation(np.flatnonzero(y == label)) for label in (0, 1)]
        held_back = np.concatenate(
            [order[: round(self.validation_fraction * len(order))] for order in orders]
        )
        if not len(held_back) or len(y) - len(held_back) < _FEW_SAMPLES:
            raise ValueError(
                f"{count(len(y), 'sample')} are too few to hold back {self.validation_fraction:.3g}"
                " of them (validation_fraction) for early stopping: set early_stopping=False"
            )
        synthetic = self._synthetic_anomalies(len(held_back), x, random)
        validation = (
            np.concatenate([x[held_back], synthetic]),
            np.concatenate([y[held_back], np.ones(len(synthetic), y.dtype)]),
        )
        seen = np.setdiff1d(np.arange(len(y)), held_back)
        return (x[seen], y[seen]), validation

    def _n_epochs(self, n_samples: int, batch_size: int) -> int:
        """Return the number of epochs of the alarm network."""
        if isinstance(self.epochs, str):
            steps = math.ceil(n_samples / batch_size)
            return max(_AUTO_EPOCHS, math.ceil(_AUTO_STEPS / steps))
        return self.epochs

    def _early_stopping(self, n_samples: int, batch_size: int) -> list[keras.callbacks.Callback]:
        if not self.early_stopping:
            return []
        settling = math.ceil(_SETTLING_STEPS / math.ceil(n_samples / batch_size))
        first = min(settling, self._n_epochs(n_samples, batch_size) // 2)
        settings = {"patience": self.n_iter_no_change, "start_from_epoch": first}
        return [EarlyStopping("val_loss", restore_best_weights=True, **settings)]

    def _training_batches(
        self,
        model: R2AD2,
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int,
        seed: int,
        training: Training,
        first_epoch: int,
    ) -> tuple[tf.data.Dataset, int]:
        """Make the pipeline that trains the alarm network, and count its steps per epoch."""
        arrays, pools = {"x": x}, {}
        # Samples whose gradients there is room for.
        room = self.cache_size * 2**20 / model.gradient_bytes
        if len(x) <= room:
            arrays["gradients"] = self._known_gradients(model, x, training, "training")
            n_drawn = int(min(self.synthetic_pool * len(x), room - len(x)))
            if n_drawn >= len(x):
                drawn = self._synthetic_anomalies(n_drawn, x, np.random.default_rng(seed))
                pools["synthetic_gradients"] = self._known_gradients(
                    model, drawn, training, "synthetic"
                )
        names = [*arrays, *pools]
        batches, steps = shuffled_batches(
            [y.astype(np.float32), *arrays.values()],
            batch_size,
            seed,
            first_epoch,
            list(pools.values()),
        )
        warn_of_few_steps("the alarm network", steps * self._n_epochs(len(x), batch_size))
        return batches.map(lambda y, *batch: (dict(zip(names, batch, strict=True)), y)), steps

    def _known_gradients(
        self, model: R2AD2, x: np.ndarray, training: Training, kind: str
    ) -> np.ndarray:
        """Compute gradients before the training of the alarm network, for all of it."""
        report = training.progress.steps(f"{kind} gradients", len(x)).update
        gradients = in_chunks(
            model.alarm_inputs, x, bounded_batch_size(model.working_bytes), report
        )
        finite = np.isfinite(gradients).reshape(len(x), -1).all(axis=1)
        if not finite.all():
            raise DivergenceError(
                f"the gradients of {count(int((~finite).sum()), f'{kind} sample')} are not "
                f"finite: lower learning_rate ({self.learning_rate:g}), and look for extreme "
                "settings and for unsuitable layers and weights in an architecture of your own"
            )
        return gradients

    def _synthetic_anomalies(
        self, n: int, like: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """Draw n synthetic anomalies of the shape and type of samples."""
        drawn = random.normal(self.noise_mean, self.noise_std, (n, *like.shape[1:]))
        return drawn.astype(like.dtype)

    @property
    def _scoring_batch_size(self) -> int:
        return bounded_batch_size(self.model_.working_bytes)

    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        training: Training,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        target_seed, snapshot_seed, model_seed, order_seed, validation_seed = draw_seeds(random, 5)
        target = self._make_autoencoder(x.shape[1:], target_seed)
        validation = None
        if self.early_stopping:
            (x, y), validation = self._hold_back(x, y, validation_seed)
        batch_size = self._samples_per_step(len(x))
        trained = self._train_snapshots(
            target,
            x[y == 0],
            batch_size,
            snapshot_seed,
            training,
            start_epoch=self.start_epoch,
            n_snapshots=self.n_snapshots,
            snapshot_interval=self.snapshot_interval,
            holdout=self.holdout,
        )
        trained_weights = {id(weight) for weight in target.trainable_weights}
        model = R2AD2(
            trained.snapshots,
            gradient_weights=[
                i for i, weight in enumerate(target.weights) if id(weight) in trained_weights
            ],
            alarm_units=self.alarm_units,
            dropout=self.dropout,
            noise_mean=self.noise_mean,
            noise_std=self.noise_std,
            gradient=self.gradient,
            sketch_size=self.sketch_size,
            alarm_dtype=self.alarm_dtype,
            seed=model_seed,
        )
        model.compile(self.learning_rate)
        if validation is not None:
            validation = batches_in_order(validation, bounded_batch_size(model.working_bytes))
        losses = training.fit(
            model,
            lambda first_epoch: self._training_batches(
                model, x, y, batch_size, order_seed, training, first_epoch
            ),
            [("alarm network", self._n_epochs(len(x), batch_size))],
            callbacks=self._early_stopping(len(x), batch_size),
            variables=model.normalization_optimizer.variables,
            validation_data=validation,
        )
        return uncompiled(model), {"autoencoder": trained.history, "alarm network": losses}

    def _explain_parts(
        self, encoded: np.ndarray, baseline: np.ndarray, n_permutations: int
    ) -> dict[str, pd.DataFrame]:
        """Attribute the scores to the gradients of each snapshot and of each layer."""
        model, size = self.model_, self._scoring_batch_size
        score = self._compiled_part(model.score_gradients)
        shape = (len(model.snapshots), model.n_features)
        positions = np.arange(math.prod(shape)).reshape(shape)
        parts = {
            "snapshots": {f"snapshot_{k}": row for k, row in enumerate(positions)},
            "layers": {
                name: positions[:, components].ravel()
                for name, components in model.layer_components.items()
            },
        }
        typical = model.gradients(baseline[np.newaxis]).numpy()[0]

        def attributions(samples: np.ndarray) -> dict[str, np.ndarray]:
            gradients = model.gradients(samples).numpy()
            return {
                name: attribute(
                    lambda changed: in_chunks(score, changed, size)[:, 0],
                    gradients,
                    typical,
                    list(groups.values()),
                    n_permutations=n_permutations,
                    chunk=size,
                )
                for name, groups in parts.items()
            }

        chunks = [attributions(encoded[i : i + size]) for i in range(0, len(encoded), size)]
        return {
            name: pd.DataFrame(np.concatenate([c[name] for c in chunks]), columns=list(groups))
            for name, groups in parts.items()
        }
