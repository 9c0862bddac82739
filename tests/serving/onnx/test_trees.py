"""Step functions as trees."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.serving.onnx.graph import Graph
from r2ad2.serving.onnx.proto import as_proto
from r2ad2.serving.onnx.trees import search_tree, sum_of_leaves
from tests.helpers.onnx import session

pytest.importorskip("onnx", reason="ONNX is not installed")


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_a_search_tree_counts_the_thresholds_below(n):
    random = np.random.default_rng(n)
    thresholds = np.sort(random.integers(0, 40, n).astype(np.float32) / 8)  # with ties
    graph = Graph()
    x = graph.input("x", "float32", (None, 1))
    tree = search_tree(thresholds, np.arange(n + 1, dtype=np.float32))
    graph.output("y", sum_of_leaves(x, tree))
    opened = session(as_proto(graph, {}).SerializeToString())
    samples = np.concatenate([thresholds, thresholds + 1 / 16, [-1, 99]]).astype(np.float32)
    found = opened.run(None, {"x": samples[:, np.newaxis]})[0][:, 0]
    np.testing.assert_array_equal(found, np.searchsorted(thresholds, samples, side="left"))
    assert tree.n_nodes == 2 * n + 1
    assert tree.depth == int(np.ceil(np.log2(n + 1)))
