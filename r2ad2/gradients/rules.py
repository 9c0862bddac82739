"""Closed forms of per-sample gradients, one rule per Keras layer type.

A layer computes ``output = activation(z)`` where the pre-activation ``z`` is linear in the layer's
weights. With the gradient ``delta = d loss / d z`` from one batched backward pass, the gradient of
each sample's loss by the weights is a product of that sample's input and its delta: no tape per
sample is needed. A layer without an attribute ``activation`` puts out ``z`` itself.

A rule for a layer type of your own has two methods and is registered by a decorator::

    @register_rule(MyDense)
    class MyDenseRule(GradientRule):
        def pre_activation(self, layer, inputs): ...
        def gradients(self, layer, inputs, delta): ...

Rules belong to exactly one type, not to its subclasses: a subclass may compute something else.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf
from keras import ops

from r2ad2.gradients.windows import correlate_windows


class GradientRule(abc.ABC):
    """How the per-sample gradients of one layer type follow from its inputs and deltas."""

    def supports(self, layer: keras.layers.Layer) -> bool:
        """Say whether the rule covers this layer's settings; where not, the reference is used."""
        return True

    def weights(self, layer: keras.layers.Layer) -> Sequence[keras.Variable]:
        """List the layer's weights in the order in which `gradients` returns them."""
        return [layer.kernel] if layer.bias is None else [layer.kernel, layer.bias]

    @abc.abstractmethod
    def pre_activation(self, layer: keras.layers.Layer, inputs: tf.Tensor) -> tf.Tensor:
        """Compute what goes into ``layer.activation`` for inputs (batch, ...)."""

    @abc.abstractmethod
    def gradients(
        self, layer: keras.layers.Layer, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Compute the gradients (batch, *weight.shape) of `weights(layer)`.

        Args:
            layer: the layer.
            inputs: the layer's input (batch, ...).
            delta: gradient of the summed loss by the pre-activation, of the latter's shape.
        """

    def factors(
        self, layer: keras.layers.Layer, inputs: tf.Tensor, delta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Give the gradients as one outer product per sample, where they are one.

        Returns:
            Tensors (batch, rows) and (batch, columns) whose outer product, flattened, is the
            gradient of all of `weights(layer)` one after the other; None where it is no product.
        """
        return None


_RULES: dict[type[keras.layers.Layer], GradientRule] = {}


def register_rule(
    layer_type: type[keras.layers.Layer],
) -> Callable[[type[GradientRule]], type[GradientRule]]:
    """Register a `GradientRule` class for a layer type, in place of an earlier one."""

    def register(rule: type[GradientRule]) -> type[GradientRule]:
        _RULES[layer_type] = rule()
        return rule

    return register


def find_rule(layer: keras.layers.Layer) -> GradientRule | None:
    """Return the rule that covers the layer, or None."""
    rule = _RULES.get(type(layer))
    return rule if rule is not None and rule.supports(layer) else None


def _is_plain(layer: keras.layers.Layer) -> bool:
    """Whether the kernel is the trained variable itself: not quantised, no LoRA factors."""
    return not getattr(layer, "lora_enabled", False) and layer.quantization_mode is None


def _in_compute_type(layer: keras.layers.Layer, value: keras.Variable | tf.Tensor) -> tf.Tensor:
    return ops.cast(value, layer.compute_dtype)


def _add_bias(layer: keras.layers.Layer, outputs: tf.Tensor) -> tf.Tensor:
    if layer.bias is None:
        return outputs
    # This operation, unlike a sum, is merged with the convolution before it.
    return tf.nn.bias_add(outputs, _in_compute_type(layer, layer.bias))


def _with_bias(
    layer: keras.layers.Layer, kernel_gradient: tf.Tensor, delta: tf.Tensor
) -> list[tf.Tensor]:
    """Append the bias's gradient: the sum of delta over all axes but batch and channels."""
    if layer.bias is None:
        return [kernel_gradient]
    return [kernel_gradient, tf.reduce_sum(delta, axis=range(1, delta.shape.rank - 1))]


def _flat_positions(values: tf.Tensor) -> tf.Tensor:
    """Fold the axes between batch and channels into one: (batch, positions, channels)."""
    shape = tf.shape(values)
    return tf.reshape(values, (shape[0], tf.reduce_prod(shape[1:-1]), values.shape[-1]))


@register_rule(keras.layers.Dense)
class DenseRule(GradientRule):
    """z = x W + b:  dL/dW = sum over positions of x (outer) delta,  dL/db = sum of delta."""

    def supports(self, layer: keras.layers.Dense) -> bool:
        """Cover all but quantised and LoRA layers."""
        return _is_plain(layer)

    def pre_activation(self, layer: keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
        """Compute x W + b."""
        inputs = _in_compute_type(layer, inputs)
        return _add_bias(layer, ops.matmul(inputs, _in_compute_type(layer, layer.kernel)))

    def gradients(
        self, layer: keras.layers.Dense, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Compute the outer products, summed over the axes between batch and features."""
        left, right = _flat_positions(inputs), _flat_positions(delta)
        return _with_bias(layer, tf.matmul(left, right, transpose_a=True), delta)

    def factors(
        self, layer: keras.layers.Dense, inputs: tf.Tensor, delta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Append 1 to the inputs for the bias: [x, 1] (outer) delta, for one position."""
        if inputs.shape.rank != 2:
            return None
        if layer.bias is None:
            return inputs, delta
        return tf.concat([inputs, tf.ones_like(inputs[:, :1])], axis=1), delta


@register_rule(keras.layers.Conv2D)
class Conv2DRule(GradientRule):
    """dL/dW = sum over positions of window(x) (outer) delta: matrix products per sample."""

    def supports(self, layer: keras.layers.Conv2D) -> bool:
        """Cover ungrouped convolutions with the channels last."""
        return _is_plain(layer) and layer.groups == 1 and layer.data_format == "channels_last"

    def pre_activation(self, layer: keras.layers.Conv2D, inputs: tf.Tensor) -> tf.Tensor:
        """Compute the convolution and add the bias."""
        inputs = _in_compute_type(layer, inputs)
        outputs = layer.convolution_op(inputs, _in_compute_type(layer, layer.kernel))
        return _add_bias(layer, outputs)

    def gradients(
        self, layer: keras.layers.Conv2D, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Multiply the inputs under each position of the kernel with delta."""
        kernel = correlate_windows(
            inputs, delta, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding
        )
        return _with_bias(layer, kernel, delta)


@register_rule(keras.layers.Conv2DTranspose)
class Conv2DTransposeRule(GradientRule):
    """dL/dW = sum over positions of window(delta) (outer) x.

    The transposed convolution is the adjoint of a convolution with the same kernel, so input and
    delta change places.
    """

    def supports(self, layer: keras.layers.Conv2DTranspose) -> bool:
        """Cover transposed convolutions with the channels last and the default output size."""
        return (
            _is_plain(layer)
            and layer.data_format == "channels_last"
            and layer.output_padding is None
            # Keras and TensorFlow disagree on the size of dilated outputs.
            and set(layer.dilation_rate) == {1}
        )

    def pre_activation(self, layer: keras.layers.Conv2DTranspose, inputs: tf.Tensor) -> tf.Tensor:
        """Compute the transposed convolution and add the bias."""
        outputs = ops.conv_transpose(
            _in_compute_type(layer, inputs),
            _in_compute_type(layer, layer.kernel),
            strides=list(layer.strides),
            padding=layer.padding,
            output_padding=layer.output_padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )
        return _add_bias(layer, outputs)

    def gradients(
        self, layer: keras.layers.Conv2DTranspose, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Multiply delta under each position of the kernel with the inputs."""
        kernel = correlate_windows(
            delta, inputs, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding
        )
        return _with_bias(layer, kernel, delta)
