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
