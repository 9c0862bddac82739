"""Each layer's converter against Keras: output, and per-sample gradients of several copies."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from keras import layers

from r2ad2.gradients import PerSampleGradients
from r2ad2.serving.onnx.gradients import block_gradients
from r2ad2.serving.onnx.graph import Graph
from r2ad2.serving.onnx.proto import as_proto
from r2ad2.serving.onnx.registry import NotExportableError
from tests.helpers.onnx import session

pytest.importorskip("onnx", reason="ONNX is not installed")


def autoencoder(layer, shape):
    """Put a layer into an autoencoder with random weights, in double precision."""
    inputs = keras.Input(shape, dtype="float64")
    hidden = layers.Dense(shape[-1], "tanh", dtype="float64")(inputs)
    hidden = type(layer).from_config(layer.get_config() | {"dtype": "float64"})(hidden)
    hidden = layers.Flatten(dtype="float64")(hidden)
    outputs = layers.Dense(math.prod(shape), "sigmoid", dtype="float64")(hidden)
    model = keras.Model(inputs, layers.Reshape(shape, dtype="float64")(outputs))
    random = np.random.default_rng(0)
    model.set_weights([np.abs(random.normal(0.5, 0.5, weight.shape)) for weight in model.weights])
    return model


def copy_of(model, seed):
    copy = keras.models.clone_model(model)
    random = np.random.default_rng(seed)
    copy.set_weights([w * random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return copy


def assert_equals_keras(model, loss="binary_crossentropy", n_copies=2, tolerance=1e-10):
    models = [model, *(copy_of(model, seed) for seed in range(1, n_copies))]
    graph = Graph()
    shape = model.input_shape[1:]
    engines = [PerSampleGradients(each, loss=loss) for each in models]
    x = graph.input("x", "float64", (None, *shape))
    gradients, outputs = block_gradients(graph, models, x, loss, engines[0].blocks)
    graph.output("outputs", outputs)
    for number, gradient in enumerate(gradients):
        graph.output(f"gradient_{number}", gradient.flat())
        graph.output(f"norm_{number}", gradient.squared_norm())
    opened = session(as_proto(graph, {}).SerializeToString())
    for n in (0, 1, 5):
        samples = np.random.default_rng(n).normal(0.4, 0.5, (n, *shape))
        found = opened.run(None, {"x": samples})
        stacked = [part if n_copies > 1 else part[np.newaxis] for part in found]
        for k, (copy, engine) in enumerate(zip(models, engines, strict=True)):
            expected = engine(samples).numpy()
            together = np.concatenate(
                [np.broadcast_to(part, (n_copies, *part.shape[1:]))[k] for part in stacked[1::2]],
                axis=1,
            )
            scale = np.abs(expected).max(initial=1e-20)
            np.testing.assert_allclose(together, expected, rtol=0, atol=tolerance * scale)
            squares = sum(part[k, :, 0] for part in stacked[2::2])
            np.testing.assert_allclose(squares, np.square(expected).sum(axis=1), rtol=1e-9)
            if n:
                np.testing.assert_allclose(stacked[0][k], copy(samples), atol=1e-12)


VECTORS = [
    layers.Dense(3, "relu"),
    layers.Dense(3, use_bias=False),
    layers.BatchNormalization(),
    layers.BatchNormalization(scale=False),
    layers.Dropout(0.5),
    layers.ReLU(negative_slope=0.1),
    layers.LeakyReLU(0.2),
    layers.ELU(),
    *(
        layers.Activation(name)
        for name in (
            "elu",
            "selu",
            "softplus",
            "silu",
            "softsign",
            "exponential",
            "leaky_relu",
            "sigmoid",
        )
    ),
]
IMAGES = [
    layers.Conv2D(3, 3, padding="same", activation="relu"),
    layers.Conv2D(2, (2, 3), strides=(2, 1), use_bias=False),
    layers.Conv2D(2, 3, dilation_rate=2, padding="same"),
    layers.Conv2DTranspose(3, 3, strides=2, padding="same"),
    layers.Conv2DTranspose(2, (2, 3), strides=(1, 2)),
    layers.SeparableConv2D(3, 3, depth_multiplier=2, padding="same"),
    layers.SeparableConv2D(2, 2, strides=2),
    layers.Dense(3, "tanh"),
    layers.BatchNormalization(),
    layers.MaxPooling2D(2, padding="same"),
    layers.MaxPooling2D(3, strides=2),
    layers.AveragePooling2D(2, padding="same"),
    layers.GlobalAveragePooling2D(),
    layers.Cropping2D(((1, 0), (2, 1))),
    layers.ZeroPadding2D((1, 2)),
    layers.UpSampling2D((2, 3)),
    layers.SpatialDropout2D(0.5),
]


def _name(layer):
    return f"{type(layer).__name__}-{getattr(getattr(layer, 'activation', None), '__name__', '')}"


@pytest.mark.parametrize("layer", VECTORS, ids=_name)
def test_layers_of_vectors(layer):
    assert_equals_keras(autoencoder(layer, (4,)))


@pytest.mark.parametrize("layer", IMAGES, ids=_name)
def test_layers_of_images(layer):
    assert_equals_keras(autoencoder(layer, (6, 5, 2)))


@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error"])
def test_losses(loss):
    assert_equals_keras(autoencoder(layers.Dense(3), (4,)), loss)


def test_cross_entropy_of_a_prediction_that_keras_clips():
    """Without a sigmoid at the end Keras clips the prediction to (0, 1)."""
    inputs = keras.Input((4,), dtype="float64")
    hidden = layers.Dense(3, "tanh", dtype="float64")(inputs)
    model = keras.Model(inputs, layers.Dense(4, dtype="float64")(hidden))
    assert_equals_keras(model)


def test_graphs_with_branches_and_shared_layers():
    inputs = keras.Input((4,), dtype="float64")
    shared = layers.Dense(4, "tanh", dtype="float64")
    once = shared(inputs)
    twice = shared(once)
    merged = layers.Add(dtype="float64")([once, twice])
    merged = layers.Concatenate(dtype="float64")([merged, twice])
    model = keras.Model(inputs, layers.Dense(4, "sigmoid", dtype="float64")(merged))
    assert_equals_keras(model)


def test_sequential_and_nested_models_and_single_copies():
    inner = keras.Sequential(
        [keras.Input((4,), dtype="float64"), layers.Dense(3, "relu", dtype="float64")]
    )
    outer = [keras.Input((4,), dtype="float64"), inner, layers.Dense(4, "sigmoid", dtype="float64")]
    assert_equals_keras(keras.Sequential(outer), n_copies=1)


def written(layer, shape, loss="binary_crossentropy"):
    model = autoencoder(layer, shape)
    graph = Graph()
    x = graph.input("x", "float64", (None, *shape))
    block_gradients(graph, [model], x, loss, PerSampleGradients(model).blocks)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (layers.GroupNormalization(2, name="odd"), r"layer 'odd' \(GroupNormalization\).*no conv"),
        (layers.Dense(2, "gelu", name="odd"), "layer 'odd'.*'gelu' is not among .*relu"),
        (layers.Conv2D(2, 3, groups=2, name="odd"), "layer 'odd'.*grouped"),
        (
            layers.UpSampling2D(2, interpolation="bilinear", name="odd"),
            "layer 'odd'.*interpolates",
        ),
        (layers.BatchNormalization(axis=1, name="odd"), "layer 'odd'.*last axis"),
        (layers.ReLU(6.0, name="odd"), "layer 'odd'.*maximum"),
    ],
)
def test_what_cannot_be_written_is_named_with_a_remedy(layer, reason):
    with pytest.raises(NotExportableError, match=reason):
        written(layer, (6, 6, 2))


def test_a_loss_that_cannot_be_written_is_named():
    with pytest.raises(NotExportableError, match=r"loss 'huber' cannot.*mean_squared_error"):
        written(layers.Dense(2), (4,), loss="huber")
