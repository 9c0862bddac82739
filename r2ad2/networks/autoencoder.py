"""The target network: dense and convolutional autoencoders from a one-line description."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

# Name of the layer between encoder and decoder.
CODE = "code"
_AXES = "channels_last"  # of images: (height, width, channels)
_TOKEN = re.compile(r"(?P<units>[1-9]\d*)(C(?P<kernel>[1-9]\d*))?$")


@dataclass(frozen=True)
class _Architecture:
    """Parsed description: (filters, kernel size) of each convolution, units of each dense layer."""

    convolutions: tuple[tuple[int, int], ...]
    dense: tuple[int, ...]


def parse_architecture(description: str) -> _Architecture:
    """Parse "40-20-10" or "8C3-8C3-8" (8 filters of 3x3, twice, then a dense code of 8).

    Raises:
        ValueError: if the description is neither.
    """
    tokens = [_TOKEN.match(token) for token in str(description).split("-")]
    kinds = [bool(token["kernel"]) for token in tokens if token]
    # All convolutions come before the dense layers; at least one of those, the code, is required.
    if None in tokens or kinds != sorted(kinds, reverse=True) or all(kinds):
        raise ValueError(
            f'cannot read architecture {description!r}: expected dense units such as "40-20-10", '
            'or convolutions (filters C kernel size) and a dense code such as "8C3-8C3-8"'
        )
    parsed = [token for token in tokens if token]
    return _Architecture(
        tuple((int(t["units"]), int(t["kernel"])) for t in parsed if t["kernel"]),
        tuple(int(t["units"]) for t in parsed if not t["kernel"]),
    )


def default_architecture(sample_shape: Sequence[int]) -> str:
    """Choose an architecture of the paper by the number of features.

    Args:
        sample_shape: (features,) or (height, width, channels).
    """
    if len(sample_shape) == 3:
        return "8C3-8C3-8"
    n_features = sample_shape[0]
    if n_features < 10:
        return "5-3-2"
    return "20-10-5" if n_features < 40 else "40-20-10"


class _LayerFactory:
    """Makes the layers of one autoencoder, with common settings and a random seed for each."""

    def __init__(
        self,
        dropout: float,
        activation: Any,
        code_activation: Any,
        use_bias: bool,
        seed: int | None,
        dtype: Any,
    ):
        self.dropout_rate = dropout
        self.activation = activation
        self.code_activation = code_activation
        self.use_bias = use_bias
        self.dtype = dtype
        self._generator = None if seed is None else np.random.default_rng(seed)

    def seed(self) -> int | None:
        return None if self._generator is None else int(self._generator.integers(2**31))

    def weighted(self, layer_type: type, *args: Any, **kwargs: Any) -> layers.Layer:
        settings = {"activation": self.activation, "use_bias": self.use_bias, "dtype": self.dtype}
        initializer = keras.initializers.GlorotUniform(seed=self.seed())
        return layer_type(*args, kernel_initializer=initializer, **(settings | kwargs))

    def code(self, units: int) -> layers.Layer:
        return self.weighted(layers.Dense, units, activation=self.code_activation, name=CODE)

    def image(self, layer_type: type, *args: Any, **kwargs: Any) -> layers.Layer:
        """Make a layer of weights for images, whatever Keras' default order of axes."""
        return self.weighted(layer_type, *args, data_format=_AXES, **kwargs)

    def dropout(self) -> layers.Layer:
        return layers.Dropout(self.dropout_rate, seed=self.seed(), dtype=self.dtype)

    def spatial_dropout(self) -> layers.Layer:
        return layers.SpatialDropout2D(
            self.dropout_rate, data_format=_AXES, seed=self.seed(), dtype=self.dtype
        )


def _dense_graph(make: _LayerFactory, inputs: Any, units: tuple[int, ...]) -> Any:
    shape = inputs.shape[1:]
    x = inputs
    if len(shape) > 1:
        x = layers.Flatten(data_format=_AXES, dtype=make.dtype)(x)
    for i, width in enumerate(units[:-1], start=1):
        x = make.dropout()(make.weighted(layers.Dense, width, name=f"encoder_{i}")(x))
    x = make.code(units[-1])(x)
    for i, width in enumerate(reversed(units[:-1]), start=1):
        x = make.dropout()(make.weighted(layers.Dense, width, name=f"decoder_{i}")(x))
    x = make.weighted(layers.Dense, math.prod(shape), activation="sigmoid", name="output")(x)
    return x if len(shape) == 1 else layers.Reshape(shape, dtype=make.dtype)(x)


def _decoder_start(size: int, n_halvings: int) -> int:
    """Compute the decoder's first side length: the encoder's last one, rounded up to even."""
    for _ in range(n_halvings):
        size = math.ceil(size / 2)
    return size + size % 2


def _convolutional_graph(make: _LayerFactory, inputs: Any, architecture: _Architecture) -> Any:
    height, width, channels = inputs.shape[1:]
    convolutions, units = architecture.convolutions, architecture.dense
    x = inputs
    for i, (filters, kernel) in enumerate(convolutions, start=1):
        x = make.image(
            layers.Conv2D, filters, kernel, padding="same", name=f"encoder_convolution_{i}"
        )(x)
        x = layers.MaxPooling2D(2, padding="same", data_format=_AXES, dtype=make.dtype)(x)
        x = make.spatial_dropout()(x)
    x = layers.Flatten(data_format=_AXES, dtype=make.dtype)(x)
    for i, width_of_layer in enumerate(units[:-1], start=1):
        x = make.dropout()(make.weighted(layers.Dense, width_of_layer, name=f"encoder_{i}")(x))
    x = make.dropout()(make.code(units[-1])(x))
    for i, width_of_layer in enumerate(reversed(units[:-1]), start=1):
        x = make.dropout()(make.weighted(layers.Dense, width_of_layer, name=f"decoder_{i}")(x))
    start = tuple(_decoder_start(size, len(convolutions)) for size in (height, width))
    last_filters = convolutions[-1][0]
    x = make.dropout()(
        make.weighted(layers.Dense, math.prod(start) * last_filters, name="decoder_images")(x)
    )
    x = layers.Reshape((*start, last_filters), dtype=make.dtype)(x)
    # Every transposed convolution doubles the size; the last one produces the image.
    for i, (filters, kernel) in enumerate(reversed(convolutions[1:]), start=1):
        x = _double(make, filters, kernel, name=f"decoder_convolution_{i}")(x)
        x = make.spatial_dropout()(x)
    # What the start's rounding up has made too large, a convolution without padding takes off.
    surplus = [now - math.ceil(s / 2) for now, s in zip(x.shape[1:3], (height, width), strict=True)]
    if any(surplus):
        trim = tuple(pixels + 1 for pixels in surplus)
        x = make.image(layers.Conv2D, convolutions[0][0], trim, name="decoder_trim")(x)
        x = make.spatial_dropout()(x)
    x = _double(make, channels, convolutions[0][1], activation="sigmoid", name="output")(x)
    odd = ((0, height % 2), (0, width % 2))
    if height % 2 or width % 2:
        x = layers.Cropping2D(odd, data_format=_AXES, dtype=make.dtype)(x)
    return x


def _double(make: _LayerFactory, filters: int, kernel: int, **kwargs: Any) -> layers.Layer:
    return make.image(layers.Conv2DTranspose, filters, kernel, strides=2, padding="same", **kwargs)


@keras.saving.register_keras_serializable("r2ad2")
class Autoencoder(keras.Model):
    """A built autoencoder: dense from "40-20-10", convolutional from "8C3-8C3-8".

    The dense decoder mirrors its encoder. The convolutional encoder halves the image with every
    convolution; the decoder doubles it back. Images of 28x28 and 32x32 pixels give the original's
    architectures; all other sizes and channel counts follow the same scheme. Outputs are sigmoid,
    so inputs must be scaled to [0, 1].

    Args:
        architecture: units of the dense layers up to the code, preceded by convolutions
            (filters "C" kernel size) for images.
        input_shape: (features,) or (height, width, channels), without the batch.
        dropout: rate in [0, 1) after the hidden layers (not after a dense encoder's code).
        activation: Keras activation of the hidden layers: a name, or a registered function.
        code_activation: activation of the code layer; None uses that of the hidden layers.
        use_bias: whether layers have biases.
        seed: seed of initial weights and dropout; None draws them from Keras' global generator.
        name: name of the model.
        dtype: Keras dtype or policy of all layers.

    Raises:
        ValueError: for an unreadable architecture, or an input shape that does not fit it.

    Example:
        >>> Autoencoder("4-2", input_shape=(6,)).count_params()
        80
        >>> Autoencoder("8C3-8C3-8", input_shape=(28, 28, 1)).output_shape
        (None, 28, 28, 1)

    Source: R2-AD2 (ECML-PKDD 2022), table of architectures.
    """

    def __init__(
        self,
        architecture: str,
        *,
        input_shape: Sequence[int],
        dropout: float = 0.4,
        activation: str | dict | Callable = "relu",
        code_activation: str | dict | Callable | None = None,
        use_bias: bool = True,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ):
        parsed = parse_architecture(architecture)
        shape = tuple(int(size) for size in input_shape)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        if any(size < 1 for size in shape) or len(shape) not in (1, 3):
            raise ValueError(
                f"input_shape must be (features,) or (height, width, channels), got {shape}"
            )
        if parsed.convolutions and len(shape) != 3:
            raise ValueError(
                f"architecture {architecture!r} is for images (height, width, channels), but the "
                f'input shape is {shape}: use dense units such as "40-20-10"'
            )
        activation = keras.activations.get(activation)
        code_activation = (
            activation if code_activation is None else keras.activations.get(code_activation)
        )
        make = _LayerFactory(dropout, activation, code_activation, use_bias, seed, dtype)
        inputs = keras.Input(shape, dtype=keras.dtype_policies.get(dtype).compute_dtype)
        if parsed.convolutions:
            outputs = _convolutional_graph(make, inputs, parsed)
        else:
            outputs = _dense_graph(make, inputs, parsed.dense)
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self._settings = {
            "architecture": architecture,
            "input_shape": list(shape),
            "dropout": dropout,
            "activation": keras.activations.serialize(activation),
            "code_activation": keras.activations.serialize(code_activation),
            "use_bias": use_bias,
            "seed": seed,
            "dtype": dtype,
        }

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**self._settings, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Autoencoder:
        """Build an autoencoder from `get_config`'s result."""
        return cls(**config)


def code_layer(model: keras.Model) -> keras.layers.Layer:
    """Find the layer of an autoencoder where its encoder ends.

    That is the layer named "code", else the first one with the smallest output.

    Args:
        model: an autoencoder that is a graph of layers.
    """
    # Layers that only pass on their input, such as dropout, come after the layer they act on.
    hidden = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    named = [layer for layer in hidden if layer.name == CODE]
    return (named or sorted(hidden, key=_output_size))[0]


def _output_size(layer: keras.layers.Layer) -> int:
    return math.prod(size or 1 for size in layer.output.shape[1:])
