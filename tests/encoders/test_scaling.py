"""Scaling of numeric columns: by range, by quantiles, robustly."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from r2ad2.encoders import column_sample, scaling
from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.column_sample import ColumnSample, row_priorities
from r2ad2.encoders.scaling import SCALINGS, scaling_from
from r2ad2.encoders.statistics import TableStatistics
from r2ad2.encoders.tables import TableEncoder
from tests.helpers.tables import encode

finite = st.floats(allow_nan=False, allow_infinity=False)


def learnt(kind, column):
    """Learn the scaling of one column, and return a function that scales numbers."""
    column = np.reshape(column, (-1, 1)).astype(np.float64)
    encoder = VectorEncoder.learn(column, np.ones(len(column), bool), scaling=kind)
    return lambda *values: encode(encoder, np.reshape(values, (-1, 1)))[:, 0]


def test_quantiles_are_normal_scores_whatever_the_distribution(rng):
    normal = rng.normal(size=5_000)
    scaled = learnt("quantile", np.exp(3 * normal))(*np.exp(3 * normal))
    scores = norm.ppf((normal.argsort().argsort() + 1.5) / 5_002)
    expected = 0.5 - scores / (2 * norm.ppf(0.5 / 5_002))
    inner = (normal > normal.min()) & (normal < normal.max())
    # Between knots it is linear.
    np.testing.assert_allclose(scaled[inner], expected[inner], atol=0.003)
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_few_different_values_have_the_middle_of_their_steps():
    scale = learnt("quantile", [0, 0, 1, 1, 1, 1, 5, 9, 9, 9])
    one, five = 0.5 - norm.ppf([5 / 12, 7.5 / 12]) / (2 * norm.ppf(0.5 / 12))
    np.testing.assert_allclose(scale(0, 1, 5, 9), [0, one, five, 1], rtol=1e-6)
    np.testing.assert_allclose(scale(0.5, 3), [one / 2, (one + five) / 2], rtol=1e-6)


@pytest.mark.parametrize("column", [[3, 3, 3], [0, 0, 0, 1], [-1e308, 1.5e308]])
def test_columns_of_at_most_two_values_are_scaled_as_by_their_range(column):
    for kind in ("minmax", "quantile"):
        expected = np.arange(len(set(column)))
        np.testing.assert_array_equal(learnt(kind, column)(*sorted(set(column))), expected)


def test_far_outliers_remain_distinguishable(rng):
    column = rng.normal(size=1_000)
    scaled = learnt("quantile", column)(*(10.0 ** np.arange(1, 309, 20)))
    assert (np.diff(scaled) > 1).all()
    assert scaled[-1] < 800
    low, high = learnt("quantile", [0, 10])(-10, 20)
    assert [low, high] == pytest.approx([-np.log(2), 1 + np.log(2)])


@pytest.mark.parametrize("kind", SCALINGS)
@settings(deadline=None)
@given(column=st.lists(finite, min_size=1, max_size=9), values=st.lists(finite, max_size=9))
def test_any_numbers_keep_their_order(kind, column, values):
    scale = learnt(kind, column)
    if kind != "limited":
        assert ((scale(*column) >= 0) & (scale(*column) <= 1)).all()
    scaled = scale(*sorted(values + column))
    assert np.isfinite(scaled).all()
    assert (np.diff(scaled) >= 0).all()


@pytest.mark.parametrize("code", [-1e6, -1e9, -3.4e38, -np.finfo(np.float64).max, 1e9, 1e300])
def test_extreme_outliers_leave_limited_scaling_room_for_all_others(code, rng):
    column = rng.normal(size=1_000)
    scale = learnt("limited", [*column, code])
    low, high = np.quantile(column, [0.25, 0.75])
    below, above = low - 1e4 * (high - low), high + 1e6 * (high - low)
    if code < 0:
        np.testing.assert_allclose(scale(below, column.max()), [0, 1], atol=0.01)
        assert scale(code)[0] < 0
    else:
        np.testing.assert_allclose(scale(column.min(), above), [0, 1], atol=0.01)
        assert scale(code)[0] > 1
    assert len(np.unique(scale(*column))) > 800


@pytest.mark.parametrize(
    "column",
    [
        np.arange(10),
        np.full(9, 3.0),
        np.repeat([0, 1], [9_999, 1]),
        np.repeat([0, 5, 1e9], [9_950, 30, 20]),  # a counter that is hardly ever used
        np.exp(np.linspace(-9, 9, 500)),
    ],
)
def test_usual_columns_are_scaled_by_their_range_alone(column):
    whole = np.reshape(column, (-1, 1)).astype(np.float64)
    encoder = VectorEncoder.learn(whole, np.ones(len(column), bool), scaling="limited")
    assert encoder.scaling.get_config() == {"kind": "minmax"}


def test_a_column_with_few_values_is_limited_by_the_spread_of_the_others():
    column = np.repeat([0, 1, -1e9], [900, 90, 10])
    np.testing.assert_allclose(learnt("limited", column)(0, 1, -1e4), [1e4 / 10_001, 1, 0])


@pytest.mark.parametrize(
    ("learnt_values", "message"),
    [
        ({"lowest": [0], "highest": [1, 2]}, "lowest .* has 1 entries for 2"),
        ({"lowest": [0, 0], "highest": [1, np.nan]}, "highest"),
        ({"lowest": [0, 3], "highest": [1, 2]}, "must not exceed"),
    ],
)
def test_limits_that_cannot_be_used_are_refused(learnt_values, message):
    with pytest.raises(ValueError, match=message):
        scaling_from({"kind": "limited", **learnt_values}, [0, 0], [5, 5])


@pytest.mark.parametrize(
    ("column", "center", "spread"),
    [
        ([0, 1, 2, 3, 100], 2, 2),
        ([0, 0, 0, 0, 0, 0, 0, 10], 0, np.std([0] * 7 + [10])),  # the quartiles are equal
        ([0.1] * 7, 0.1, 1),
        ([-1.5e308, -1e308, 1e308, 1.5e308], 0, np.finfo(np.float64).max),
    ],
)
def test_robust_scaling_is_a_sigmoid_around_the_median(column, center, spread):
    values = np.array([*column, center + spread / 2])
    expected = 1 / (1 + np.exp(-(values / spread - center / spread)))
    np.testing.assert_allclose(learnt("robust", column)(*values), expected, rtol=1e-6)


def test_unusual_rows_leave_robust_and_quantile_scaling_alone(rng):
    column = rng.normal(size=2_000)
    with_error = np.append(column, 1e12)
    for kind in ("quantile", "robust"):
        np.testing.assert_allclose(
            learnt(kind, column)(0, 1), learnt(kind, with_error)(0, 1), atol=0.01
        )
    assert learnt("minmax", with_error)(0)[0] == pytest.approx(learnt("minmax", with_error)(1)[0])


@pytest.fixture(scope="module")
def numbers():
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "heavy": np.exp(3 * random.normal(size=3_000)),
            "count": random.poisson(3, 3_000),
            "gaps": np.where(random.random(3_000) < 0.1, np.nan, random.normal(size=3_000)),
        }
    )
    return table, random.random(3_000) < 0.9


@pytest.mark.parametrize("kind", SCALINGS)
@pytest.mark.parametrize("sampled", [20_000, 500], ids=["all rows", "a sample"])
def test_arrays_tables_and_tables_in_chunks_agree(kind, sampled, numbers, monkeypatch):
    monkeypatch.setattr(column_sample, "_SAMPLE_ROWS", sampled)
    table, is_normal = numbers
    whole = TableEncoder.learn(table, is_normal, missing="indicator", scaling=kind)
    array = VectorEncoder.learn(table.to_numpy(), is_normal, None, "indicator", kind)
    np.testing.assert_array_equal(encode(whole, table), encode(array, table.to_numpy()))
    for size in (1, 700):
        parts = range(0, 40 if size == 1 else len(table), size)
        statistics = TableStatistics("indicator", kind)
        for first in parts:
            rows = slice(first, first + size)
            statistics.update(table[rows], is_normal[rows])
        used = slice(0, parts[-1] + size)
        expected = TableEncoder.learn(table[used], is_normal[used], None, "indicator", kind)
        assert statistics.result()["scaling"] == expected.scaling.get_config()


@pytest.mark.parametrize("kind", SCALINGS)
@pytest.mark.parametrize("missing", ["error", "indicator"])
def test_sparse_matrices_are_scaled_as_dense_ones(kind, missing, rng):
    dense = rng.normal(size=(300, 5)) * (rng.random((300, 5)) < 0.4)
    if missing == "indicator":
        dense[::7, 2] = np.nan
    is_normal = rng.random(300) < 0.9
    sparse = scipy.sparse.csr_array(dense)
    learnt_from = [VectorEncoder.learn(x, is_normal, None, missing, kind) for x in (dense, sparse)]
    configs = [encoder.scaling.get_config() for encoder in learnt_from]
    assert configs[0] == configs[1]


def test_wide_tables_have_fewer_knots_per_column(rng, monkeypatch):
    monkeypatch.setattr(scaling, "_MAX_ALL_KNOTS", 100)
    encoder = VectorEncoder.learn(rng.random((500, 10)), np.ones(500, bool), scaling="quantile")
    assert all(5 <= len(knots) <= 10 for knots in encoder.scaling.knots)


def test_a_sample_is_bounded_and_resembles_the_column(monkeypatch):
    monkeypatch.setattr(column_sample, "_SAMPLE_ROWS", 1_000)
    sample, rows = ColumnSample(), np.arange(50_000)
    for part in np.split(rows, 50):
        sample.update(part.astype(np.float64), row_priorities(part))
    assert len(sample.values) == 1_000
    np.testing.assert_allclose(
        np.quantile(sample.values, [0.25, 0.5, 0.75]) / 50_000, [0.25, 0.5, 0.75], atol=0.05
    )


@pytest.mark.parametrize("kind", SCALINGS)
def test_encoders_keep_their_scaling(kind, numbers):
    table, is_normal = numbers
    for encoder, samples in (
        (TableEncoder.learn(table, is_normal, None, "indicator", kind), table),
        (
            VectorEncoder.learn(table.to_numpy(), is_normal, None, "indicator", kind),
            table.to_numpy(),
        ),
    ):
        config = keras.saving.serialize_keras_object(encoder)
        again = keras.saving.deserialize_keras_object(config)
        np.testing.assert_array_equal(encode(again, samples), encode(encoder, samples))


def test_encoders_without_a_scaling_use_the_range(numbers):
    """As in files of version 0.1.0."""
    table, is_normal = numbers
    for encoder in (
        TableEncoder.learn(table, is_normal, missing="indicator"),
        VectorEncoder.learn(table.to_numpy(), is_normal, missing="indicator"),
    ):
        config = encoder.get_config()
        assert config.pop("scaling") == {"kind": "minmax"}
        samples = table if isinstance(encoder, TableEncoder) else table.to_numpy()
        again = type(encoder).from_config(config)
        np.testing.assert_array_equal(encode(again, samples), encode(encoder, samples))


@pytest.mark.parametrize("kind", SCALINGS)
def test_tables_without_numeric_columns(kind):
    table = pd.DataFrame({"kind": ["a", "b"] * 5})
    encoder = TableEncoder.learn(table, np.ones(10, bool), scaling=kind)
    assert encode(encoder, table).shape == (10, 3)


def test_images_are_always_scaled_by_their_range(rng):
    images = rng.normal(size=(5, 4, 4))
    plain, other = (
        ImageEncoder.learn(images, np.ones(5, bool), scaling=kind)
        for kind in ("minmax", "quantile")
    )
    np.testing.assert_array_equal(encode(plain, images), encode(other, images))


@pytest.mark.parametrize("kind", SCALINGS)
def test_graphs_compute_the_same(kind, numbers):
    table, is_normal = numbers
    encoder = VectorEncoder.learn(table.to_numpy(), is_normal, None, "indicator", kind)
    prepared = encoder.prepare(table.to_numpy())
    for shape, jit in (([None, 3], False), ([None, 3], True), (None, False)):
        spec = tf.TensorSpec(shape, tf.float64)
        compiled = tf.function(encoder, input_signature=[spec], jit_compile=jit)
        np.testing.assert_allclose(compiled(prepared), encoder(prepared), atol=1e-6)
        assert compiled(prepared[:0]).shape == (0, 6)


ODD = {
    "unknown kind": ({"kind": "log"}, "unknown scaling 'log'"),
    "no kind": ({"knots": []}, "unknown scaling None"),
    "too few columns": ({"kind": "quantile", "knots": [[0, 1]], "levels": [[0, 1]]}, "1 entries"),
    "endless knot": (
        {"kind": "quantile", "knots": [[0, np.inf]] * 2, "levels": [[0, 1]] * 2},
        "knots of an encoder must be finite",
    ),
    "descending knots": (
        {"kind": "quantile", "knots": [[1, 0]] * 2, "levels": [[0, 1]] * 2},
        "ascending",
    ),
    "levels of another length": (
        {"kind": "quantile", "knots": [[0, 1]] * 2, "levels": [[0]] * 2},
        "ascending",
    ),
    "no knots": ({"kind": "quantile", "knots": [[]] * 2, "levels": [[]] * 2}, "ascending"),
    "no spread": ({"kind": "robust", "center": [0, 0], "spread": [1, 0]}, "must be positive"),
    "centers of other columns": (
        {"kind": "robust", "center": [0], "spread": [1, 1]},
        "center of the scaling 'robust' has 1 entries for 2 columns",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_scalings_are_refused(name):
    config, reason = ODD[name]
    with pytest.raises(ValueError, match=reason):
        scaling_from(config, [0, 0], [1, 1])
