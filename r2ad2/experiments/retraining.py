"""Retrains a gradient forest many times in a short time, for studies of the analyst's loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from r2ad2.detectors.gradient_forest import GradientForestDetector
from r2ad2.detectors.suggesting import scaled
from r2ad2.networks.counterexamples import COUNTEREXAMPLES
from r2ad2.networks.forest_training import PLANS, TrainingTable, assemble, choose_plans
from r2ad2.networks.gradient_forest import GradientForest
from r2ad2.support.progress import TrainingProgress
from r2ad2.training.loop import Training


class Samples:
    """Samples with all that a forest needs of them.

    Args:
        detector: a fitted one, whose encoding and snapshots are used.
        X: samples (n, ...).

    Attributes:
        encoded: as the detector encodes them.
        seen: what the trees see, float32 (n, features).
    """

    def __init__(self, detector: GradientForestDetector, X: Any):
        self.encoded = detector._encode(detector.pipeline_.encoder, X)
        self.seen = detector._features_of(detector.model_.features, self.encoded)

    def __add__(self, others: Samples) -> Samples:
        both = object.__new__(Samples)
        both.encoded = np.concatenate([self.encoded, others.encoded])
        both.seen = np.concatenate([self.seen, others.seen])
        return both

    def take(self, positions: np.ndarray) -> Samples:
        """Return some of them."""
        some = object.__new__(Samples)
        some.encoded, some.seen = self.encoded[positions], self.seen[positions]
        return some

    def scores(self, model: GradientForest) -> np.ndarray:
        """Compute their scores (n,)."""
        return np.asarray(model.score_features(self.seen))[:, 0]

    def to_compare(self, model: GradientForest) -> np.ndarray:
        """Return the features whose distances `suggest` uses."""
        return scaled(self.seen, np.asarray(model.importances))


def retrain(
    detector: GradientForestDetector, samples: Samples, y: np.ndarray, n_trees: int, seed: int
) -> GradientForest:
    """Train the forests as `fit` does with `warm_start=True`, without compiling anything.

    Args:
        detector: a fitted one, whose encoding and snapshots are kept.
        samples: to train on.
        y: (n,) 1 = known anomaly.
        n_trees: trees of each forest.
        seed: seed of all randomness.
    """
    features = detector.model_.features
    groups = list(detector.pipeline_.encoder.feature_groups.values())
    x = samples.encoded
    made = COUNTEREXAMPLES["auto"](x[y == 0], x[y == 1], groups, np.random.default_rng(seed))
    seen = np.concatenate([samples.seen, detector._features_of(features, made)])
    table = TrainingTable.of(seen, y, features.n_values)
    chosen = choose_plans(features.n_values, bool(np.any(y == 1)))
    with TrainingProgress(0) as progress:
        training = Training(progress)
        trained = [
            plan.train(table, n_trees, seed + number, training)
            for number, plan in enumerate(PLANS)
            if plan in chosen
        ]
    return assemble(features, trained)
