"""The tests behind `monitor`: rarely significant without a shift, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.artefact.sketch import NumberSketch
from r2ad2.detectors.drift_tests import (
    distance_p_value,
    number_distance,
    outside_p_value,
    share_interval,
    share_p_value,
)

N_DRAWS = 400
LEVEL = 0.1
# By how much the share of p-values up to the level may exceed it by chance in this many draws.
LIMIT = LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / N_DRAWS)


@pytest.mark.parametrize(("n", "m"), [(40, 400), (400, 40), (200, 200)])
def test_a_distance_between_samples_of_one_distribution_is_rarely_significant(rng, n, m):
    p_values = [
        distance_p_value(
            number_distance(NumberSketch.of(rng.normal(size=n)), np.sort(rng.normal(size=m))),
            n,
            m,
            tolerance=0.0,
        )
        for _ in range(N_DRAWS)
    ]
    assert np.mean(np.array(p_values) <= LEVEL) <= LIMIT


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_a_share_that_grows_by_the_tolerance_is_rarely_significant(rng, tolerance):
    before, after = rng.binomial(300, 0.05, N_DRAWS), rng.binomial(500, 0.05 + tolerance, N_DRAWS)
    p_values = [
        share_p_value(k, 500, k_before, 300, tolerance)
        for k, k_before in zip(after, before, strict=True)
    ]
    assert np.mean(np.array(p_values) <= LEVEL) <= LIMIT


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_contaminated_rows_above_the_greatest_one_are_rarely_significant(rng, tolerance):
    n, m = 100, 300
    p_values = []
    for _ in range(N_DRAWS):
        others = rng.binomial(m, tolerance)
        k = int((rng.random(m - others) > rng.random(n).max()).sum()) + others
        p_values.append(outside_p_value(k, m, n, tolerance))
    assert np.mean(np.array(p_values) <= LEVEL) <= LIMIT


def test_changes_beyond_the_tolerance_are_significant(rng):
    old, new = NumberSketch.of(rng.normal(size=500)), np.sort(rng.normal(1, 1, 500))
    assert distance_p_value(number_distance(old, new), 500, 500, 0.1) < 1e-4
    assert share_p_value(120, 500, 5, 500, 0.1) < 1e-4
    assert outside_p_value(40, 500, 500, 0.01) < 1e-4


def test_a_few_points_never_overstate_a_distance(rng):
    values, new = rng.integers(0, 5, 300).astype(float), np.sort(rng.integers(1, 6, 300) * 1.0)
    few, all_points = (number_distance(NumberSketch.of(values, n), new) for n in (3, 300))
    assert few <= all_points
    assert all_points == pytest.approx(
        max(abs((values <= x).mean() - (new <= x).mean()) for x in np.unique(values))
    )


def test_the_interval_of_a_share_covers_it_as_often_as_it_says(rng):
    intervals = [share_interval(int(k), 200) for k in rng.binomial(200, 0.03, N_DRAWS)]
    covered = [low <= 0.03 <= high for low, high in intervals]
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / N_DRAWS)
    assert share_interval(0, 10)[0] == 0
    assert share_interval(10, 10)[1] == 1
