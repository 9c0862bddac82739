"""Shapley values: how much each group of inputs contributes to the value of a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np

N_PERMUTATIONS = 16
# A plan's size grows with the square of the number of groups: 16 MB here. With more groups, the
# subsets are made one batch after the other.
_MANY_GROUPS = 1000
_BATCH_BYTES = 2**27


@dataclass(frozen=True)
class _Plan:
    """The orders in which m groups are switched in, and the subsets of groups that occur.

    Attributes:
        orders: (n_orders, m) numbers of the groups.
        subsets: (n_subsets, m) whether a group is switched in; each subset occurs once.
        steps: (n_orders, m + 1) the subset before the first, ..., after the last group.
    """

    orders: np.ndarray
    subsets: np.ndarray
    steps: np.ndarray

    def attributions(self, values: np.ndarray) -> np.ndarray:
        """Compute each group's mean change (m,) from the function's values (n_subsets,)."""
        changes = np.diff(values[self.steps], axis=1)
        sums = np.bincount(self.orders.ravel(), changes.ravel(), minlength=self.orders.shape[1])
        return sums / len(self.orders)


def _orders(n_groups: int, n_permutations: int) -> np.ndarray:
    """Choose all orders if they are few enough, else random ones, each with its reverse."""
    if n_groups <= n_permutations and math.factorial(n_groups) <= n_permutations:
        return np.array(list(permutations(range(n_groups))), dtype=np.int64)
    random = np.random.default_rng(n_groups)  # the same for all samples of all calls
    forward = random.permuted(
        np.tile(np.arange(n_groups), (max(1, n_permutations // 2), 1)), axis=1
    )
    return np.concatenate([forward, forward[:, ::-1]])


@lru_cache(maxsize=256)
def _plan(n_groups: int, n_permutations: int) -> _Plan:
    """List the subsets of the groups that the orders consist of."""
    orders = _orders(n_groups, n_permutations)
    ranks = np.argsort(orders, axis=1)
    switched_in = ranks[:, np.newaxis, :] < np.arange(n_groups + 1)[:, np.newaxis]
    subsets, steps = np.unique(switched_in.reshape(-1, n_groups), axis=0, return_inverse=True)
    return _Plan(orders, subsets, steps.reshape(len(orders), n_groups + 1))


def shapley_weights(n_groups: int, n_permutations: int) -> tuple[np.ndarray, np.ndarray]:
    """Express the attributions as weighted sums of a function's values.

    Returns:
        Subsets of the groups (n_subsets, n_groups), true where a group has the value of the
        explained input rather than that of the baseline, and the weights (n_groups, n_subsets) of
        the function's values for these subsets.
    """
    plan = _plan(n_groups, n_permutations)
    weights = np.zeros((n_groups, len(plan.subsets)))
    share = 1 / len(plan.orders)
    np.add.at(weights, (plan.orders, plan.steps[:, 1:]), share)
    np.add.at(weights, (plan.orders, plan.steps[:, :-1]), -share)
    return plan.subsets, weights


def attribute(
    evaluate: Callable[[np.ndarray], np.ndarray],
    inputs: np.ndarray,
    baseline: np.ndarray,
    groups: Sequence[np.ndarray],
    *,
    n_permutations: int = N_PERMUTATIONS,
    chunk: int = 4096,
    report: Callable[[int], Any] = lambda done: None,
) -> np.ndarray:
    """Attribute the values of a function to groups of its inputs, as Shapley values.

    Args:
        evaluate: maps inputs (rows, ...) to values (rows,).
        inputs: (n, ...) inputs to explain.
        baseline: (...) the input to compare with.
        groups: positions in a flattened input that belong together; each position in one group.
        n_permutations: number of orders of the groups to evaluate, half of them reversed. If the
            groups have no more orders than that, the values are exact.
        chunk: approximate number of inputs to evaluate at once.
        report: called with the number of inputs explained so far.

    Returns:
        Attributions (n, groups).

    Notes:
        Starting from the baseline, the groups are set to the input's values one after the other, in
        random order; a group's share is the mean change of the function when it is set. The
        changes of one order add up to f(input) - f(baseline) for any function, so the attributions
        are complete up to rounding. Derivatives would not suffice: the gradient of an autoencoder
        with ReLU units jumps, so that integrated gradients miss part of the difference.

    Source: Castro, Gómez, Tejada: Polynomial calculation of the Shapley value based on sampling,
        2009; orders in pairs: Mitchell et al.: Sampling permutations for Shapley value estimation,
        2022.
    """
    group_of = np.empty(baseline.size, dtype=np.int64)
    for number, positions in enumerate(groups):
        group_of[positions] = number
    flat, start = inputs.reshape(len(inputs), -1), baseline.reshape(-1)
    attributions = np.zeros((len(inputs), len(groups)))
    waiting: list[tuple[int, np.ndarray, _Plan]] = []

    def evaluate_waiting() -> None:
        mixed = []
        for sample, active, plan in waiting:
            switched_in = np.zeros((len(plan.subsets), len(groups)), dtype=bool)
            switched_in[:, active] = plan.subsets
            mixed.append(np.where(switched_in[:, group_of], flat[sample], start))
        rows = np.concatenate(mixed).reshape(-1, *baseline.shape)
        values = evaluate(rows).astype(np.float64)
        for sample, active, plan in waiting:
            attributions[sample, active] = plan.attributions(values[: len(plan.subsets)])
            values = values[len(plan.subsets) :]
        waiting.clear()

    for sample, row in enumerate(flat):
        active = np.unique(group_of[row != start])  # the other groups change nothing
        if not len(active):
            continue
        if len(active) > _MANY_GROUPS:
            orders = active[_orders(len(active), n_permutations)]
            attributions[sample] = _attribute_one(evaluate, row, start, group_of, orders, baseline)
            report(sample + 1)
            continue
        waiting.append((sample, active, _plan(len(active), n_permutations)))
        if sum(len(plan.subsets) for _, _, plan in waiting) >= chunk:
            evaluate_waiting()
            report(sample + 1)
    if waiting:
        evaluate_waiting()
    report(len(flat))
    return attributions


def _attribute_one(
    evaluate: Callable[[np.ndarray], np.ndarray],
    row: np.ndarray,
    start: np.ndarray,
    group_of: np.ndarray,
    orders: np.ndarray,
    baseline: np.ndarray,
) -> np.ndarray:
    """Attribute the value of one flattened input with bounded memory.

    Args:
        evaluate: maps inputs (rows, ...) to values (rows,).
        row: (size,) the input.
        start: (size,) the baseline.
        group_of: (size,) the number of each position's group.
        orders: (n_orders, m) the groups that differ from the baseline, in each order.
        baseline: the baseline in its own shape.

    Returns:
        Attributions (groups,).
    """
    n_groups, n_steps = int(group_of.max()) + 1, orders.shape[1] + 1
    n_rows = max(1, _BATCH_BYTES // (row.size * row.itemsize))
    attributions = np.zeros(n_groups)
    for order in orders:
        rank = np.zeros(n_groups, dtype=np.int64)
        rank[order] = np.arange(len(order))
        rank_of = rank[group_of]
        values = np.empty(n_steps)
        for first in range(0, n_steps, n_rows):
            steps = np.arange(first, min(first + n_rows, n_steps))
            mixed = np.where(rank_of < steps[:, np.newaxis], row, start)
            values[steps] = evaluate(mixed.reshape(-1, *baseline.shape))
        attributions[order] += np.diff(values)
    return attributions / len(orders)
