"""Scores in [0, 1] for methods whose own scores have no upper bound."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from r2ad2.artefact.composed import ComposedModel
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, register_converter
from r2ad2.serving.onnx.tape import Tape
from r2ad2.training.batches import in_chunks

_CHUNK = 1024


def squash(raw: Any, location: float, scale: float) -> Any:
    """Map scores of any size to (0, 1), strictly increasing, `location` to 0.5.

    Args:
        raw: scores of any shape and type.
        location: score that becomes 0.5.
        scale: distance from it at which the curve bends, above 0.

    Returns:
        float64 scores of the same shape.

    Notes:
        ``0.5 + 0.5 u / (1 + |u|)`` with ``u = asinh((raw - location) / scale)``: nearly linear
        near `location` and logarithmic far away, so that different scores stay different over
        all orders of magnitude of float32. That takes float64: between 0.5 and 1, float32
        has only eight million numbers.
    """
    distance = ops.arcsinh((ops.cast(raw, "float64") - location) / scale)
    return 0.5 + 0.5 * distance / (1 + ops.absolute(distance))


@keras.saving.register_keras_serializable("r2ad2")
class SquashedScorer(ComposedModel):
    """A Keras model with scores of any size, followed by `squash`.

    Args:
        scorer: Keras model from samples to raw scores (batch, 1).
        location: raw score that becomes 0.5.
        scale: see `squash`.
        name: name of the model.
    """

    PARTS = ("scorer",)
    SETTINGS = ("location", "scale")

    def __init__(self, scorer: keras.Model, location: float, scale: float, name: str | None = None):
        super().__init__(name=name)
        self.scorer = scorer
        self.location = float(location)
        self.scale = float(scale)
        self.build(None)

    @classmethod
    def fitted(
        cls, scorer: keras.Model, normal: np.ndarray, quantile: float = 0.99
    ) -> SquashedScorer:
        """Choose location and scale from the scores of normal samples.

        Args:
            scorer: Keras model from samples to raw scores (batch, 1).
            normal: normal samples (n, ...).
            quantile: share of the normal samples, in (0.5, 1), to score 0.5 or less.

        Raises:
            ValueError: if a score is not finite.
        """
        raw = in_chunks(lambda x: scorer(x, training=False), normal, _CHUNK).astype(np.float64)
        if not np.isfinite(raw).all():
            raise ValueError("the training diverged (scores are not finite): lower learning_rate")
        middle, location = np.quantile(raw, [0.5, quantile])
        # If all scores are equal, their magnitude is the only scale available.
        return cls(scorer, location, (location - middle) or abs(location) or 1.0)

    def call(self, x: Any, training: bool = False) -> Any:
        """Compute float64 scores (batch, 1) in (0, 1)."""
        return squash(self.scorer(x, training=False), self.location, self.scale)


@register_converter(SquashedScorer)
class SquashedScorerConverter(Converter):
    """Raw scores, then `squash`."""

    def forward(self, call: Call) -> Tensor:
        """Write float64 scores (batch, 1)."""
        model = call.layer
        raw = Tape(call.graph).run([model.scorer], call.input).cast(np.float64)
        u = (raw - model.location) / model.scale
        size = u.unary("Abs")
        # ONNX Runtime has no asinh in double precision.
        asinh = (size + (u * u + 1.0).unary("Sqrt")).unary("Log")
        return u.unary("Sign") * (asinh / (asinh + 1.0)) * 0.5 + 0.5
