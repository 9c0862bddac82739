"""`r2ad2 benchmark serving`: latency and throughput of the exported SavedModel and ONNX file."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from r2ad2.benchmark.measure import in_fresh_process
from r2ad2.benchmark.quick_detector import quickly_trained


@dataclass(frozen=True)
class ServingOptions:
    """What is measured, for requests of each batch size."""

    batch_sizes: tuple[int, ...] = (1, 32, 1024)
    features: int = 122
    presets: tuple[str, ...] = ("forest", "fast", "paper")
    repeats: int = 1000
    training_rows: int = 2000  # the depth of a forest's trees depends on them


_MOST_SECONDS = 30.0  # limit of one measurement, for any number of repeats
_FEWEST_REPEATS = 10


def _latencies(function: Callable[[], Any], repeats: int) -> np.ndarray:
    for _ in range(3):
        function()
    seconds: list[float] = []
    while len(seconds) < repeats and (
        len(seconds) < _FEWEST_REPEATS or sum(seconds) < _MOST_SECONDS
    ):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)


def _onnx_figures(detector: Any, samples: np.ndarray, folder: str, repeats: int) -> dict:
    """Measure ONNX Runtime; nothing if it is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")):
        return {}
    import onnxruntime

    path = detector.export(f"{folder}/detector.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    seconds = _latencies(lambda: session.run(None, {"x": samples}), repeats)
    return {
        "onnx_median_milliseconds": 1e3 * float(np.median(seconds)),
        "onnx_p99_milliseconds": 1e3 * float(np.quantile(seconds, 0.99)),
        "onnx_rows_per_second": len(samples) / float(np.median(seconds)),
        "onnx_threads": options.intra_op_num_threads,
        "onnx_bytes": path.stat().st_size,
    }


def _measure(preset: str, features: int, batch_size: int, repeats: int, training_rows: int) -> dict:
    import keras
    import tensorflow as tf

    random = np.random.default_rng(0)
    detector = quickly_trained(
        preset, random.random((training_rows, features)), architecture="40-20-10"
    )
    n_weights = detector.model_.count_params()
    # Three equal hidden layers with as many weights in all.
    width = round((np.sqrt(features**2 + 8 * n_weights) - features) / 4)
    plain = keras.Sequential(
        [
            keras.Input((features,)),
            *(keras.layers.Dense(width, "relu") for _ in range(3)),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    x = tf.constant(random.random((batch_size, features)))
    with tempfile.TemporaryDirectory() as folder:
        served = tf.saved_model.load(detector.export(f"{folder}/detector"))
        plain.export(f"{folder}/plain", verbose=False)
        served_plain = tf.saved_model.load(f"{folder}/plain")
        score = served.signatures["serving_default"]
        score_plain = served_plain.signatures["serving_default"]
        (name,) = score_plain.structured_input_signature[1]
        x_plain = {name: tf.cast(x, tf.float32)}
        seconds = _latencies(lambda: score(inputs=x)["score"].numpy(), repeats)
        seconds_plain = _latencies(
            lambda: next(iter(score_plain(**x_plain).values())).numpy(), repeats
        )
        onnx_figures = _onnx_figures(detector, x.numpy(), folder, repeats)
    return {
        "weights": n_weights,
        "median_milliseconds": 1e3 * float(np.median(seconds)),
        "p99_milliseconds": 1e3 * float(np.quantile(seconds, 0.99)),
        "rows_per_second": batch_size / float(np.median(seconds)),
        **onnx_figures,
        "plain_median_milliseconds": 1e3 * float(np.median(seconds_plain)),
        "plain_p99_milliseconds": 1e3 * float(np.quantile(seconds_plain, 0.99)),
    }


def benchmark_serving(options: ServingOptions, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure the exported detector, and a dense Keras network with as many weights.

    Returns:
        One dict per preset and batch size: number of weights, median and 99th percentile of the
        milliseconds per request, rows per second; the same of ONNX Runtime, where it is installed,
        with its threads and the file's size; and the times of the dense network.
    """
    return [
        {"preset": preset, "batch_size": batch_size}
        | in_fresh_process(
            _measure,
            preset=preset,
            features=options.features,
            batch_size=batch_size,
            repeats=options.repeats,
            training_rows=options.training_rows,
        )
        for preset in options.presets
        for batch_size in options.batch_sizes
    ]
