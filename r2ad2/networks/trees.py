"""The decision trees of fitted scikit-learn models as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r2ad2.networks.bins import Bins
from r2ad2.support.sklearn_internals import boosted_trees, boosting_baseline

# A leaf's comparison never holds, so that a sample stays there; a finite number, unlike infinity,
# passes the checks of model files.
NEVER_EXCEEDED = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TreeArrays:
    """Decision trees, all nodes in one array per property.

    A sample begins at a tree's root. At each node it moves to ``left`` or, if its feature exceeds
    the threshold, to ``left + 1``. A leaf's `left` is the leaf itself, and its threshold is never
    exceeded.

    Attributes:
        features: int32 (nodes,) position of the feature that a node compares; 0 at leaves.
        left: int32 (nodes,).
        thresholds: float32 (nodes,).
        values: float32 (nodes,) what a leaf adds to the score; 0 at inner nodes.
        roots: int32 (trees,).
        depth: largest number of comparisons on the way to a leaf.
    """

    features: np.ndarray
    left: np.ndarray
    thresholds: np.ndarray
    values: np.ndarray
    roots: np.ndarray
    depth: int

    @property
    def n_nodes(self) -> int:
        """Number of nodes of all trees."""
        return len(self.left)

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.roots)

    def as_dict(self) -> dict[str, np.ndarray]:
        """Return the arrays by name, the depth as an array, too."""
        return {name: np.asarray(value) for name, value in vars(self).items()}


def concatenate(trees: Sequence[TreeArrays]) -> TreeArrays:
    """Put trees side by side, in the given order."""
    sizes = [part.n_nodes for part in trees]
    starts = np.cumsum([0, *sizes[:-1]])
    return TreeArrays(
        features=np.concatenate([part.features for part in trees]),
        left=np.concatenate(
            [part.left + start for part, start in zip(trees, starts, strict=True)]
        ).astype(np.int32),
        thresholds=np.concatenate([part.thresholds for part in trees]),
        values=np.concatenate([part.values for part in trees]),
        roots=np.concatenate(
            [part.roots + start for part, start in zip(trees, starts, strict=True)]
        ).astype(np.int32),
        depth=max(part.depth for part in trees),
    )


def forest_arrays(forest: Any) -> TreeArrays:
    """Convert a fitted forest of two classes, such as scikit-learn's `ExtraTreesClassifier`.

    The values of the leaves that a sample reaches add up to the probability of the second class.
    """

    def one(estimator: Any) -> TreeArrays:
        tree = estimator.tree_
        shares = tree.value[:, 0, :]
        return _renumbered(
            tree.children_left,
            tree.children_right,
            tree.feature,
            tree.threshold,
            shares[:, 1] / shares.sum(axis=1) / len(forest.estimators_),
        )

    return concatenate([one(estimator) for estimator in forest.estimators_])


def boosting_arrays(boosting: Any, bins: Bins) -> tuple[TreeArrays, float]:
    """Convert a fitted `HistGradientBoostingClassifier` of two classes, without missing values.

    Args:
        boosting: trained on the numbers of bins.
        bins: these bins.

    Returns:
        The trees, and an offset: added to the sum of a sample's leaves it is the logit of the
        second class.
    """

    def one(nodes: np.ndarray) -> TreeArrays:
        is_leaf = nodes["is_leaf"].astype(bool)
        thresholds = np.zeros(len(nodes))
        # A threshold between two numbers of bins separates them at the edge of the first.
        thresholds[~is_leaf] = bins.edges_at(
            nodes["feature_idx"][~is_leaf], nodes["num_threshold"][~is_leaf].astype(np.int64)
        )
        return _renumbered(
            np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
            np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
            nodes["feature_idx"],
            thresholds,
            nodes["value"],
        )

    return concatenate([one(nodes) for nodes in boosted_trees(boosting)]), boosting_baseline(
        boosting
    )


def isolation_arrays(forest: Any, steepness: float = 1.0) -> TreeArrays:
    """Convert a fitted `IsolationForest`.

    The values of the leaves that a sample reaches add up to its mean path length divided by what is
    expected, times ``-steepness``. For a steepness of 1 that is the logarithm (base 2) of the
    anomaly score.
    """

    def one(estimator: Any) -> TreeArrays:
        tree = estimator.tree_
        left, right = tree.children_left, tree.children_right
        depths = np.zeros(len(left))
        level = np.zeros(1, dtype=np.int64)
        while len(inner := level[left[level] >= 0]):
            level = np.concatenate([left[inner], right[inner]])
            depths[level] = depths[np.concatenate([inner, inner])] + 1
        lengths = depths + average_path_length(tree.n_node_samples)
        return _renumbered(left, right, tree.feature, tree.threshold, lengths / unit)

    expected = average_path_length(np.array([forest.max_samples_]))[0]
    unit = -expected * len(forest.estimators_) / steepness
    return concatenate([one(estimator) for estimator in forest.estimators_])


def average_path_length(n_samples: np.ndarray) -> np.ndarray:
    """Compute how many random splits isolate one of n samples, on average.

    Source: Liu, Ting and Zhou, "Isolation Forest" (2008), equation 1.
    """
    n = n_samples.astype(np.float64)
    several = np.maximum(n, 3)
    lengths = 2 * (np.log(several - 1) + np.euler_gamma) - 2 * (several - 1) / several
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, lengths))


def _renumbered(
    left: np.ndarray,
    right: np.ndarray,
    features: np.ndarray,
    thresholds: np.ndarray,
    values: np.ndarray,
) -> TreeArrays:
    """Number a tree's nodes level by level, so that a right child follows its left sibling.

    Args:
        left: (nodes,) left children, negative at leaves; the root is the first node.
        right: (nodes,) right children.
        features: (nodes,).
        thresholds: (nodes,) a sample whose feature is greater moves right.
        values: (nodes,).
    """
    levels = [np.zeros(1, dtype=np.int64)]
    while len(inner := levels[-1][left[levels[-1]] >= 0]):
        levels.append(np.stack([left[inner], right[inner]], axis=1).ravel())
    order = np.concatenate(levels)
    number = np.empty(len(left), dtype=np.int64)
    number[order] = np.arange(len(order))
    is_leaf = left[order] < 0
    return TreeArrays(
        features=np.where(is_leaf, 0, features[order]).astype(np.int32),
        left=np.where(is_leaf, np.arange(len(order)), number[left[order]]).astype(np.int32),
        thresholds=np.where(is_leaf, NEVER_EXCEEDED, _rounded_down(thresholds[order])).astype(
            np.float32
        ),
        values=np.where(is_leaf, values[order], 0).astype(np.float32),
        roots=np.zeros(1, dtype=np.int32),
        depth=len(levels) - 1,
    )


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """Round to the next float32 that is not greater.

    Every float32 sample is then on the same side as of the exact threshold.
    """
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest.astype(np.float64) > thresholds, below, nearest)
