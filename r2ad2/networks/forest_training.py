"""Trains the forests and boostings of a `GradientForest`."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
)
from threadpoolctl import threadpool_limits

from r2ad2.networks.bins import Bins
from r2ad2.networks.forest import TreeEnsemble
from r2ad2.networks.gradient_features import GradientFeatures
from r2ad2.networks.gradient_forest import GradientForest, Judge
from r2ad2.networks.trees import TreeArrays, boosting_arrays, forest_arrays, isolation_arrays
from r2ad2.support.messages import quoted, require_known
from r2ad2.training.loop import Training

NORMAL, KNOWN, COUNTEREXAMPLE = 0, 1, 2
# Total weights of the three kinds of samples, if all are there. Few known anomalies must not drown
# among thousands of counterexamples, of which some look perfectly normal.
_TOTAL_WEIGHTS = {NORMAL: 0.5, KNOWN: 0.35, COUNTEREXAMPLE: 0.15}
# Spreads the scores of an isolation forest, mostly .35 to .65, to about .1 to .9.
_STEEPNESS = 6.0
_PARALLEL_SIZE = 2_000_000  # numbers in a table from which on boosting uses several threads
_CURVE_STEP = 10  # trees between two points of the out-of-bag curve
_CURVE_SAMPLES = 5000


@dataclass(frozen=True)
class TrainingTable:
    """What trees are trained on.

    Attributes:
        features: float32 (n, features) of samples, then of counterexamples.
        kinds: (n,) each `NORMAL`, `KNOWN` or `COUNTEREXAMPLE`.
        n_values: number of the first features that are a sample's values.
    """

    features: np.ndarray
    kinds: np.ndarray
    n_values: int

    @classmethod
    def of(cls, features: np.ndarray, labels: np.ndarray, n_values: int) -> TrainingTable:
        """Make the table of samples with labels (1 = known anomaly), then counterexamples."""
        kinds = np.full(len(features), COUNTEREXAMPLE)
        kinds[: len(labels)] = np.where(labels == 1, KNOWN, NORMAL)
        return cls(features, kinds, n_values)

    def rows_for(self, plan: Plan) -> np.ndarray:
        """Return the positions of the rows that a plan trains on."""
        return np.flatnonzero(np.isin(self.kinds, plan.kinds))


def balanced_weights(kinds: np.ndarray) -> np.ndarray:
    """Weight samples (n,) so that each kind has its total weight; normal ones always have half.

    The mean weight is 1.
    """
    anomalous = [kind for kind in (KNOWN, COUNTEREXAMPLE) if np.any(kinds == kind)]
    share = sum(_TOTAL_WEIGHTS[kind] for kind in anomalous)
    weights = np.empty(len(kinds))
    for kind in (NORMAL, *anomalous):
        total = 0.5 if kind == NORMAL else 0.5 * _TOTAL_WEIGHTS[kind] / share
        chosen = kinds == kind
        weights[chosen] = total * len(kinds) / chosen.sum()
    return weights


@dataclass(frozen=True)
class TrainedJudge:
    """A trained forest or boosting.

    Attributes:
        judge: its settings in the model.
        trees: its trees.
        importances: (features,) importance of each feature it saw; sums to 1.
        curve: one row per point: number of trees, out-of-bag loss; empty for boostings.
    """

    judge: Judge
    trees: TreeArrays
    importances: np.ndarray
    curve: pd.DataFrame

    @property
    def name(self) -> str:
        """The name of the forest or boosting."""
        return self.judge.name


@dataclass(frozen=True)
class Plan(abc.ABC):
    """How one forest or boosting is trained.

    Attributes:
        name: unique name.
        arm: "values" or "gradients": which features it sees; see `Judge`.
        kinds: the kinds of samples it learns from.
        max_values: it is skipped for samples with more values.
    """

    name: str
    arm: str
    kinds: tuple[int, ...] = (NORMAL, KNOWN, COUNTEREXAMPLE)
    link: ClassVar[str] = "probability"
    max_values: ClassVar[float] = math.inf

    def suits(self, n_values: int, any_known: bool) -> bool:
        """Return whether it takes part.

        Args:
            n_values: number of values of a sample.
            any_known: whether an anomaly is known.
        """
        return n_values <= self.max_values and (any_known or COUNTEREXAMPLE in self.kinds)

    def train(
        self, table: TrainingTable, n_trees: int, seed: int, training: Training
    ) -> TrainedJudge:
        """Train on a table, or read the result of an interrupted training.

        Args:
            table: samples and counterexamples.
            n_trees: trees of a forest.
            seed: seed of all randomness.
            training: keeps the result in a checkpoint.
        """
        rows = table.rows_for(self)
        n_features = table.n_values if self.arm == "values" else table.features.shape[1]
        kinds = table.kinds[rows]
        found = training.arrays(
            self.name,
            lambda: self._train(
                table.features[rows, :n_features], kinds, balanced_weights(kinds), n_trees, seed
            ),
        )
        found = dict(found)
        offset = float(found.pop("offset", 0))
        return TrainedJudge(
            Judge(self.name, self.arm, self.link, offset),
            importances=found.pop("importances"),
            curve=pd.DataFrame(found.pop("curve"), columns=["epoch", "loss"]).astype(
                {"epoch": int}
            ),
            trees=TreeArrays(depth=int(found.pop("depth")), **found),
        )

    @abc.abstractmethod
    def _train(
        self,
        features: np.ndarray,
        kinds: np.ndarray,
        weights: np.ndarray,
        n_trees: int,
        seed: int,
    ) -> dict[str, np.ndarray]:
        """Train; return the arrays of `TreeArrays`, "importances", "curve" and maybe "offset"."""


@dataclass(frozen=True)
class ForestPlan(Plan):
    """A forest of extremely randomised trees.

    Attributes:
        min_samples_leaf: smallest leaf. Small leaves single out rare kinds; large ones withstand
            anomalies that nobody labelled among the normal samples.

    Source: Geurts, Ernst and Wehenkel, "Extremely randomized trees" (2006).
    """

    min_samples_leaf: int = 3

    def _train(
        self,
        features: np.ndarray,
        kinds: np.ndarray,
        weights: np.ndarray,
        n_trees: int,
        seed: int,
    ) -> dict[str, np.ndarray]:
        forest = ExtraTreesClassifier(
            n_trees,
            min_samples_leaf=self.min_samples_leaf,
            bootstrap=True,  # a tree leaves out a third of the samples, which then judge it
            random_state=seed,
            n_jobs=-1,
        )
        forest.fit(features, kinds != NORMAL, sample_weight=weights)
        curve = [*_out_of_bag_curve(forest, features, kinds, weights)]
        return {
            **forest_arrays(forest).as_dict(),
            "importances": forest.feature_importances_,
            "curve": np.array(curve).reshape(-1, 2),
        }


@dataclass(frozen=True)
class BoostingPlan(Plan):
    """Histogram gradient boosting: crisp rules, which forests of random thresholds blur.

    It takes part for up to 500 values. For images of 28 x 28 pixels it took half of the time and
    changed the scores' AUC by less than .001.

    Attributes:
        max_iter: number of small trees; the number of a forest's trees does not change it.
    """

    max_iter: int = 100
    link: ClassVar[str] = "logit"
    max_values: ClassVar[float] = 500

    def _train(
        self,
        features: np.ndarray,
        kinds: np.ndarray,
        weights: np.ndarray,
        n_trees: int,
        seed: int,
    ) -> dict[str, np.ndarray]:
        boosting = HistGradientBoostingClassifier(
            max_iter=self.max_iter,
            learning_rate=0.1,
            max_leaf_nodes=16,
            min_samples_leaf=5,
            max_features=0.6,
            early_stopping=False,
            random_state=seed,
        )
        bins = Bins.of(features, weights)
        # Threads that wait for each other after every few microseconds of work make small trainings
        # slower and, on a busy machine, a hundred times slower.
        few = threadpool_limits(1 if features.size < _PARALLEL_SIZE else None, "openmp")
        with few:
            boosting.fit(bins.numbers(features), kinds != NORMAL, sample_weight=weights)
        trees, offset = boosting_arrays(boosting, bins)
        return {
            **trees.as_dict(),
            **_split_importances(trees, features.shape[1]),
            "offset": np.asarray(offset),
        }


def _split_importances(trees: TreeArrays, n_features: int) -> dict[str, np.ndarray]:
    """Return the share of splits that use each feature as its importance, and no curve."""
    is_inner = trees.left != np.arange(trees.n_nodes)
    used = np.bincount(trees.features[is_inner], minlength=n_features)
    return {"importances": used / max(used.sum(), 1), "curve": np.empty((0, 2))}


@dataclass(frozen=True)
class IsolationPlan(Plan):
    """An isolation forest, where no anomaly is known: it finds what lies far out.

    Counterexamples teach the other forests which values do not go together, but have no value
    outside the normal ones.

    Source: Liu, Ting and Zhou, "Isolation Forest" (2008).
    """

    kinds: tuple[int, ...] = (NORMAL,)
    link: ClassVar[str] = "logit"

    def suits(self, n_values: int, any_known: bool) -> bool:
        """Return whether it takes part: only if no anomaly is known."""
        return not any_known

    def _train(
        self,
        features: np.ndarray,
        kinds: np.ndarray,
        weights: np.ndarray,
        n_trees: int,
        seed: int,
    ) -> dict[str, np.ndarray]:
        forest = IsolationForest(n_estimators=n_trees, random_state=seed, n_jobs=-1)
        trees = isolation_arrays(forest.fit(features), _STEEPNESS)
        return {
            **trees.as_dict(),
            **_split_importances(trees, features.shape[1]),
            "offset": np.asarray(_STEEPNESS),
        }


_REAL = (NORMAL, KNOWN)
PLANS: tuple[Plan, ...] = (
    ForestPlan("values (fine)", "values", min_samples_leaf=3),
    ForestPlan("values (coarse)", "values", min_samples_leaf=20),
    ForestPlan("gradients (known)", "gradients", _REAL, min_samples_leaf=8),
    ForestPlan("gradients (fine)", "gradients", min_samples_leaf=3),
    BoostingPlan("boosting (known)", "values", _REAL),
    BoostingPlan("boosting", "values"),
    IsolationPlan("isolation of values", "values"),
    IsolationPlan("isolation of gradients", "gradients"),
)


def choose_plans(n_values: int, any_known: bool, names: Sequence[str] | None = None) -> list[Plan]:
    """Return the plans that suit samples and are worth their time.

    Args:
        n_values: number of values of a sample.
        any_known: whether an anomaly is known.
        names: the plans to choose from; None means all.

    Raises:
        ValueError: for an unknown name, or if no forest is left.
    """
    suited = [plan for plan in PLANS if plan.suits(n_values, any_known)]
    if names is None:
        return suited
    require_known(names, [plan.name for plan in PLANS], "judge")
    chosen = [plan for plan in suited if plan.name in names]
    if not any(isinstance(plan, ForestPlan) for plan in chosen):
        forests = ", ".join(quoted(plan.name) for plan in suited if isinstance(plan, ForestPlan))
        raise ValueError(f"judges must include at least one of these forests: {forests}")
    return chosen


def assemble(features: GradientFeatures, trained: Sequence[TrainedJudge]) -> GradientForest:
    """Make the model of trained forests and boostings, at least one forest among them."""
    deep = [part for part in trained if part.judge.link == "probability"]
    shallow = [part for part in trained if part.judge.link != "probability"]

    def together(parts: Sequence[TrainedJudge]) -> TreeEnsemble:
        return TreeEnsemble.from_forests([part.trees for part in parts], features.size)

    importances = np.zeros(features.size)
    for part in trained:
        importances[: len(part.importances)] += part.importances
    return GradientForest(
        features,
        together(deep),
        together(shallow) if shallow else None,
        judges=[vars(part.judge) for part in (*deep, *shallow)],
        importances=(importances / max(importances.sum(), np.finfo(float).tiny)).tolist(),
    )


def _out_of_bag_curve(
    forest: ExtraTreesClassifier, features: np.ndarray, kinds: np.ndarray, weights: np.ndarray
) -> Iterator[tuple[int, float]]:
    """Compute the loss of the first trees on samples that they did not see.

    The loss is the weighted mean square difference of score and label (Brier score). A sample
    counts from the first tree on that left it out.

    Returns:
        Pairs of the number of trees and the loss.
    """
    chosen = np.arange(0, len(kinds), -(-len(kinds) // _CURVE_SAMPLES))
    samples, labels, weights = features[chosen], kinds[chosen] != NORMAL, weights[chosen]
    totals, counts = np.zeros(len(chosen)), np.zeros(len(chosen))
    trees = list(zip(forest.estimators_, forest.estimators_samples_, strict=True))
    for number, (tree, drawn) in enumerate(trees, start=1):
        left_out = np.ones(len(kinds), dtype=bool)
        left_out[drawn] = False
        unseen = left_out[chosen]
        if unseen.any():
            totals[unseen] += tree.predict_proba(samples[unseen])[:, 1]
            counts[unseen] += 1
        judged = counts > 0
        if judged.any() and (number % _CURVE_STEP == 0 or number == len(trees)):
            errors = np.square(totals[judged] / counts[judged] - labels[judged])
            yield number, float(np.average(errors, weights=weights[judged]))
