"""Shapley values: exact for few groups, complete for many, and the same as weighted sums."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from r2ad2.support import shapley
from r2ad2.support.shapley import attribute, shapley_weights


def by_definition(function, x, baseline, groups):
    """Average each group's change over all orders of the groups."""
    result = np.zeros(len(groups))
    for order in itertools.permutations(range(len(groups))):
        mixed = baseline.copy()
        for group in order:
            before = function(mixed[np.newaxis])[0]
            mixed[groups[group]] = x[groups[group]]
            result[group] += function(mixed[np.newaxis])[0] - before
    return result / math.factorial(len(groups))


def function(rows):
    return rows[:, 0] * rows[:, 1] + np.maximum(rows[:, 2], rows[:, 3]) - rows[:, 4] ** 3


def test_three_groups_get_the_values_of_the_definition():
    random = np.random.default_rng(0)
    inputs, baseline = random.normal(size=(5, 5)), random.normal(size=5)
    groups = [np.array([0, 2]), np.array([1]), np.array([3, 4])]
    found = attribute(function, inputs, baseline, groups)
    expected = [by_definition(function, x, baseline, groups) for x in inputs]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 100, 10_000])
def test_attributions_of_many_groups_add_up_however_they_are_evaluated(chunk):
    random = np.random.default_rng(0)
    inputs, baseline = random.normal(size=(7, 12)), random.normal(size=12)
    inputs[:, 6] = baseline[6]
    inputs[3] = baseline
    reports = []
    found = attribute(
        function, inputs, baseline, list(np.arange(12)[:, None]), chunk=chunk, report=reports.append
    )
    np.testing.assert_allclose(
        found.sum(axis=1), function(inputs) - function(baseline[np.newaxis]), atol=1e-9
    )
    assert not found[:, 5:].any()  # the function ignores these
    assert not found[3].any()  # equals the baseline
    assert reports[-1] == 7
    assert reports == sorted(reports)


def test_very_many_groups_are_evaluated_in_batches_with_the_same_result(monkeypatch):
    random = np.random.default_rng(0)
    inputs, baseline = random.normal(size=(3, 4, 5)), random.normal(size=(4, 5))
    inputs[1, 2:] = baseline[2:]
    groups = list(np.arange(20).reshape(10, 2))
    sizes = []

    def watched(rows):
        sizes.append(len(rows))
        return function(rows.reshape(len(rows), -1))

    expected = attribute(watched, inputs, baseline, groups)
    assert max(sizes) > 30
    sizes.clear()
    monkeypatch.setattr(shapley, "_MANY_GROUPS", 1)
    monkeypatch.setattr(shapley, "_BATCH_BYTES", 3 * baseline.nbytes)
    np.testing.assert_allclose(attribute(watched, inputs, baseline, groups), expected, atol=1e-12)
    assert max(sizes) == 3


@pytest.mark.parametrize("n_groups", [1, 3, 9])
def test_weighted_sums_give_the_same_attributions(n_groups):
    random = np.random.default_rng(0)
    x, baseline, factors = random.normal(size=(3, n_groups))

    def evaluate(rows):
        return np.tanh(rows @ factors)

    subsets, weights = shapley_weights(n_groups, 16)
    values = evaluate(np.where(subsets, x, baseline))
    found = attribute(
        evaluate, x[np.newaxis], baseline, list(np.arange(n_groups)[:, None]), n_permutations=16
    )
    np.testing.assert_allclose(weights @ values, found[0], atol=1e-12)


def test_an_order_and_its_reverse_share_products_equally():
    """Each factor of a product gets half of it, however few the orders."""
    x = np.arange(1.0, 9.0)
    found = attribute(
        lambda rows: rows.sum(axis=1) ** 2,
        x[np.newaxis],
        np.zeros(8),
        list(np.arange(8)[:, None]),
        n_permutations=2,
    )
    np.testing.assert_allclose(found[0], x * x.sum(), atol=1e-9)
