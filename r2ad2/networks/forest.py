"""Forests of decision trees as a Keras layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2ad2.networks.trees import TreeArrays, concatenate

# Batches this large usually run under XLA, where three lookups per node are faster than one.
_MANY = 1024
# Halving takes a moment to compile; it pays for trees at least as deep as these.
_DEEP = 48
_HALVINGS = 2


@keras.saving.register_keras_serializable("r2ad2")
class TreeEnsemble(keras.layers.Layer):
    """Adds up the leaves that a sample reaches in each of several forests.

    All trees descend together, one comparison per step: a step is two lookups per sample and tree,
    whatever the trees look like. The deepest leaves of deep trees are several times as deep as
    most: whenever half of the pairs of a sample and a tree have arrived, only the others go on, in
    an array of half the size. The layer holds 16 bytes per node.

    A node is three integers: the feature that it compares, its left child, and the bits of its
    threshold. Small batches use a single lookup per node, because there the overhead of each
    operation dominates.

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
        flat = tf.reshape(samples, [-1])
        # Trees along the first axis: samples next to each other look up the same few nodes.
        roots = tf.repeat(tf.convert_to_tensor(self.roots), n_samples)
        first = tf.tile(tf.range(n_samples) * self.n_features, [sum(self.n_trees)])

        halvings = _HALVINGS if self.depth >= _DEEP else 0

        def separately() -> tf.Tensor:
            columns = tf.unstack(nodes, axis=1)
            descent = _Descent(flat, self.depth, lambda at: [tf.gather(c, at) for c in columns])
            # Counting what still moves costs XLA as much as a step.
            return (
                descent.to_leaves(roots, first, halvings)
                if halvings
                else descent.plainly(roots, first)
            )

        def together() -> tf.Tensor:
            descent = _Descent(
                flat, self.depth, lambda at: tf.unstack(tf.gather(nodes, at), axis=-1)
            )
            return descent.to_leaves(roots, first, halvings)

        leaves = tf.cond(n_samples >= _MANY, separately, together)
        # In double precision the order of the trees does not matter.
        reached = tf.cast(tf.gather(tf.convert_to_tensor(self.values), leaves), tf.float64)
        reached = tf.reshape(reached, [sum(self.n_trees), n_samples])
        sums = [tf.reduce_sum(forest, axis=0) for forest in tf.split(reached, self.n_trees)]
        return tf.stack(sums, axis=1)

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


class _Descent:
    """Moves pairs of a sample and a tree down to the leaves.

    Args:
        flat: float32 (samples * features,).
        depth: largest number of comparisons on the way to a leaf.
        look_up: returns features, left children and bits of the thresholds of nodes.
    """

    def __init__(
        self, flat: tf.Tensor, depth: int, look_up: Callable[[tf.Tensor], Sequence[tf.Tensor]]
    ):
        self._flat = flat
        self._depth = depth
        self._look_up = look_up

    def plainly(self, at: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        """Return the leaves (pairs,) below nodes after as many steps as the deepest leaf needs.

        Args:
            at: int32 (pairs,) nodes.
            first: int32 (pairs,) positions of the first features of the pairs' samples in `flat`.
        """
        _, leaves = tf.while_loop(
            lambda level, _: level < self._depth,
            lambda level, at: (level + 1, self._step(at, first)),
            (tf.constant(0), at),
            maximum_iterations=self._depth,
        )
        return leaves

    def to_leaves(self, at: tf.Tensor, first: tf.Tensor, halvings: int) -> tf.Tensor:
        """Return the same as `plainly`, but stop when all have arrived.

        Args:
            at: int32 (pairs,) nodes.
            first: int32 (pairs,), see `plainly`.
            halvings: how often to go on with half of the pairs only.
        """
        if halvings == 0:
            return self._walk(at, first, 0)[1]
        size = tf.shape(at)[0]
        half = size // 2
        before, at = self._walk(at, first, half)
        moving = tf.not_equal(before, at)
        # The moving pairs come first. What is left of the half is filled with one that has arrived.
        place = tf.where(moving, tf.cumsum(tf.cast(moving, tf.int32), exclusive=True), half)
        arrived = tf.reduce_max(tf.where(moving, -1, tf.range(size)))
        chosen = tf.tensor_scatter_nd_update(
            tf.fill([half + 1], arrived), place[:, tf.newaxis], tf.range(size)
        )[:half]
        leaves = self.to_leaves(tf.gather(at, chosen), tf.gather(first, chosen), halvings - 1)
        return tf.tensor_scatter_nd_update(at, chosen[:, tf.newaxis], leaves)

    def _walk(self, at: tf.Tensor, first: tf.Tensor, n_left: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Move until at most `n_left` pairs still move; return their nodes before and after."""
        return tf.while_loop(
            lambda before, at: tf.math.count_nonzero(before - at, dtype=tf.int32) > n_left,
            # Two steps at a time: deciding whether to go on costs as much as a step.
            lambda _, at: (at, self._step(self._step(at, first), first)),
            (at - 1, at),
            # In the last iteration nothing moves.
            maximum_iterations=math.ceil(self._depth / 2) + 1,
        )

    def _step(self, at: tf.Tensor, first: tf.Tensor) -> tf.Tensor:
        features, left, bits = self._look_up(at)
        exceeds = tf.gather(self._flat, features + first) > tf.bitcast(bits, tf.float32)
        return left + tf.cast(exceeds, tf.int32)
