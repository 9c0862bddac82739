"""Activations and their derivatives, by Keras function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras

from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import not_exportable

Function: TypeAlias = "Callable[[Tensor], Tensor]"


@dataclass(frozen=True)
class Activation:
    """An activation y = f(z).

    Attributes:
        forward: writes y from z.
        derivative: writes dy/dz from z and y.
    """

    forward: Function
    derivative: Callable[[Tensor, Tensor], Tensor]


_ACTIVATIONS: dict[Any, Activation] = {}


def register_activation(function: Callable, activation: Activation) -> None:
    """Register how a Keras activation, or one of your own, is written."""
    _ACTIVATIONS[function] = activation


def find_activation(layer: Any, function: Any) -> Activation:
    """Return how an activation is written.

    Raises:
        NotExportableError: if it is not registered.
    """
    known = _ACTIVATIONS.get(function)
    if known is None:
        name = getattr(function, "__name__", type(function).__name__)
        choices = ", ".join(sorted(getattr(f, "__name__", str(f)) for f in _ACTIVATIONS))
        raise not_exportable(
            layer,
            f"its activation {name!r} is not among {choices}",
            "train with one of these, or register it "
            "(r2ad2.serving.onnx.activations.register_activation)",
        )
    return known


def is_positive(z: Tensor) -> Tensor:
    """Write 1 where z > 0, else 0."""
    return z.compare("Greater", 0.0).cast(z.dtype)


def leaky(slope: float) -> Activation:
    """Describe a leaky ReLU: z where z > 0, else slope * z."""
    return Activation(
        lambda z: z.unary("LeakyRelu", alpha=slope),
        lambda z, y: is_positive(z) * (1.0 - slope) + slope,
    )


def _negative_part(z: Tensor) -> Tensor:
    return (z - z.unary("Abs")) * 0.5


def _positive_part(z: Tensor) -> Tensor:
    return z.unary("Relu")


# Composed where ONNX Runtime has no double-precision operator.
def _elu(z: Tensor) -> Tensor:
    return _positive_part(z) + (_negative_part(z).unary("Exp") - 1.0)


def _softplus(z: Tensor) -> Tensor:
    return _positive_part(z) + ((-z.unary("Abs")).unary("Exp") + 1.0).unary("Log")


def _elu_derivative(z: Tensor, y: Tensor) -> Tensor:
    return _negative_part(z).unary("Exp")


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _selu(z: Tensor) -> Tensor:
    return (_positive_part(z) + (_negative_part(z).unary("Exp") - 1.0) * _SELU_ALPHA) * _SELU_SCALE


def _selu_derivative(z: Tensor, y: Tensor) -> Tensor:
    positive = is_positive(z)
    falling = _negative_part(z).unary("Exp") * _SELU_ALPHA
    return (positive + (1.0 - positive) * falling) * _SELU_SCALE


def _silu(z: Tensor) -> Tensor:
    return z * z.unary("Sigmoid")


def _silu_derivative(z: Tensor, y: Tensor) -> Tensor:
    gate = z.unary("Sigmoid")
    return gate + y * (1.0 - gate)


def _softsign_derivative(z: Tensor, y: Tensor) -> Tensor:
    width = z.unary("Abs") + 1.0
    return 1.0 / (width * width)


_of = keras.activations
_ACTIVATIONS |= {
    _of.relu: Activation(_positive_part, lambda z, y: is_positive(z)),
    _of.leaky_relu: leaky(0.2),
    _of.sigmoid: Activation(lambda z: z.unary("Sigmoid"), lambda z, y: y * (1.0 - y)),
    _of.tanh: Activation(lambda z: z.unary("Tanh"), lambda z, y: 1.0 - y * y),
    _of.elu: Activation(_elu, _elu_derivative),
    _of.selu: Activation(_selu, _selu_derivative),
    _of.softplus: Activation(_softplus, lambda z, y: z.unary("Sigmoid")),
    _of.silu: Activation(_silu, _silu_derivative),
    _of.softsign: Activation(lambda z: z / (z.unary("Abs") + 1.0), _softsign_derivative),
    _of.exponential: Activation(lambda z: z.unary("Exp"), lambda z, y: y),
}
