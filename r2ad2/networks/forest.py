"""Forests of decision trees as a Keras layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2ad2.networks.trees import TreeArrays, concatenate

# So many samples are usually scored by XLA, for which three separate lookups per node are faster.
_MANY = 1024


@keras.saving.register_keras_serializable("r2ad2")
class TreeEnsemble(keras.layers.Layer):
    """Adds up the leaves that a sample reaches in each of several forests.

    All trees descend together, one comparison per step: a step is two lookups per sample and tree,
    whatever the trees look like. The layer holds 16 bytes per node.

    A node is three integers: the feature that it compares, its left child, and the bits of its
    threshold. Few samples take one lookup per node, which saves time that every operation costs.

    Args:
        n_features: number of features of a sample.
        n_nodes: nodes of all trees.
        n_trees: number of trees of each forest.
        depth: largest number of comparisons on the way to a leaf.
        **kwargs: of Keras layers.

    Attributes:
        arrays: the trees; see `TreeArrays`.
    """

    def __init__(
        self, n_features: int, n_nodes: int, n_trees: Sequence[int], depth: int, **kwargs: Any
    ):
        # Samples are compared in single precision, as scikit-learn does.
        super().__init__(trainable=False, autocast=False, **kwargs)
        self.n_features = n_features
        self.n_nodes = n_nodes
        self.n_trees = tuple(n_trees)
        self.depth = depth
        self.nodes = self._add("nodes", (n_nodes, 3), "int32")
        self.values = self._add("values", (n_nodes,), "float32")
        self.roots = self._add("roots", (sum(self.n_trees),), "int32")
        self.built = True

    def _add(self, name: str, shape: tuple[int, ...], dtype: str) -> keras.Variable:
        return self.add_weight(
            shape=shape, dtype=dtype, initializer="zeros", trainable=False, name=name
        )

    @classmethod
    def from_forests(cls, forests: Sequence[TreeArrays], n_features: int) -> TreeEnsemble:
        """Make a layer of forests that share one set of features.

        Args:
            forests: the forests' trees, in the order of the outputs.
            n_features: number of features of a sample.
        """
        trees = concatenate(forests)
        layer = cls(n_features, trees.n_nodes, [f.n_trees for f in forests], trees.depth)
        layer.nodes.assign(
            np.stack([trees.features, trees.left, trees.thresholds.view(np.int32)], axis=1)
        )
        layer.values.assign(trees.values)
        layer.roots.assign(trees.roots)
        return layer

    @property
    def arrays(self) -> TreeArrays:
        """The trees of all forests, one forest after the other."""
        features, left, bits = np.ascontiguousarray(self.nodes.numpy().T)
        return TreeArrays(
            features=features,
            left=left,
            thresholds=bits.view(np.float32),
            values=self.values.numpy(),
            roots=self.roots.numpy(),
            depth=self.depth,
        )

    def call(self, samples: tf.Tensor) -> tf.Tensor:
        """Compute the sum of each forest's leaves.

        Args:
            samples: float32 (batch, features).

        Returns:
            float64 (batch, forests).
        """
        n_samples = tf.shape(samples)[0]
        nodes = tf.convert_to_tensor(self.nodes)
        # Trees along the first axis: samples next to each other look up the same few nodes.
        start = tf.tile(tf.convert_to_tensor(self.roots)[:, tf.newaxis], [1, n_samples])

        def separately() -> tf.Tensor:
            columns = tf.unstack(nodes, axis=1)
            return self._descend(samples, start, lambda at: [tf.gather(c, at) for c in columns])

        def together() -> tf.Tensor:
            return self._descend(
                samples, start, lambda at: tf.unstack(tf.gather(nodes, at), axis=-1)
            )

        leaves = tf.cond(n_samples >= _MANY, separately, together)
        # In double precision the order of the trees does not matter.
        reached = tf.cast(tf.gather(tf.convert_to_tensor(self.values), leaves), tf.float64)
        sums = [tf.reduce_sum(forest, axis=0) for forest in tf.split(reached, self.n_trees)]
        return tf.stack(sums, axis=1)

    def _descend(
        self,
        samples: tf.Tensor,
        start: tf.Tensor,
        look_up: Callable[[tf.Tensor], Sequence[tf.Tensor]],
    ) -> tf.Tensor:
        """Follow the trees from the roots (trees, batch) to the leaves (trees, batch).

        Args:
            samples: float32 (batch, features).
            start: numbers of the roots.
            look_up: returns features, left children and bits of the thresholds of nodes.
        """
        flat = tf.reshape(samples, [-1])
        first = tf.range(tf.shape(samples)[0]) * self.n_features  # of a sample in `flat`

        def step(level: tf.Tensor, at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features, left, bits = look_up(at)
            exceeds = tf.gather(flat, features + first) > tf.bitcast(bits, tf.float32)
            return level + 1, left + tf.cast(exceeds, tf.int32)

        _, leaves = tf.while_loop(
            lambda level, _: level < self.depth,
            step,
            (tf.constant(0), start),
            maximum_iterations=self.depth,
        )
        return leaves

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """Return the shape of the result: (batch, forests)."""
        return (input_shape[0], len(self.n_trees))

    def compute_output_spec(self, samples: Any) -> keras.KerasTensor:
        """Describe the result, which is float64 unlike the layer's own type."""
        return keras.KerasTensor(self.compute_output_shape(samples.shape), dtype="float64")

    def load_own_variables(self, store: Any) -> None:
        """Read the trees from a file.

        Raises:
            ValueError: if a threshold is not finite, or they refer to nodes or features that do
                not exist.
        """
        super().load_own_variables(store)
        trees = self.arrays
        if not np.isfinite(trees.thresholds).all():
            raise ValueError(f"layer {self.name!r} has a threshold that is not finite")
        n_right = (trees.thresholds < np.finfo(np.float32).max).astype(int)
        for name, positions, limit in (
            ("feature", trees.features, self.n_features),
            ("node", trees.left, self.n_nodes - n_right),
            ("node", trees.roots, self.n_nodes),
        ):
            if np.any(positions < 0) or np.any(positions >= limit):
                raise ValueError(f"layer {self.name!r} refers to a {name} that does not exist")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; the trees are weights."""
        return {
            "name": self.name,
            "n_features": self.n_features,
            "n_nodes": self.n_nodes,
            "n_trees": list(self.n_trees),
            "depth": self.depth,
        }
