"""Tests whether samples come from the same distribution as earlier ones, up to a known share.

All p-values hold for every number of samples. Their hypothesis leaves room for contamination: a
share of the new samples, such as anomalies, may come from anywhere.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import beta, binom

from r2ad2.artefact.sketch import NumberSketch, TextSketch


def effective_size(n: int, m: int) -> float:
    """Compute n m / (n + m), the size that decides the noise in a difference of two samples."""
    return n * m / max(n + m, 1)


def distance_p_value(distance: float, n: int, m: int, tolerance: float) -> float:
    """Bound the probability of a distance between the distributions of two samples.

    Args:
        distance: greatest difference between their empirical distribution functions, or between
            those at some points.
        n: size of one sample.
        m: size of the other one.
        tolerance: share of either sample that may come from anywhere, in [0, 1].

    Source: Dvoretzky, Kiefer and Wolfowitz for two samples, with the constant e that holds for all
        sizes (Wei and Dudley, "Two-sample Dvoretzky-Kiefer-Wolfowitz inequalities", 2012).
    """
    excess = max(distance - tolerance, 0.0)
    return float(min(1.0, np.e * np.exp(-2 * effective_size(n, m) * excess**2)))


def share_p_value(k: int, m: int, k_before: int, n: int, tolerance: float) -> float:
    """Test whether a share has grown by more than a tolerance.

    Args:
        k: new samples that count.
        m: all new samples.
        k_before: earlier samples that count.
        n: all earlier samples.
        tolerance: growth that does not count as a change, in [0, 1].

    Returns:
        Twice the smallest greater one of two probabilities, over all shares s: of no more than
        k_before earlier samples if their share is s, and of k or more new ones if theirs is
        s + tolerance. Whatever the share is, one of both is a p-value.
    """
    if k * max(n, 1) <= (k_before + tolerance * n) * m:  # it has not grown by more
        return 1.0
    low, high = k_before / max(n, 1), k / m
    for _ in range(30):  # the first probability falls with s, the second one rises
        share = (low + high) / 2
        before = binom.cdf(k_before, n, share)
        after = binom.sf(k - 1, m, min(share + tolerance, 1.0))
        low, high = (share, high) if before > after else (low, share)
    return float(min(1.0, 2 * max(before, after)))


def outside_p_value(k: int, m: int, n: int, tolerance: float) -> float:
    """Test how many of m new samples lie above the greatest of n earlier ones.

    Without contamination, k or more do with probability m! (n + m - k)! / ((m - k)! (n + m)!):
    every order of all samples is equally likely. With it, some of them may be others.

    Args:
        k: new samples above.
        m: all new samples.
        n: earlier samples.
        tolerance: share of the new samples that may be anything, in [0, 1].
    """
    if k == 0:
        return 1.0
    steps = np.arange(k)
    # Probability that 0, 1, ... k or more samples of the same distribution lie above.
    same = np.concatenate([[1.0], np.exp(np.cumsum(np.log((m - steps) / (n + m - steps))))])
    others = binom.sf(k - np.arange(k + 1), m, tolerance)  # more than the rest of them
    return float(min(1.0, (same + others).min()))


def share_interval(k: int, m: int, level: float = 0.05) -> tuple[float, float]:
    """Compute the interval of a share of which k of m samples were seen (Clopper and Pearson)."""
    low = 0.0 if k == 0 else float(beta.ppf(level / 2, k, m - k + 1))
    high = 1.0 if k == m else float(beta.ppf(1 - level / 2, k + 1, m - k))
    return low, high


def number_distance(sketch: NumberSketch, values: np.ndarray) -> float:
    """Compute the greatest difference of the distribution functions at the sketch's points.

    Args:
        sketch: of the earlier values.
        values: new ones, in ascending order and without NaN.
    """
    if not len(values) or not sketch.points:
        return 0.0
    at_most = np.searchsorted(values, sketch.points, side="right") / len(values)
    below = np.searchsorted(values, sketch.points, side="left") / len(values)
    changes = np.abs([at_most - sketch.shares, below - sketch.shares_below])
    return float(changes.max())


def text_distances(sketch: TextSketch, counts: dict[str, int]) -> dict[str, float]:
    """Compute how much the share of each known category has changed."""
    n, m = max(sketch.n_present, 1), max(sum(counts.values()), 1)
    return {text: counts.get(text, 0) / m - k / n for text, k in sketch.counts.items()}
