"""Samples of streams: uniform, bounded, and the same however the stream is divided."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.support.random_sample import RandomSample

N_ROWS = 60_000


def drawn(seed: int, edges: list[int], always: np.ndarray | None = None) -> tuple:
    rows = np.arange(N_ROWS)
    sample = RandomSample(500, seed, np.concatenate)
    for piece in np.split(rows, edges):
        sample.add(rows[piece], None if always is None else always[piece])
        assert len(sample) < 12_000 + len(piece)
    return sample.rows()


def test_samples_do_not_depend_on_the_pieces_and_are_uniform():
    rows, always = drawn(3, [])
    assert len(rows) == 500
    assert not always.any()
    assert np.all(np.diff(rows) > 0)
    np.testing.assert_array_equal(rows, drawn(3, [10, 777, 30_000])[0])
    means = [drawn(seed, [20_000, 40_000])[0].mean() for seed in range(30)]
    # mean and standard error of a uniform draw of 30 x 500 out of 60,000
    assert abs(np.mean(means) - 29_999.5) < 4 * N_ROWS / np.sqrt(12 * 15_000)


def test_some_rows_are_kept_in_any_case():
    always = np.arange(N_ROWS) % 100 == 0
    rows, kept = drawn(1, [7_000, 20_000, 20_001], always)
    np.testing.assert_array_equal(rows[kept], np.flatnonzero(always))
    assert (~kept).sum() == 500
    np.testing.assert_array_equal(rows, drawn(1, [31_000], always)[0])


def test_short_and_unlimited_streams_are_kept_whole():
    for n in (20, None):
        sample = RandomSample(n, 0, np.concatenate)
        sample.add(np.arange(12))
        sample.add(np.arange(12, 15))
        np.testing.assert_array_equal(sample.rows()[0], np.arange(15))


def test_a_sample_needs_rows():
    with pytest.raises(ValueError, match="no well-formed rows"):
        RandomSample(5, 0, np.concatenate).rows()
