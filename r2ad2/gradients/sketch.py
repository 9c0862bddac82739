"""A sketch of the gradient: inner products with random matrices of rank one, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2ad2.gradients.blocks import BlockGradient


@keras.saving.register_keras_serializable("r2ad2")
class GradientSketch(keras.layers.Layer):
    """Projects each block of a gradient to at most `size` numbers.

    A block of rows x columns that is larger than `size` is replaced by its inner products with
    `size` random matrices ``l_k (outer) r_k`` with entries ±1. Smaller blocks stay as they are. All
    snapshots share the same matrices, so a component means the same at every time step.

    Args:
        shapes: (rows, columns) of each block.
        size: number of inner products per block.
        seed: seed of the random matrices; None draws one from Keras' global generator.

    Attributes:
        output_size: number of components of the sketched gradient.

    Raises:
        ValueError: if the size is below 1.

    Notes:
        A dense layer's gradient is ``[x, 1] (outer) delta`` with x the layer's input, so
        ``<l (outer) r, [x, 1] (outer) delta> = <l, [x, 1]> <r, delta>``: the inner products cost
        size * (rows + columns) operations, and the gradient itself is never formed. Entries ±1
        preserve the expected squared length: E <l (outer) r, G>^2 = |G|^2.
    """

    def __init__(
        self,
        shapes: Sequence[Sequence[int]],
        size: int = 256,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if size < 1:
            raise ValueError(f"sketch_size must be at least 1, got {size}")
        self.shapes = [(int(rows), int(columns)) for rows, columns in shapes]
        self.size = int(size)
        self.seed = seed
        self.output_size = sum(min(rows * columns, self.size) for rows, columns in self.shapes)
        self.build()

    def build(self, input_shape: Any = None) -> None:
        """Draw the random matrices' factors."""
        seed = self.seed
        if seed is None:
            seed = int(keras.random.randint((), 0, 2**31 - 1))
        generator = np.random.default_rng(seed)
        self._factors: list[tuple[keras.Variable, keras.Variable] | None] = []
        for i, (rows, columns) in enumerate(self.shapes):
            if rows * columns <= self.size:
                self._factors.append(None)
                continue
            factors = []
            for name, length in (("left", rows), ("right", columns)):
                signs = generator.choice(np.array([-1, 1], np.float32), (length, self.size))
                factors.append(
                    self.add_weight(
                        name=f"{name}_{i}",
                        shape=signs.shape,
                        initializer=lambda shape, dtype=None, signs=signs: tf.cast(signs, dtype),
                    )
                )
            self._factors.append((factors[0], factors[1]))
        self.built = True

    def project(self, gradients: Sequence[BlockGradient]) -> list[tf.Tensor]:
        """Sketch the blocks of one snapshot's gradient.

        Returns:
            Tensors (batch, components), one per block, together `output_size` wide.
        """
        return [
            gradient.flat()
            if factors is None
            else gradient.project(*(tf.convert_to_tensor(factor) for factor in factors))
            for gradient, factors in zip(gradients, self._factors, strict=True)
        ]

    @property
    def factors(self) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """Factors (rows, size) and (columns, size) of each block; None for one that is kept."""
        return [
            None if pair is None else (pair[0].numpy(), pair[1].numpy()) for pair in self._factors
        ]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "shapes": [list(shape) for shape in self.shapes],
            "size": self.size,
            "seed": self.seed,
        }
