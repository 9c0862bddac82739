"""Bins of features: those of scikit-learn's histogram gradient boosting."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from sklearn.ensemble import HistGradientBoostingClassifier

from r2ad2.networks.bins import Bins
from r2ad2.networks.trees import TreeArrays, boosting_arrays

WEIGHTED = pytest.mark.skipif(
    Version(sklearn.__version__) < Version("1.9"),
    reason="before version 1.9 the bins of scikit-learn's boosting do not depend on weights",
)
_DRAWS = {
    "normal": lambda random, shape: random.normal(size=shape),
    "few values": lambda random, shape: random.integers(0, 200, shape),
    "many ties": lambda random, shape: np.round(random.normal(size=shape), 2),
    "heavy tails": lambda random, shape: random.standard_t(1, shape),
    "mostly zero": lambda random, shape: random.normal(size=shape) * (random.random(shape) < 0.1),
    "constant": lambda random, shape: np.full(shape, 3.5),
}


def thresholds_of(boosting: HistGradientBoostingClassifier) -> list[np.ndarray]:
    """scikit-learn's edges of bins."""
    return boosting._bin_mapper.bin_thresholds_


def weighted_samples(draw: str, weights: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = _DRAWS[draw](random, (3000, 3)).astype(np.float32)
    y = np.arange(3000) % 20 == 0
    each = {"equal": np.ones(3000), "of classes": np.where(y, 7.3, 0.7)}
    return x, y, each[weights]


@pytest.mark.parametrize("weights", ["equal", pytest.param("of classes", marks=WEIGHTED)])
@pytest.mark.parametrize("draw", _DRAWS)
def test_bins_and_trees_are_those_of_scikit_learn(draw, weights):
    x, y, weights = weighted_samples(draw, weights)
    settings = {"max_iter": 5, "random_state": 0, "max_features": 0.6}
    expected = HistGradientBoostingClassifier(**settings).fit(x, y, sample_weight=weights)
    bins = Bins.of(x, weights)
    for ours, theirs in zip(bins.edges, thresholds_of(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    boosting = HistGradientBoostingClassifier(**settings)
    boosting.fit(bins.numbers(x), y, sample_weight=weights)
    trees, offset = boosting_arrays(boosting, bins)
    logits = np.array([logit_of(sample, trees) for sample in x[:300]]) + offset
    np.testing.assert_allclose(logits, expected.decision_function(x[:300]), atol=1e-5)


def logit_of(sample: np.ndarray, trees: TreeArrays) -> float:
    """The sum of the leaves of one sample, by the description of `TreeArrays`."""
    nodes = trees.roots.copy()
    for _ in range(trees.depth):
        nodes = trees.left[nodes] + (sample[trees.features[nodes]] > trees.thresholds[nodes])
    return float(trees.values[nodes].sum())


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1000),
    draw=st.sampled_from(sorted(_DRAWS)),
    n_samples=st.integers(1, 1500),
)
def test_a_value_is_in_the_bin_between_two_edges(seed, draw, n_samples):
    random = np.random.default_rng(seed)
    x = _DRAWS[draw](random, (n_samples, 2)).astype(np.float32)
    weights = random.exponential(size=n_samples) + 0.01
    bins = Bins.of(x, weights)
    numbers = bins.numbers(x)
    assert numbers.dtype == np.uint8
    for column, edges, bin_numbers in zip(x.T, bins.edges, numbers.T, strict=True):
        assert len(edges) < 255
        assert np.all(np.diff(edges) > 0)
        limits = np.concatenate([[-np.inf], edges, [np.inf]])
        assert np.all(column > limits[bin_numbers])
        assert np.all(column <= limits[bin_numbers + 1])


def test_a_sample_of_twice_the_weight_counts_as_two():
    random = np.random.default_rng(0)
    x = random.normal(size=(2000, 2)).astype(np.float32)
    twice = random.random(2000) < 0.3
    doubled = Bins.of(np.concatenate([x, x[twice]]), np.ones(2000 + twice.sum()))
    for ours, theirs in zip(Bins.of(x, 1.0 + twice).edges, doubled.edges, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_bins_hold_equal_weight():
    random = np.random.default_rng(0)
    x = random.normal(size=(5000, 1)).astype(np.float32)
    weights = random.exponential(size=5000)
    bins = Bins.of(x, weights)
    held = np.bincount(bins.numbers(x)[:, 0], weights=weights)
    np.testing.assert_allclose(held, weights.sum() / 255, atol=weights.max())
