"""How time and memory are measured: medians in one run, memory in fresh processes."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from r2ad2.support.memory import peak_memory
from r2ad2.support.screen import import_tensorflow_quietly


def median_seconds(functions: Mapping[str, Callable[[], Any]], repeats: int = 5) -> dict:
    """Time functions in turn, so that other load on the machine affects all of them alike.

    Args:
        functions: functions without arguments, by name. Each is first called once, untimed.
        repeats: number of timed calls of each.

    Returns:
        Dict from name to the median duration in seconds.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _with_peak_memory(function: Callable[..., dict], kwargs: dict) -> dict:
    return {**function(**kwargs), "peak_bytes": peak_memory()}


def in_fresh_process(function: Callable[..., dict], **kwargs: Any) -> dict:
    """Call a function in a process of its own and add its peak memory to the resulting dict.

    Args:
        function: a module-level function that returns a dict of plain values.
        **kwargs: its arguments.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=import_tensorflow_quietly) as pool:
        return pool.submit(_with_peak_memory, function, kwargs).result()


def measure_machine(repeats: int = 7) -> dict[str, Any]:
    """Measure what limits everything else: rates of large matrix products and of copying memory.

    Returns:
        Dict with float32_flops and bfloat16_flops (operations per second of a product of
        2048 x 2048 matrices), copy_bytes (bytes read plus written per second), and versions.
    """
    import keras
    import tensorflow as tf

    n = 2048
    product = tf.function(tf.matmul, autograph=False)
    copy = tf.function(lambda values: values + 1.0, autograph=False)
    single = tf.random.normal((n, n))
    half = tf.cast(single, tf.bfloat16)
    values = tf.zeros((64 * 2**20 // 4,))
    seconds = median_seconds(
        {
            "float32": lambda: product(single, single)[0, 0].numpy(),
            "bfloat16": lambda: np.float32(product(half, half)[0, 0]),
            "copy": lambda: copy(values)[0].numpy(),
        },
        repeats,
    )
    return {
        "float32_flops": 2 * n**3 / seconds["float32"],
        "bfloat16_flops": 2 * n**3 / seconds["bfloat16"],
        "copy_bytes": 2 * 64 * 2**20 / seconds["copy"],
        "cores": os.cpu_count(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }
