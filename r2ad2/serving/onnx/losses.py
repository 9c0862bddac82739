"""Gradients of reconstruction losses, by Keras loss function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import NotExportableError

# From target and prediction: the tensor to begin at, and the gradient with respect to it of the
# loss summed over a sample's outputs.
LossGradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_LOSSES: dict[Any, LossGradient] = {}


def register_loss(function: Callable) -> Callable[[LossGradient], LossGradient]:
    """Register the gradient of a Keras loss."""

    def register(gradient: LossGradient) -> LossGradient:
        _LOSSES[function] = gradient
        return gradient

    return register


def loss_gradient(loss: Any, target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Write the gradient of a loss, the mean over a sample's outputs.

    Returns:
        The tensor to begin at (the prediction or its logits), and the gradient with respect to it.

    Raises:
        NotExportableError: if the loss is not registered.
    """
    function = keras.losses.get(loss)
    known = _LOSSES.get(function)
    if known is None:
        choices = ", ".join(sorted(f.__name__ for f in _LOSSES))
        raise NotExportableError(
            f"reconstruction loss {loss!r} cannot be exported to ONNX: it is not among {choices}; "
            "train with one of these, or register it (r2ad2.serving.onnx.losses.register_loss)"
        )
    start, delta = known(target.cast(prediction.dtype), prediction)
    return start, delta * (1.0 / math.prod(prediction.sample_shape))


@register_loss(keras.losses.binary_crossentropy)
def _binary_crossentropy(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    if prediction.logits is not None:
        return prediction.logits, prediction - target
    # Keras clips other predictions; where they are clipped the gradient is 0.
    low, high = keras.backend.epsilon(), 1.0 - keras.backend.epsilon()
    clipped = prediction.clip(low, high)
    inside = clipped.compare("Equal", prediction).cast(prediction.dtype)
    return prediction, inside * ((clipped - target) / (clipped * (1.0 - clipped)))


@register_loss(keras.losses.mean_squared_error)
def _mean_squared_error(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    return prediction, (prediction - target) * 2.0


@register_loss(keras.losses.mean_absolute_error)
def _mean_absolute_error(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    return prediction, (prediction - target).unary("Sign")
