"""Blocks of the flat gradient: a kernel and its bias as one matrix, and forms of its gradient.

A dense layer's kernel (I, J) followed by its bias (J,) is one matrix (I + 1, J). One sample's
gradient of such a block is often an outer product, which can be projected without being formed.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf


@dataclass(frozen=True)
class Block:
    """Consecutive weights whose gradients together form a matrix.

    Attributes:
        weights: a single weight, or a kernel and its bias.
        rows: rows of the matrix; the bias is the last one.
        columns: columns of the matrix.
    """

    weights: tuple[keras.Variable, ...]
    rows: int
    columns: int

    @property
    def size(self) -> int:
        """Number of gradient components."""
        return self.rows * self.columns

    @property
    def key(self) -> tuple[int, ...]:
        """Identity of the weights."""
        return tuple(id(weight) for weight in self.weights)


def components_of_layers(
    blocks: Sequence[Block], largest: int | None = None
) -> dict[str, list[int]]:
    """Find which components of a flat gradient belong to each layer.

    Args:
        blocks: the gradient's blocks.
        largest: maximum number of components of a block, if the gradient is sketched.
    """
    components: dict[str, list[int]] = {}
    start = 0
    for block in blocks:
        size = block.size if largest is None else min(block.size, largest)
        path = block.weights[0].path
        components.setdefault(path.rpartition("/")[0] or path, []).extend(
            range(start, start + size)
        )
        start += size
    return components


def blocks_of(weights: Sequence[keras.Variable]) -> list[Block]:
    """Divide weights into blocks: a kernel (..., J) and a bias (J,) after it make one block."""
    blocks: list[Block] = []
    for weight in weights:
        shape = tuple(weight.shape)
        last = blocks[-1] if blocks else None
        if (
            last is not None
            and len(last.weights) == 1
            and len(last.weights[0].shape) > 1
            and shape == (last.columns,)
        ):
            blocks[-1] = Block((*last.weights, weight), last.rows + 1, last.columns)
        else:
            columns = shape[-1] if shape else 1
            blocks.append(Block((weight,), math.prod(shape) // columns, columns))
    return blocks


class BlockGradient(abc.ABC):
    """The gradients of one block for all samples of a batch."""

    @abc.abstractmethod
    def flat(self) -> tf.Tensor:
        """Form the gradients: (batch, rows * columns)."""

    @abc.abstractmethod
    def project(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Compute inner products with m matrices of rank one.

        Args:
            left: (rows, m).
            right: (columns, m).

        Returns:
            (batch, m): inner products of each gradient with ``left[:, k] (outer) right[:, k]``.
        """

    def squared_norm(self) -> tf.Tensor:
        """Compute the squared Euclidean norm (batch,) of each gradient."""
        return tf.reduce_sum(tf.square(self.flat()), axis=1)


@dataclass(frozen=True)
class FormedGradient(BlockGradient):
    """Gradients given by their values (batch, rows * columns)."""

    values: tf.Tensor

    def flat(self) -> tf.Tensor:
        """Return the values."""
        return self.values

    def project(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Multiply by the m flattened matrices."""
        matrices = tf.reshape(left[:, tf.newaxis] * right[tf.newaxis], (-1, left.shape[-1]))
        return tf.matmul(self.values, tf.cast(matrices, self.values.dtype))


@dataclass(frozen=True)
class OuterProduct(BlockGradient):
    """Gradients given by two factors: left (batch, rows) (outer) right (batch, columns)."""

    left: tf.Tensor
    right: tf.Tensor

    def flat(self) -> tf.Tensor:
        """Form the outer products."""
        product = tf.einsum("bi,bj->bij", self.left, self.right)
        return tf.reshape(product, (tf.shape(self.left)[0], product.shape[1] * product.shape[2]))

    def squared_norm(self) -> tf.Tensor:
        """Multiply the factors' squared norms, without forming the gradients."""
        left, right = (tf.reduce_sum(tf.square(f), axis=1) for f in (self.left, self.right))
        return left * right

    def project(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Multiply the projections of both factors: <a (outer) d, l (outer) r> = <a, l> <d, r>."""
        left, right = tf.cast(left, self.left.dtype), tf.cast(right, self.right.dtype)
        return tf.matmul(self.left, left) * tf.matmul(self.right, right)


@dataclass(frozen=True)
class SummedGradient(BlockGradient):
    """Gradients of a layer that is called several times."""

    terms: tuple[BlockGradient, ...]

    def flat(self) -> tf.Tensor:
        """Add up the terms."""
        return tf.add_n([term.flat() for term in self.terms])

    def project(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Add up the terms' projections."""
        return tf.add_n([term.project(left, right) for term in self.terms])
