"""The gradient forest as a scikit-learn estimator."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd

from r2ad2.detectors.base import MIN_NORMAL
from r2ad2.detectors.suggesting import scaled
from r2ad2.detectors.trained import AutoencoderDetector, draw_seeds
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.column_sample import center_and_spread
from r2ad2.networks.counterexamples import COUNTEREXAMPLES
from r2ad2.networks.forest_training import PLANS, TrainingTable, assemble, choose_plans
from r2ad2.networks.gradient_features import GradientFeatures
from r2ad2.networks.gradient_forest import ARMS
from r2ad2.networks.gradient_norms import require_double_precision
from r2ad2.support.compilation import for_any_batch
from r2ad2.support.shapley import attribute
from r2ad2.support.sklearn_internals import Interval, StrOptions
from r2ad2.training.batches import bounded_batch_size, in_chunks
from r2ad2.training.checkpoints import Checkpoint
from r2ad2.training.loop import Training

logger = logging.getLogger(__name__)

_CALIBRATE_FIRST = (
    "call calibrate with fresh normal samples before you rely on p-values or false_positive_rate"
)


class GradientForestDetector(AutoencoderDetector):
    """Forests that judge a sample by its values and by the gradients of autoencoder snapshots.

    The recommended detector. An autoencoder learns the normal samples; copies of it are kept along
    the way. Forests of extremely randomised trees then learn to tell normal samples from known
    anomalies and from counterexamples, given the sample's values, the norm of its gradient in each
    layer of each copy, and what the last copy leaves unexplained. Training takes seconds.

    Args:
        architecture: "40-20-10" (dense), "8C3-8C3-8" (convolutional), a built autoencoder (its
            weights are copied, then trained), or "auto": chosen for the input's shape.
        start_epoch: epochs of the autoencoder before its first snapshot.
        n_snapshots: number of snapshots K.
        snapshot_interval: epochs between snapshots.
        batch_size: samples per training step of the autoencoder; "auto" uses about an eightieth of
            the samples, up to 512.
        learning_rate: of the autoencoder.
        dropout: rate in [0, 1) in the autoencoder.
        holdout: share of the normal samples in [0, 1) that the autoencoder does not see, so that
            the forests also learn from gradients of fresh normal samples.
        n_trees: trees of each of the forests; boostings always have 100.
        counterexamples: "cutmix", normal samples of which some columns come from a known anomaly;
            "resampled", samples whose columns come from different normal samples; or "auto":
            cutmix if an anomaly is known.
        max_samples: how many normal samples to train on at most, drawn at random; known anomalies
            are all used.
        judges: names of the forests and boostings whose mean is the score, to leave some out; None:
            all that suit the samples. With known anomalies: "values (fine)", "values (coarse)",
            "gradients (known)", "gradients (fine)", "boosting (known)" and "boosting"; without:
            "isolation of values" and "isolation of gradients".
        warm_start: whether another call of `fit` keeps the encoding and the snapshots, and only
            retrains the forests, with new labels or samples of the same form. Such a call is too
            short to need `checkpoint_dir`, which it ignores. It holds back the same normal samples
            for calibration as the first call, except those now known to be anomalies.
        false_positive_rate: from here on, see `DetectorParameters`. Share of fresh
            normal samples that may be flagged, on average.
        contamination: share of the training samples to flag.
        calibration_fraction: share of the normal samples that is held back for calibration.
        missing: "error" or "indicator".
        anomaly_label: the label that means anomaly.
        checkpoint_dir: directory that keeps the state of the training.
        random_state: int, RandomState or None; seed or generator of all randomness.
        verbose: 0 or 1.

    Attributes:
        feature_importances_: Series of the importance of each column or patch, of each snapshot's
            gradient in each layer, and of the residual; sums to 1.

    Source: docs/forest.md; gradients of snapshots: R2-AD2 (ECML-PKDD 2022).
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{k: v for k, v in AutoencoderDetector._parameter_constraints.items() if k != "epochs"},
        "start_epoch": [Interval(Integral, 1, None, closed="left")],
        "n_snapshots": [Interval(Integral, 1, None, closed="left")],
        "snapshot_interval": [Interval(Integral, 1, None, closed="left")],
        "holdout": [Interval(Real, 0, 1, closed="left")],
        "n_trees": [Interval(Integral, 1, None, closed="left")],
        "counterexamples": [StrOptions(set(COUNTEREXAMPLES))],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
        "judges": [None, list, tuple],
        "warm_start": ["boolean"],
    }

    scaling = "limited"  # extreme outliers among the normal samples cost no resolution

    def __init__(
        self,
        *,
        architecture: str | keras.Model = "auto",
        start_epoch: int = 10,
        n_snapshots: int = 3,
        snapshot_interval: int = 5,
        batch_size: int | str = "auto",
        learning_rate: float = 1e-3,
        dropout: float = 0.0,
        holdout: float = 0.25,
        n_trees: int = 100,
        counterexamples: str = "auto",
        max_samples: int = 20_000,
        judges: Sequence[str] | None = None,
        warm_start: bool = False,
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
        self.start_epoch = start_epoch
        self.n_snapshots = n_snapshots
        self.snapshot_interval = snapshot_interval
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.holdout = holdout
        self.n_trees = n_trees
        self.counterexamples = counterexamples
        self.max_samples = max_samples
        self.judges = judges
        self.warm_start = warm_start

    _fuse = True
    # Norms are computed in double precision and judged in single precision, without the last digit.
    _multiple = 1
    _score_features: tuple[GradientFeatures, Callable] | None = None

    # ---- training -------------------------------------------------------------------------

    @property
    def _max_normal(self) -> int:
        return self.max_samples

    @property
    def _continues(self) -> bool:
        """Whether `fit` keeps the encoding and the snapshots of an earlier call."""
        return self.warm_start and hasattr(self, "pipeline_")

    def _checkpoint(
        self, X: Any, labels: np.ndarray, random: np.random.RandomState
    ) -> Checkpoint | None:
        return None if self._continues else super()._checkpoint(X, labels, random)

    def _choose_held_back(
        self, X: Any, is_normal: np.ndarray, n: int, random: np.random.RandomState
    ) -> np.ndarray:
        """Choose the normal samples to hold back: in a continued training the same ones as before.

        The snapshots have seen all others. Samples that have joined since, such as those found
        normal in a review, were chosen because of their scores: they are for training only.
        """
        drawn = super()._choose_held_back(X, is_normal, n, random)
        if not self._continues or not n:
            return drawn
        if self.sketch_ is None or not len(self.sketch_.held_back):
            logger.warning(
                "warm_start=True: the earlier training held no samples back, so that its "
                "autoencoder has seen those that are held back now: %s",
                _CALIBRATE_FIRST,
            )
            return drawn
        self._encoder_for(X)  # says what is wrong if the samples have another form
        normal = np.flatnonzero(is_normal)
        again = self._find_held_back(X, normal)
        if self._are_enough(again):
            # Where hardly any others are left to train on, a share of them is held back.
            return (
                again if len(normal) - len(again) >= MIN_NORMAL else random.permutation(again)[:n]
            )
        logger.warning(
            "warm_start=True: of the %d normal samples that the earlier training held back, only "
            "%d are among these, so that others are held back, which its autoencoder may have "
            "seen: %s",
            len(self.sketch_.held_back),
            len(again),
            _CALIBRATE_FIRST,
        )
        return drawn

    def _learn_encoder(
        self,
        encoder_type: type[InputEncoder],
        X: Any,
        is_normal: np.ndarray,
        in_use: np.ndarray,
    ) -> InputEncoder:
        if not self._continues:
            return super()._learn_encoder(encoder_type, X, is_normal, in_use)
        return self._encoder_for(X)

    def _encoder_for(self, X: Any) -> InputEncoder:
        """Return the encoder of the earlier training, if it fits samples."""
        encoder = self.pipeline_.encoder
        try:
            encoder.prepare(X)
        except ValueError as error:
            raise ValueError(
                f"warm_start=True keeps the encoding of the earlier training: {error}; give "
                "samples of the same form, or set warm_start=False"
            ) from error
        return encoder

    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        training: Training,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        chosen = choose_plans(x[0].size, bool(np.any(y == 1)), self.judges)
        autoencoder_seed, snapshot_seed, counterexample_seed, forest_seed = draw_seeds(random, 4)
        histories = {}
        if self._continues:
            features = self.pipeline_.scorer.features
        else:
            features, histories["autoencoder"] = self._train_features(
                x[y == 0], autoencoder_seed, snapshot_seed, training
            )
        groups = list(training.groups.values())
        generator = np.random.default_rng(counterexample_seed)
        made = COUNTEREXAMPLES[self.counterexamples](x[y == 0], x[y == 1], groups, generator)
        samples = np.concatenate([x, made])
        phase = training.progress.steps("gradients", len(samples))
        seen = self._features_of(features, samples, phase.update)
        table = TrainingTable.of(seen, y, features.n_values)
        seeds = draw_seeds(np.random.RandomState(forest_seed), len(PLANS))
        trained = []
        for plan, seed in zip(PLANS, seeds, strict=True):
            if plan not in chosen:
                continue
            phase = training.progress.steps(plan.name, 1, unit="forest")
            trained.append(plan.train(table, self.n_trees, seed, training))
            phase.update(1)
        histories |= {judge.name: judge.curve for judge in trained if len(judge.curve)}
        return assemble(features, trained), histories

    def _features_of(
        self,
        features: GradientFeatures,
        samples: np.ndarray,
        report: Callable[[int], Any] | None = None,
    ) -> np.ndarray:
        """Compute features; the compiled function is kept for further calls and trainings."""
        if self._score_features is None or self._score_features[0] is not features:
            self._score_features = (features, for_any_batch(features))
        size = bounded_batch_size(features.working_bytes)
        return in_chunks(self._score_features[1], samples, size, report)

    def _train_features(
        self,
        normal: np.ndarray,
        autoencoder_seed: int,
        snapshot_seed: int,
        training: Training,
    ) -> tuple[GradientFeatures, pd.DataFrame]:
        """Train the autoencoder; return what computes features from its snapshots, and losses."""
        autoencoder = self._make_autoencoder(normal.shape[1:], autoencoder_seed)
        require_double_precision(autoencoder)
        trainable = {id(weight) for weight in autoencoder.trainable_weights}
        squashed = normal.ndim == 2
        center, scale = _centers_and_scales(normal) if squashed else (0.0, 1.0)
        with np.errstate(over="ignore"):  # far outliers become 0
            inputs = (1 / (1 + np.exp((center - normal) / scale))) if squashed else normal
        trained = self._train_snapshots(
            autoencoder,
            inputs.astype(np.float32),
            self._samples_per_step(len(normal)),
            snapshot_seed,
            training,
            start_epoch=self.start_epoch,
            n_snapshots=self.n_snapshots,
            snapshot_interval=self.snapshot_interval,
            holdout=self.holdout,
        )
        features = GradientFeatures(
            trained.snapshots,
            [i for i, weight in enumerate(autoencoder.weights) if id(weight) in trainable],
            squashed,
        )
        if squashed:
            features.center.assign(center)
            features.scale.assign(scale)
        return features, trained.history

    # ---- what the trees look at -----------------------------------------------------------

    @property
    def _scoring_batch_size(self) -> int:
        return bounded_batch_size(self.model_.working_bytes)

    @property
    def feature_importances_(self) -> pd.Series:
        """Importance of each column or patch, each snapshot's layers, and the residual."""
        importances = np.asarray(self.model_.importances)
        features = self.model_.features
        norms = {
            f"gradient of {layer} (snapshot {k})": features.norm_positions[k, i]
            for k in range(len(features.snapshots))
            for i, layer in enumerate(features.layer_names)
        }
        groups = {
            **self.pipeline_.encoder.feature_groups,
            **norms,
            "residual": features.residual_positions,
        }
        return pd.Series({name: float(importances[at].sum()) for name, at in groups.items()})

    def _features_to_compare(self, encoded: np.ndarray) -> np.ndarray:
        """Return what the trees see of samples, weighted with the features' importances."""
        seen = self._features_of(self.model_.features, encoded)
        return scaled(seen, np.asarray(self.model_.importances))

    def _explain_parts(
        self, encoded: np.ndarray, baseline: np.ndarray, n_permutations: int
    ) -> dict[str, pd.DataFrame]:
        """Attribute the scores to both arms, to the snapshots and to the layers."""
        model, size = self.model_, self._scoring_batch_size
        features = model.features
        score = self._compiled_part(model.score_features)
        arms = self._compiled_part(model.arm_scores)
        seen = self._features_of(features, encoded)
        start = self._features_of(features, baseline[np.newaxis])
        rest = {"sample": np.arange(features.n_values), "residual": features.residual_positions}
        norms = features.norm_positions

        def attribute_to(groups: dict[str, np.ndarray]) -> pd.DataFrame:
            values = attribute(
                lambda rows: in_chunks(score, rows, size)[:, 0],
                seen,
                start[0],
                list(groups.values()),
                n_permutations=n_permutations,
                chunk=size,
            )
            return pd.DataFrame(values, columns=list(groups))

        return {
            "arms": pd.DataFrame(
                in_chunks(arms, seen, size) - in_chunks(arms, start, size), columns=list(ARMS)
            ),
            "snapshots": attribute_to(rest | {f"snapshot_{k}": row for k, row in enumerate(norms)}),
            "layers": attribute_to(
                rest | {name: norms[:, i] for i, name in enumerate(features.layer_names)}
            ),
        }


def _centers_and_scales(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the median and the interquartile range of each feature of samples (n, features)."""
    columns = np.sort(samples.astype(np.float64), axis=0).T
    centers, scales = np.transpose([center_and_spread(column) for column in columns])
    return centers, scales
