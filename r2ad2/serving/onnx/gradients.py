"""Per-sample gradients of autoencoders in closed form: norms, sketches, or all components.

The terms are those of `r2ad2.gradients.blocks`: a kernel and its bias are one block, and a dense
layer's gradient is an outer product that is only formed where all components are needed.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from r2ad2.gradients.blocks import Block
from r2ad2.serving.onnx.graph import Graph, Tensor
from r2ad2.serving.onnx.losses import loss_gradient
from r2ad2.serving.onnx.registry import not_exportable
from r2ad2.serving.onnx.tape import Step, Tape


class BlockGradient(abc.ABC):
    """The gradients of one block for all samples (and copies)."""

    @abc.abstractmethod
    def flat(self) -> Tensor:
        """Write all components (..., n)."""

    @abc.abstractmethod
    def project(self, left: np.ndarray, right: np.ndarray) -> Tensor:
        """Write inner products (..., m) with m matrices of rank one: (rows, m), (columns, m)."""

    def squared_norm(self) -> Tensor:
        """Write the squared norm (..., 1)."""
        return self.flat().sum_squares()


@dataclass(frozen=True)
class FormedGradient(BlockGradient):
    """Gradients given by all components."""

    values: Tensor

    def flat(self) -> Tensor:
        """Return the components."""
        return self.values

    def project(self, left: np.ndarray, right: np.ndarray) -> Tensor:
        """Multiply by the m flattened matrices."""
        matrices = (left[:, np.newaxis] * right[np.newaxis]).reshape(-1, left.shape[-1])
        return self.values @ matrices


@dataclass(frozen=True)
class OuterProduct(BlockGradient):
    """Gradients given by two factors: [x, 1] (outer) delta, the 1 only with a bias."""

    x: Tensor
    delta: Tensor
    has_bias: bool

    def flat(self) -> Tensor:
        """Write the products of all pairs, then delta for the bias."""
        rows, columns = self.x.sample_shape[0], self.delta.sample_shape[0]
        product = self.x.reshape((rows, 1)) * self.delta.reshape((1, columns))
        kernel = product.reshape((rows * columns,))
        return self.x.graph.concat([kernel, self.delta]) if self.has_bias else kernel

    def squared_norm(self) -> Tensor:
        """Multiply the factors' squared norms."""
        left = self.x.sum_squares()
        return (left + 1.0 if self.has_bias else left) * self.delta.sum_squares()

    def project(self, left: np.ndarray, right: np.ndarray) -> Tensor:
        """Multiply the projections of both factors."""
        rows = self.x.sample_shape[0]
        projected = self.x @ left[:rows]
        return (projected + left[-1] if self.has_bias else projected) * (self.delta @ right)


@dataclass(frozen=True)
class SummedGradient(BlockGradient):
    """Gradients of a layer that is called several times."""

    terms: tuple[BlockGradient, ...]

    def flat(self) -> Tensor:
        """Add up the terms."""
        first, *others = (term.flat() for term in self.terms)
        return sum(others, first)

    def project(self, left: np.ndarray, right: np.ndarray) -> Tensor:
        """Add up the terms' projections."""
        first, *others = (term.project(left, right) for term in self.terms)
        return sum(others, first)


def block_gradients(
    graph: Graph,
    models: Sequence[keras.Model],
    inputs: Tensor,
    loss: Any,
    blocks: Sequence[Block],
) -> tuple[list[BlockGradient], Tensor]:
    """Write the gradients of each sample's reconstruction loss for copies of an autoencoder.

    Args:
        graph: the graph under construction.
        models: the copies.
        inputs: samples (batch, ...).
        loss: Keras reconstruction loss.
        blocks: blocks of the first model's weights, as `PerSampleGradients` has them.

    Returns:
        The gradient of each block, and the reconstructions.
    """
    tape = Tape(graph, [id(weight) for block in blocks for weight in block.weights])
    outputs = tape.run(models, inputs)
    start, delta = loss_gradient(loss, inputs, outputs)
    steps = tape.gradients(start, delta)
    return [_of_block(block, steps, models[0]) for block in blocks], outputs


def _of_block(
    block: Block, steps: Sequence[tuple[Step, Tensor]], model: keras.Model
) -> BlockGradient:
    terms = []
    for step, delta in steps:
        names = _attributes(step.call.layer)
        if all(id(weight) in names for weight in block.weights):
            terms.append(_term(step, delta, [names[id(weight)] for weight in block.weights]))
    if not terms:
        raise not_exportable(model, f"no layer uses its weight {block.weights[0].path!r}")
    return terms[0] if len(terms) == 1 else SummedGradient(tuple(terms))


def _attributes(layer: Any) -> Mapping[int, str]:
    """Return the attribute that holds each weight of a layer, by the weight's id."""
    ids = {id(weight) for weight in layer.weights}
    return {
        id(value): name
        for name in (weight.name for weight in layer.weights)
        if id(value := getattr(layer, name, None)) in ids
    }


def _term(step: Step, delta: Tensor, names: list[str]) -> BlockGradient:
    converter, call = step.converter, step.call
    assert converter is not None  # steps of layers
    factors = converter.factors(call, delta)
    if factors is not None and names[0] == "kernel":
        return OuterProduct(*factors, has_bias=len(names) > 1)
    return FormedGradient(
        call.graph.concat([converter.gradient(call, name, delta) for name in names])
    )
