"""Shapley values: how much each group of inputs contributes to a function's value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any

import numpy as np

N_PERMUTATIONS = 16


@dataclass(frozen=True)
class _Plan:
    """In which orders m groups take over, and the subsets of groups that this needs.

    Attributes:
        orders: (n_orders, m) numbers of the groups.
        subsets: (n_subsets, m) whether a group has taken over; each occurs once.
        steps: (n_orders, m + 1) which subset is there before the first, ..., after the last group.
    """

    orders: np.ndarray
    subsets: np.ndarray
    steps: np.ndarray

    def attributions(self, values: np.ndarray) -> np.ndarray:
        """Compute each group's mean change (m,) from the function's values (n_subsets,)."""
        changes = np.diff(values[self.steps], axis=1)
        sums = np.bincount(self.orders.ravel(), changes.ravel(), minlength=self.orders.shape[1])
        return sums / len(self.orders)


@lru_cache(maxsize=256)
def _plan(n_groups: int, n_permutations: int) -> _Plan:
    """Choose all orders where they are few enough, else random ones in pairs, there and back."""
    if math.factorial(n_groups) <= n_permutations:
        orders = np.array(list(permutations(range(n_groups))), dtype=np.int64)
    else:
        random = np.random.default_rng(n_groups)  # the same for all samples of all calls
        there = random.permuted(
            np.tile(np.arange(n_groups), (max(1, n_permutations // 2), 1)), axis=1
        )
        orders = np.concatenate([there, there[:, ::-1]])
    ranks = np.argsort(orders, axis=1)
    taken = ranks[:, np.newaxis, :] < np.arange(n_groups + 1)[:, np.newaxis]
    subsets, steps = np.unique(taken.reshape(-1, n_groups), axis=0, return_inverse=True)
    return _Plan(orders, subsets, steps.reshape(len(orders), n_groups + 1))


def shapley_weights(n_groups: int, n_permutations: int) -> tuple[np.ndarray, np.ndarray]:
    """Write the attributions as weighted sums of a function's values.

    Returns:
        Subsets of the groups (n_subsets, n_groups), true where a group has the explained input's
        value and not the baseline's, and the weights (n_groups, n_subsets) of the function's
        values there.
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
    """Attribute a function's values to groups of its inputs by Shapley values.

    Args:
        evaluate: takes inputs (rows, ...) and gives values (rows,).
        inputs: (n, ...) whose function values are explained.
        baseline: (...) input to compare with.
        groups: positions in a flattened input that belong together; each position is in one group.
        n_permutations: orders of the groups that are gone through, half of them backwards. Groups
            so few that they have no more orders than that are computed exactly.
        chunk: inputs that are evaluated at once, about.
        report: is told how many inputs are explained.

    Returns:
        Attributions (n, groups).

    Notes:
        Starting from the baseline, the groups take over the input's values one after the other, in
        random order; each one's share is the mean change of the function in its turn. The changes
        of one order add up to f(input) - f(baseline) whatever the function, so the attributions
        are complete but for rounding. Derivatives would not do: the gradient of an autoencoder with
        ReLU units jumps, so that integrated gradients miss a part of the difference.

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

    def work() -> None:
        mixed = []
        for sample, active, plan in waiting:
            takes = np.zeros((len(plan.subsets), len(groups)), dtype=bool)
            takes[:, active] = plan.subsets
            mixed.append(np.where(takes[:, group_of], flat[sample], start))
        rows = np.concatenate(mixed).reshape(-1, *baseline.shape)
        values = evaluate(rows).astype(np.float64)
        for sample, active, plan in waiting:
            attributions[sample, active] = plan.attributions(values[: len(plan.subsets)])
            values = values[len(plan.subsets) :]
        waiting.clear()

    for sample, row in enumerate(flat):
        active = np.unique(group_of[row != start])  # the others change nothing
        if not len(active):
            continue
        waiting.append((sample, active, _plan(len(active), n_permutations)))
        if sum(len(plan.subsets) for _, _, plan in waiting) >= chunk:
            work()
            report(sample + 1)
    if waiting:
        work()
    report(len(flat))
    return attributions
