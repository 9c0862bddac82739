"""`r2ad2 benchmark load`: memory over a million calls, latency with concurrent clients."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from r2ad2.benchmark.measure import in_fresh_process
from r2ad2.benchmark.quick_detector import quickly_trained
from r2ad2.support.memory import resident_memory


@dataclass(frozen=True)
class LoadOptions:
    """The load on a saved detector and on an exported one."""

    calls: int = 1_000_000
    seconds: int = 300
    clients: int = 4
    features: int = 20


_SAMPLES = 100  # measurements of the resident memory
_WARM_UP = 0.1  # share of the calls that is not counted
_DIFFERENT_ROWS = 1000


def memory_slope(call: Callable[[int], Any], calls: int) -> dict[str, float]:
    """Call a function many times and fit a line to the resident memory after a warm-up.

    Args:
        call: takes the number of the call.
        calls: number of calls; one tenth is the warm-up.

    Returns:
        Dict with resident_bytes at the start and the end of the line, and slope_bytes per million
        calls.
    """
    first = int(_WARM_UP * calls)
    every = max((calls - first) // _SAMPLES, 1)
    numbers, sizes = [], []
    for number in range(calls):
        call(number)
        if number >= first and (number - first) % every == 0:
            numbers.append(number)
            sizes.append(resident_memory())
    slope = np.polyfit(numbers, sizes, 1)[0] if len(numbers) > 1 else 0.0
    return {
        "resident_bytes": float(sizes[0]),
        "final_resident_bytes": float(sizes[-1]),
        "slope_bytes": float(slope * 1e6),
    }


def closed_loop(call: Callable[[int], Any], clients: int, seconds: float) -> dict[str, float]:
    """Let several clients call a function, each again as soon as it has its answer.

    Args:
        call: takes the number of the client's call; errors that it raises are counted.
        clients: number of threads.
        seconds: duration, including a warm-up of one tenth that is not counted.

    Returns:
        Dict with the number of requests and of errors, requests per second, the median time per
        request, and its 99th percentiles in the first and the last third of the duration, in
        milliseconds (NaN without any request).
    """
    call(0)  # compiles, which takes seconds
    start = time.perf_counter()
    counted_from, end = start + _WARM_UP * seconds, start + seconds
    records: list[list[tuple[float, float]]] = [[] for _ in range(clients)]
    errors = [0] * clients

    def work(client: int) -> None:
        number = client
        while (begun := time.perf_counter()) < end:
            try:
                call(number)
            except Exception:
                errors[client] += 1
            if begun >= counted_from:
                records[client].append((begun, time.perf_counter() - begun))
            number += clients

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    begun, taken = np.array([entry for record in records for entry in record]).T
    third = (end - counted_from) / 3
    thirds = {"first": begun < counted_from + third, "last": begun >= end - third}
    return {
        "requests": len(taken),
        "errors": sum(errors),
        "requests_per_second": len(taken) / (end - counted_from),
        "median_milliseconds": 1e3 * float(np.median(taken)),
    } | {
        f"p99_milliseconds_{name}_third": (
            1e3 * float(np.quantile(taken[chosen], 0.99)) if chosen.any() else float("nan")
        )
        for name, chosen in thirds.items()
    }


def _detector(features: int) -> Any:
    return quickly_trained("fast", np.random.default_rng(0).random((400, features)))


def _rows(features: int) -> list[np.ndarray]:
    return list(np.random.default_rng(1).random((_DIFFERENT_ROWS, 1, features)))


def _single_rows(calls: int, features: int) -> dict:
    from r2ad2.detectors.persistence import load

    rows = _rows(features)
    with tempfile.TemporaryDirectory() as folder:
        detector = load(_detector(features).save(f"{folder}/model.keras"))
    start = time.perf_counter()
    figures = memory_slope(lambda number: detector.predict_proba(rows[number % len(rows)]), calls)
    return {
        "calls": calls,
        **figures,
        "mean_milliseconds": 1e3 * (time.perf_counter() - start) / calls,
    }


def _served(seconds: int, clients: int, features: int) -> dict:
    import tensorflow as tf

    rows = [tf.constant(row) for row in _rows(features)]
    with tempfile.TemporaryDirectory() as folder:
        served = tf.saved_model.load(_detector(features).export(f"{folder}/detector"))
        score = served.signatures["serving_default"]
        call = closed_loop(
            lambda number: score(inputs=rows[number % len(rows)])["score"].numpy(),
            clients,
            seconds,
        )
    return {"clients": clients, "seconds": seconds, **call}


def benchmark_load(options: LoadOptions, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Score single rows many times with a saved detector, then with an exported one under load.

    Returns:
        The figures of `memory_slope` with the mean time of a call, and those of `closed_loop`.
    """
    return [
        {"load": "single rows"}
        | in_fresh_process(_single_rows, calls=options.calls, features=options.features),
        {"load": "exported model"}
        | in_fresh_process(
            _served,
            seconds=options.seconds,
            clients=options.clients,
            features=options.features,
        ),
    ]
