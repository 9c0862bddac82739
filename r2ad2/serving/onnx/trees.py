"""Decision trees as `TreeEnsembleRegressor`, ONNX's operator for them."""

from __future__ import annotations

import numpy as np

from r2ad2.networks.trees import NEVER_EXCEEDED, TreeArrays
from r2ad2.serving.onnx.graph import ML_DOMAIN, Tensor


def sum_of_leaves(samples: Tensor, trees: TreeArrays) -> Tensor:
    """Write the sum of the leaves that samples (batch, features) reach: float32 (batch, 1).

    With samples in double precision the leaves are also added up in double precision.
    """
    n_nodes = np.diff(trees.roots, append=trees.n_nodes)
    tree = np.repeat(np.arange(trees.n_trees), n_nodes)
    start = np.repeat(trees.roots, n_nodes)
    position = np.arange(trees.n_nodes)
    node, left = position - start, trees.left - start
    is_leaf = trees.left == position
    return samples.graph.add(
        "TreeEnsembleRegressor",
        (samples,),
        (*samples.shape[:-1], 1),
        np.dtype(np.float32),
        domain=ML_DOMAIN,
        n_targets=1,
        nodes_treeids=tree.tolist(),
        nodes_nodeids=node.tolist(),
        nodes_featureids=trees.features.tolist(),
        nodes_modes=np.where(is_leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_truenodeids=np.where(is_leaf, 0, left).tolist(),
        nodes_falsenodeids=np.where(is_leaf, 0, left + 1).tolist(),
        target_treeids=tree[is_leaf].tolist(),
        target_nodeids=node[is_leaf].tolist(),
        target_ids=[0] * int(is_leaf.sum()),
        **_numbers("nodes_values", np.where(is_leaf, 0, trees.thresholds), samples.dtype),
        **_numbers("target_weights", trees.values[is_leaf], samples.dtype),
    )


def segment_numbers(samples: Tensor, edges: np.ndarray) -> Tensor:
    """Write how many edges of its column each value exceeds.

    Args:
        samples: float64 (batch, columns).
        edges: float64 (columns, n), ascending in each column.

    Returns:
        int64 (batch, columns), from 0 to n.
    """
    n_columns, n_edges = edges.shape
    tree = search_tree(np.arange(n_edges), np.arange(n_edges + 1))  # of the edges' numbers
    position = np.arange(tree.n_nodes)
    is_leaf = tree.left == position
    inner = np.where(is_leaf, 0, tree.thresholds).astype(np.int64)
    thresholds = np.where(is_leaf, 0.0, edges[:, inner] if n_edges else 0.0)
    column = np.repeat(np.arange(n_columns), tree.n_nodes)
    leaves = np.tile(is_leaf, n_columns)

    def repeated(values: np.ndarray) -> list:
        return np.tile(values, n_columns).tolist()

    numbers = samples.graph.add(
        "TreeEnsembleRegressor",
        (samples,),
        samples.shape,
        np.dtype(np.float32),
        domain=ML_DOMAIN,
        n_targets=n_columns,
        nodes_treeids=column.tolist(),
        nodes_nodeids=repeated(position),
        nodes_featureids=column.tolist(),
        nodes_modes=repeated(np.where(is_leaf, "LEAF", "BRANCH_LEQ")),
        nodes_truenodeids=repeated(np.where(is_leaf, 0, tree.left)),
        nodes_falsenodeids=repeated(np.where(is_leaf, 0, tree.left + 1)),
        target_treeids=column[leaves].tolist(),
        target_nodeids=np.tile(position, n_columns)[leaves].tolist(),
        target_ids=column[leaves].tolist(),
        **_numbers(
            "nodes_values",
            np.broadcast_to(thresholds, (n_columns, len(position))).ravel(),
            samples.dtype,
        ),
        **_numbers("target_weights", np.tile(tree.values, n_columns)[leaves], samples.dtype),
    )
    return numbers.cast(np.int64)


def _numbers(name: str, values: np.ndarray, dtype: np.dtype) -> dict[str, np.ndarray]:
    # A list for single precision, a tensor for any other.
    suffix = "" if dtype == np.float32 else "_as_tensor"
    return {f"{name}{suffix}": values.astype(dtype)}


def search_tree(thresholds: np.ndarray, values: np.ndarray) -> TreeArrays:
    """Make a tree that looks up a step function: values[number of thresholds below a sample].

    Args:
        thresholds: float32 (n,) in ascending order.
        values: float32 (n + 1,).
    """
    rows: list[tuple[int, float, float]] = []  # left child, threshold, value
    level = [(0, len(thresholds))]  # thresholds that each node of the level has to choose between
    depth = 0
    while level:
        first_child = len(rows) + len(level)
        following: list[tuple[int, int]] = []
        for start, end in level:
            if start == end:
                rows.append((len(rows), NEVER_EXCEEDED, float(values[start])))
                continue
            middle = (start + end) // 2
            rows.append((first_child + len(following), float(thresholds[middle]), 0.0))
            following += [(start, middle), (middle + 1, end)]
        level = following
        depth += bool(following)
    left, limits, leaves = zip(*rows, strict=True)
    return TreeArrays(
        features=np.zeros(len(rows), np.int32),
        left=np.array(left, np.int32),
        thresholds=np.array(limits, np.float32),
        values=np.array(leaves, np.float32),
        roots=np.zeros(1, np.int32),
        depth=depth,
    )
