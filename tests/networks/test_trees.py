"""Trees as arrays and as a Keras layer: equal to scikit-learn, and never out of bounds."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)

from r2ad2.networks.bins import Bins
from r2ad2.networks.forest import TreeEnsemble, _Descent
from r2ad2.networks.trees import (
    TreeArrays,
    boosting_arrays,
    concatenate,
    forest_arrays,
    isolation_arrays,
)

FORESTS = {
    "extremely randomised": ExtraTreesClassifier(20, min_samples_leaf=3, random_state=0),
    "bootstrapped": ExtraTreesClassifier(20, bootstrap=True, random_state=0),
    "one leaf": ExtraTreesClassifier(3, min_samples_leaf=1000, random_state=0),
    "random forest": RandomForestClassifier(20, random_state=0),
}


def samples(n: int = 500, n_features: int = 6) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    # Few different values: many samples lie exactly on a random forest's thresholds.
    x = np.round(random.normal(size=(n, n_features)), 1).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0.3).astype(int)


@pytest.fixture(scope="module")
def bins() -> Bins:
    x, _ = samples()
    return Bins.of(x, np.ones(len(x)))


@pytest.fixture(scope="module")
def boosting(bins) -> HistGradientBoostingClassifier:
    x, y = samples()
    return HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=16).fit(bins.numbers(x), y)


@pytest.mark.parametrize("name", FORESTS)
def test_a_forest_in_the_graph_equals_scikit_learn(name):
    x, y = samples()
    forest = FORESTS[name].fit(x, y)
    layer = TreeEnsemble.from_forests([forest_arrays(forest)], x.shape[1])
    np.testing.assert_allclose(layer(x)[:, 0], forest.predict_proba(x)[:, 1], atol=1e-6)


def test_boosting_in_the_graph_equals_scikit_learn(boosting, bins):
    x, _ = samples()
    trees, offset = boosting_arrays(boosting, bins)
    logits = TreeEnsemble.from_forests([trees], x.shape[1])(x)[:, 0] + offset
    expected = boosting.predict_proba(bins.numbers(x))[:, 1]
    np.testing.assert_allclose(tf.sigmoid(logits), expected, atol=1e-6)


def test_an_isolation_forest_in_the_graph_equals_scikit_learn():
    x, _ = samples()
    forest = IsolationForest(n_estimators=30, random_state=0).fit(x)
    layer = TreeEnsemble.from_forests([isolation_arrays(forest)], x.shape[1])
    np.testing.assert_allclose(2.0 ** layer(x)[:, 0], -forest.score_samples(x), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    n_features=st.integers(1, 5),
    leaf=st.integers(1, 40),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
)
def test_any_forest_equals_scikit_learn_on_unseen_samples(seed, n_features, leaf, scale):
    random = np.random.default_rng(seed)
    x = (random.normal(size=(60, n_features)) * scale).astype(np.float32)
    y = np.arange(60) % 3 == 0
    forest = ExtraTreesClassifier(5, min_samples_leaf=leaf, random_state=seed).fit(x, y)
    unseen = (random.standard_t(1, size=(40, n_features)) * scale).astype(np.float32)
    layer = TreeEnsemble.from_forests([forest_arrays(forest)], n_features)
    np.testing.assert_allclose(layer(unseen)[:, 0], forest.predict_proba(unseen)[:, 1], atol=1e-6)


def test_float32_samples_stay_on_their_side_of_float64_thresholds():
    forest = RandomForestClassifier(50, random_state=0)
    random = np.random.default_rng(0)
    # Neighbouring float32 numbers: thresholds half-way between them are not float32 numbers.
    x = np.nextafter(np.float32(1), np.float32(2)) ** random.integers(0, 4, (200, 2))
    x = x.astype(np.float32)
    forest.fit(x, x[:, 0] > x.min())
    layer = TreeEnsemble.from_forests([forest_arrays(forest)], 2)
    np.testing.assert_allclose(layer(x)[:, 0], forest.predict_proba(x)[:, 1], atol=1e-6)


def test_forests_of_one_layer_are_separate_outputs():
    x, y = samples()
    forests = [ExtraTreesClassifier(n, random_state=n).fit(x, y) for n in (2, 5)]
    layer = TreeEnsemble.from_forests([forest_arrays(f) for f in forests], x.shape[1])
    expected = np.stack([f.predict_proba(x)[:, 1] for f in forests], axis=1)
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    assert layer.n_trees == (2, 5)


@pytest.mark.parametrize("n_rows", [0, 1, 7])
def test_xla_and_any_number_of_rows_give_equal_results(n_rows, boosting, bins):
    x, _ = samples()
    layer = TreeEnsemble.from_forests([boosting_arrays(boosting, bins)[0]], x.shape[1])
    fused = tf.function(layer.call, jit_compile=True, autograph=False)
    np.testing.assert_array_equal(fused(tf.constant(x[:n_rows])), layer(x)[:n_rows])


DEEP = ExtraTreesClassifier(3, random_state=0)
BALANCED = RandomForestClassifier(3, max_depth=4, random_state=0)


@pytest.mark.parametrize("n_rows", [0, 1, 1500])
@pytest.mark.parametrize(("forest", "by_xla"), [(DEEP, False), (DEEP, True), (BALANCED, False)])
def test_halving_leads_to_the_same_leaves_as_the_plain_formulation(n_rows, by_xla, forest):
    random = np.random.default_rng(0)
    # Random splits of heavy tails cut off little at a time.
    x = (random.standard_cauchy((3000, 2)) ** 3).astype(np.float32)
    forest.fit(x, random.integers(0, 2, 3000))
    layer = TreeEnsemble.from_forests([forest_arrays(forest)], 2)
    assert layer.depth == 4 or layer.depth >= 48
    x = tf.constant(x[:n_rows])
    trees = layer.arrays

    def look_up(at):
        bits = tf.bitcast(tf.constant(trees.thresholds), tf.int32)
        return [tf.gather(column, at) for column in (trees.features, trees.left, bits)]

    descent = _Descent(tf.reshape(x, [-1]), layer.depth, look_up)
    roots = tf.repeat(trees.roots, n_rows)
    first = tf.tile(tf.range(n_rows) * 2, [3])
    leaves = descent.plainly(roots, first).numpy()
    np.testing.assert_array_equal(trees.left[leaves], leaves)
    for halvings in range(4):
        walk = tf.function(descent.to_leaves, jit_compile=by_xla, autograph=False)
        np.testing.assert_array_equal(walk(roots, first, halvings), leaves)
    scores = tf.function(layer.call, jit_compile=by_xla, autograph=False)(x)
    expected = forest.predict_proba(x)[:, 1] if n_rows else np.empty(0)
    np.testing.assert_allclose(scores[:, 0], expected, atol=1e-6)


def test_the_layer_survives_a_keras_file(tmp_path):
    x, y = samples()
    layer = TreeEnsemble.from_forests([forest_arrays(FORESTS["bootstrapped"].fit(x, y))], 6)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(again(x), model(x))


def test_a_million_nodes_take_16_megabytes():
    layer = TreeEnsemble(3, 1_000_000, [100], 20)
    assert sum(weight.numpy().nbytes for weight in layer.weights) < 16.1e6


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 6, "refers to a feature that does not exist"),
        (1, 10_000, "refers to a node that does not exist"),
        (2, np.float32(np.inf).view(np.int32), "has a threshold that is not finite"),
    ],
)
def test_a_file_whose_trees_point_nowhere_is_refused(tmp_path, column, value, message):
    x, y = samples()
    layer = TreeEnsemble.from_forests([forest_arrays(FORESTS["bootstrapped"].fit(x, y))], 6)
    wrong = layer.nodes.numpy()
    wrong[0, column] = value
    layer.nodes.assign(wrong)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=message):
        keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)


def test_few_and_many_samples_reach_the_same_leaves(boosting, bins):
    x, _ = samples(1500)
    layer = TreeEnsemble.from_forests([boosting_arrays(boosting, bins)[0]], x.shape[1])
    few = np.concatenate([layer(part) for part in np.split(x, 5)])
    np.testing.assert_array_equal(few, layer(x))


def test_children_stand_next_to_each_other_and_leaves_point_to_themselves():
    x, y = samples()
    trees = forest_arrays(FORESTS["bootstrapped"].fit(x, y))
    leaves = trees.left == np.arange(trees.n_nodes)
    children = np.concatenate([trees.left[~leaves], trees.left[~leaves] + 1, trees.roots])
    np.testing.assert_array_equal(np.sort(children), np.arange(trees.n_nodes))
    assert (trees.values[~leaves] == 0).all()


def test_concatenated_trees_keep_their_nodes():
    x, y = samples()
    one = forest_arrays(FORESTS["bootstrapped"].fit(x, y))
    two = concatenate([one, one])
    assert (two.n_nodes, two.n_trees, two.depth) == (2 * one.n_nodes, 2 * one.n_trees, one.depth)
    second = TreeArrays(
        **{
            name: getattr(two, name)[one.n_nodes :] for name in ("features", "thresholds", "values")
        },
        left=two.left[one.n_nodes :] - one.n_nodes,
        roots=two.roots[one.n_trees :] - one.n_nodes,
        depth=two.depth,
    )
    for name, array in one.as_dict().items():
        np.testing.assert_array_equal(second.as_dict()[name], array, err_msg=name)
