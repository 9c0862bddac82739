"""Scaled columns in ONNX: each way of scaling, for columns of all sorts."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.encoders.arrays import VectorEncoder
from r2ad2.encoders.scaling import SCALINGS, scaling_from
from r2ad2.serving.onnx.graph import Graph
from r2ad2.serving.onnx.proto import as_proto
from r2ad2.serving.onnx.scalings import write_scaling
from tests.helpers.onnx import session

pytest.importorskip("onnx", reason="ONNX is not installed")

_LARGEST = np.finfo(np.float64).max


def columns(rng, n=400):
    return np.stack(
        [
            np.exp(4 * rng.normal(size=n)),
            rng.poisson(3, n),
            rng.random(n) < 0.5,
            np.full(n, 7.0),
            1.7e9 + np.arange(n),  # hardly different in single precision
            np.linspace(-1, 1, n) * _LARGEST,
            rng.normal(size=n) * 1e-300,
            np.where(np.arange(n) % 9, rng.normal(size=n), -1e9),
        ],
        axis=1,
    )


@pytest.mark.parametrize("kind", SCALINGS)
def test_scaled_columns(kind, rng):
    x = columns(rng)
    encoder = VectorEncoder.learn(x, np.ones(len(x), bool), scaling=kind)
    ends = np.full((2, 8), _LARGEST) * [[1], [-1]]
    far = np.clip(np.concatenate([x, x[:50] * 0.7, x[:50] - 100, ends]), -_LARGEST, _LARGEST)
    graph = Graph()
    graph.output("y", write_scaling(encoder.scaling, graph.input("x", np.float64, (None, 8))))
    opened = session(as_proto(graph, {}).SerializeToString())
    expected = encoder(far).numpy()
    np.testing.assert_allclose(opened.run(None, {"x": far})[0], expected, rtol=1e-6, atol=1e-7)
    assert opened.run(None, {"x": far[:0]})[0].shape == (0, 8)


def test_knots_belong_to_either_of_their_segments():
    config = {"kind": "quantile", "knots": [[0, 1, 5]], "levels": [[0, 0.5, 1]]}
    graph = Graph()
    scaling = scaling_from(config, [0], [5])
    graph.output("y", write_scaling(scaling, graph.input("x", np.float64, (None, 1))))
    x = np.array([[0.0], [1.0], [5.0], [3.0], [-1.0]])
    found = session(as_proto(graph, {}).SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(found[:, 0], [0, 0.5, 1, 0.75, -np.log1p(0.2)], rtol=1e-6)
