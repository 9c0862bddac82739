"""Sketched gradients: the same inner products for either method, and models that use them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from r2ad2 import R2AD2, Autoencoder
from r2ad2.gradients import GradientSketch, PerSampleGradients
from r2ad2.gradients.blocks import FormedGradient, OuterProduct, blocks_of


def projections(engine, x, sketch):
    return tf.concat(sketch.project(engine.block_gradients(tf.constant(x))), axis=1).numpy()


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    ("architecture", "shape"), [("5-3", (7,)), ("3C3-2", (6, 5, 2))], ids=["dense", "images"]
)
def test_both_gradient_methods_give_the_same_sketch(rng, architecture, shape, use_bias):
    model = Autoencoder(architecture, input_shape=shape, use_bias=use_bias, dtype="float64")
    engines = [PerSampleGradients(model, method=m) for m in ("closed_form", "vectorized_map")]
    shapes = [(block.rows, block.columns) for block in engines[0].blocks]
    size = min(rows * columns for rows, columns in shapes)  # all other blocks are sketched
    sketch = GradientSketch(shapes, size=size, seed=0, dtype="float64")
    assert sketch.output_size == size * len(shapes)
    for n in (1, 5):
        x = rng.normal(size=(n, *shape))
        closed, mapped = (projections(engine, x, sketch) for engine in engines)
        assert closed.shape == (n, sketch.output_size)
        np.testing.assert_allclose(closed, mapped, atol=1e-10 * np.abs(mapped).max())


def test_an_outer_product_is_projected_as_if_it_were_formed(rng):
    left, right = rng.normal(size=(4, 5)), rng.normal(size=(4, 7))
    l_factors, r_factors = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    product = OuterProduct(tf.constant(left), tf.constant(right))
    formed = FormedGradient(product.flat())
    expected = [
        [
            np.sum(np.outer(left[n], right[n]) * np.outer(l_factors[:, k], r_factors[:, k]))
            for k in range(3)
        ]
        for n in range(4)
    ]
    for gradient in (product, formed):
        np.testing.assert_allclose(gradient.project(l_factors, r_factors), expected, rtol=1e-12)


def test_the_sketch_keeps_the_expected_squared_length(rng):
    gradient = rng.normal(size=(1, 20 * 30))
    sketch = GradientSketch([(20, 30)], size=599, seed=0, dtype="float64")
    projected = sketch.project([FormedGradient(tf.constant(gradient))])[0].numpy()
    # The mean of 599 squares, each with the expectation |G|^2.
    assert np.mean(projected**2) == pytest.approx(np.sum(gradient**2), rel=0.2)


def test_small_blocks_stay_as_they_are():
    model = Autoencoder("6-2", input_shape=(9,), seed=0)
    engine = PerSampleGradients(model)
    shapes = [(block.rows, block.columns) for block in engine.blocks]
    assert shapes == [(10, 6), (7, 2), (3, 6), (7, 9)]
    x = np.ones((3, 9), np.float32)
    everything = GradientSketch(shapes, size=63)
    assert everything.weights == []
    np.testing.assert_array_equal(projections(engine, x, everything), engine(x))
    assert GradientSketch(shapes, size=20).output_size == 20 + 14 + 18 + 20


def test_a_kernel_and_its_bias_make_one_block():
    conv = keras.layers.Conv2D(4, 3)
    conv.build((None, 8, 8, 2))
    norm = keras.layers.BatchNormalization()
    norm.build((None, 4))
    found = [(b.rows, b.columns) for b in blocks_of([*conv.weights, *norm.trainable_weights])]
    assert found == [(3 * 3 * 2 + 1, 4), (1, 4), (1, 4)]


@pytest.fixture
def data(rng):
    x = rng.random((64, 12), dtype=np.float32)
    y = (np.arange(64) % 6 == 0).astype(np.float32)
    x[y == 1] *= 2
    return x, y


def make_model(**kwargs):
    snapshots = [Autoencoder("8-4", input_shape=(12,), seed=k) for k in range(2)]
    options = {"gradient": "sketch", "sketch_size": 16, "alarm_units": (4,), "seed": 0}
    return R2AD2(snapshots, **(options | kwargs))


def test_a_sketched_model_trains_and_survives_saving(data, tmp_path):
    model = make_model()
    assert model.gradients(data[0]).shape == (64, 2, 64)
    model.compile(1e-2)
    history = model.fit(*data, epochs=15, batch_size=16, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(data[0], verbose=0), model.predict(data[0], verbose=0)
    )


def test_each_component_of_the_sketch_belongs_to_one_layer():
    model = make_model()
    assert list(model.layer_components) == ["encoder_1", "code", "decoder_1", "output"]
    components = [i for layer in model.layer_components.values() for i in layer]
    assert components == list(range(model.n_features)) == list(range(4 * 16))


@pytest.mark.parametrize("trainable", [False, True])
def test_only_a_trainable_sketch_changes_in_training(data, trainable):
    model = make_model(trainable_sketch=trainable)
    before = [weight.numpy().copy() for weight in model.sketch.weights]
    model.compile(1e-2)
    model.fit(*data, epochs=2, batch_size=16, verbose=0)
    changed = [
        not np.array_equal(old, new.numpy())
        for old, new in zip(before, model.sketch.weights, strict=True)
    ]
    assert len(changed) == 8
    assert all(changed) if trainable else not any(changed)


def test_given_gradients_are_refused_if_the_sketch_is_trained(data):
    model = make_model(trainable_sketch=True)
    model.compile()
    for name in ("gradients", "synthetic_gradients"):
        known = {"x": data[0], name: model.alarm_inputs(data[0]).numpy()}
        with pytest.raises(ValueError, match="change with it"):
            model.fit(known, data[1], verbose=0)


def test_without_a_seed_the_global_one_is_used(data):
    gradients = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        gradients.append(make_model(seed=None).gradients(data[0]))
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16", "bfloat16"])
def test_autoencoders_of_any_precision_can_be_sketched(data, dtype):
    snapshots = [Autoencoder("8-4", input_shape=(12,), seed=k, dtype=dtype) for k in range(2)]
    model = R2AD2(snapshots, gradient="sketch", sketch_size=16, alarm_units=(3,), seed=0)
    model.compile()
    history = model.fit(*data, batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_equal_seeds_give_equal_sketches(data):
    first, second, other = (make_model(seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.gradients(data[0]), second.gradients(data[0]))
    assert not np.array_equal(first.gradients(data[0]), other.gradients(data[0]))


@pytest.mark.parametrize(
    ("settings_of_model", "message"),
    [({"gradient": "rough"}, "rough"), ({"sketch_size": 0}, "sketch_size")],
)
def test_wrong_settings_are_refused(settings_of_model, message):
    with pytest.raises(ValueError, match=message):
        make_model(**settings_of_model)
