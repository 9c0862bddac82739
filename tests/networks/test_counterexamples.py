"""Counterexamples: whole columns change, from the right samples, in the right share."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.networks.counterexamples import COUNTEREXAMPLES, cut_mix, resample_columns

GROUPS = [np.array([0]), np.array([1, 3]), np.array([2])]


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_cut_mix_takes_over_whole_columns_of_one_known_anomaly():
    normal = np.arange(400, dtype=np.float32).reshape(100, 4)
    known = -1 - np.arange(12, dtype=np.float32).reshape(3, 4)
    made = cut_mix(normal, known, GROUPS, random())
    replaced = made < 0
    np.testing.assert_array_equal(made[~replaced], normal[~replaced])
    np.testing.assert_array_equal(replaced[:, 1], replaced[:, 3])
    donors = np.where(replaced, (-1 - made) // 4, np.nan)
    assert all(len(set(row[~np.isnan(row)])) <= 1 for row in donors)
    assert {0, 1, 2} == set(donors[~np.isnan(donors)])


def test_cut_mix_takes_over_about_two_thirds_of_the_columns():
    normal, known = np.zeros((5000, 40)), np.ones((1, 40))
    groups = list(np.arange(40).reshape(-1, 1))
    shares = cut_mix(normal, known, groups, random()).mean(axis=1)
    assert shares.mean() == pytest.approx(0.65, abs=0.01)
    assert shares.min() < 0.3
    assert shares.max() == 1


def test_images_change_in_patches():
    normal, known = np.zeros((20, 4, 4, 1)), np.ones((2, 4, 4, 1))
    pixels = np.arange(16).reshape(4, 4)
    groups = [pixels[r : r + 2, c : c + 2].ravel() for r in (0, 2) for c in (0, 2)]
    made = cut_mix(normal, known, groups, random()).reshape(20, 2, 2, 2, 2)
    assert made.max() == 1
    np.testing.assert_array_equal(made.min(axis=(2, 4)), made.max(axis=(2, 4)))


def test_resampled_columns_keep_their_values_but_not_their_dependence():
    column = np.arange(1000.0)
    normal = np.stack([column, column, -column, column], axis=1)
    made = resample_columns(normal, normal[:0], GROUPS, random())
    for j in range(4):
        assert set(made[:, j]) <= set(normal[:, j])
        assert made[:, j].mean() == pytest.approx(normal[:, j].mean(), rel=0.1)
    np.testing.assert_array_equal(made[:, 1], made[:, 3])
    assert abs(np.corrcoef(made[:, 0], made[:, 1])[0, 1]) < 0.1


def test_the_automatic_choice_depends_on_whether_an_anomaly_is_known():
    normal, known = random().random((50, 4)), 2 + random().random((2, 4))
    make = COUNTEREXAMPLES["auto"]
    assert make(normal, known, GROUPS, random()).max() > 2
    assert make(normal, known[:0], GROUPS, random()).max() <= 1


def test_cut_mix_without_a_known_anomaly_says_what_to_do():
    with pytest.raises(ValueError, match='needs known anomalies: label some, or use "resampled"'):
        cut_mix(np.zeros((3, 4)), np.zeros((0, 4)), GROUPS, random())
