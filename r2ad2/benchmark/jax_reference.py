"""The same gradients with JAX, an independent implementation, if it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np


def _step(layer: keras.layers.Layer) -> Callable[[Any, list], Any] | None:
    """Write one layer of an autoencoder in JAX: a function of activations and its weights."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    activations = {
        "relu": jax.nn.relu,
        "sigmoid": jax.nn.sigmoid,
        "linear": lambda values: values,
    }
    channels_last = ("NHWC", "HWIO", "NHWC")

    def activated(values: Any) -> Any:
        return activations[layer.activation.__name__](values)

    def dense(x: Any, weights: list) -> Any:
        return activated(x @ weights[0] + weights[1])

    def convolution(x: Any, weights: list) -> Any:
        padding = layer.padding.upper()
        product = lax.conv_general_dilated(
            x[None], weights[0], layer.strides, padding, dimension_numbers=channels_last
        )
        return activated(product[0] + weights[1])

    def transposed(x: Any, weights: list) -> Any:
        # Keras' transposed convolution is the gradient of a convolution: kernel (h, w, out, in).
        product = lax.conv_transpose(
            x[None],
            weights[0],
            layer.strides,
            layer.padding.upper(),
            dimension_numbers=channels_last,
            transpose_kernel=True,
        )
        return activated(product[0] + weights[1])

    def pooled(x: Any, weights: list) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (2, 2, 1), (2, 2, 1), "SAME")

    steps = {
        keras.layers.Dense: dense,
        keras.layers.Conv2D: convolution,
        keras.layers.Conv2DTranspose: transposed,
        keras.layers.MaxPooling2D: pooled,
        keras.layers.Flatten: lambda x, weights: x.reshape(-1),
        keras.layers.Reshape: lambda x, weights: x.reshape(layer.target_shape),
    }
    return steps.get(type(layer))


def jax_gradients(autoencoder: keras.Model, x: np.ndarray) -> Callable[[], Any]:
    """Return a function that computes the samples' gradients with ``jit(vmap(grad))``.

    Args:
        autoencoder: an `Autoencoder`; dropout is ignored.
        x: samples (n, ...).

    Returns:
        A function without arguments that returns (n, G).

    Raises:
        ValueError: if JAX is not installed.
    """
    try:
        import jax
        from jax import numpy as jnp
        from jax.flatten_util import ravel_pytree
    except ImportError as error:
        raise ValueError("JAX is not installed: pip install jax, or leave out --jax") from error

    steps = [(step, layer) for layer in autoencoder.layers if (step := _step(layer)) is not None]
    weights = [[jnp.array(weight) for weight in layer.get_weights()] for _, layer in steps]

    def loss(parameters: list, sample: Any) -> Any:
        output = sample
        for (step, _), layer_weights in zip(steps, parameters, strict=True):
            output = step(output, layer_weights)
        epsilon = keras.config.epsilon()
        output = jnp.clip(output, epsilon, 1 - epsilon)
        crossentropy = sample * jnp.log(output) + (1 - sample) * jnp.log(1 - output)
        return -jnp.mean(crossentropy)

    def gradient(sample: Any) -> Any:
        return ravel_pytree(jax.grad(loss)(weights, sample))[0]

    compiled, samples = jax.jit(jax.vmap(gradient)), jnp.array(x)
    return lambda: compiled(samples).block_until_ready()
