"""`r2ad2 benchmark gradients`: per-sample gradients per second, compared with the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r2ad2.benchmark.jax_reference import jax_gradients
from r2ad2.benchmark.measure import in_fresh_process, median_seconds
from r2ad2.support.messages import require_known

# One dense and one convolutional autoencoder of the paper: NSL-KDD's and MNIST's.
NETWORKS = {"dense": ("40-20-10", (122,)), "convolutional": ("8C3-8C3-8", (28, 28, 1))}


@dataclass(frozen=True)
class GradientOptions:
    """What is measured."""

    batch_size: int = 512
    n_snapshots: int = 3
    repeats: int = 7
    jax: bool = False
    networks: tuple[str, ...] = field(default=tuple(NETWORKS))


def _measure(network: str, batch_size: int, n_snapshots: int, repeats: int, jax: bool) -> dict:
    from r2ad2.benchmark.plain import PlainR2AD2
    from r2ad2.gradients import PerSampleGradients
    from r2ad2.networks.autoencoder import Autoencoder
    from r2ad2.networks.model import R2AD2

    architecture, shape = NETWORKS[network]
    snapshots = [
        Autoencoder(architecture, input_shape=shape, seed=k, dropout=0.0)
        for k in range(n_snapshots)
    ]
    x = np.random.default_rng(0).random((batch_size, *shape), dtype=np.float32)
    single = {
        method: PerSampleGradients(snapshots[0], method=method)
        for method in ("closed_form", "vectorized_map")
    }
    raw, sketch = (
        R2AD2(snapshots, gradient=gradient, alarm_units=(4, 4), seed=0)
        for gradient in ("raw", "sketch")
    )
    plain = PlainR2AD2(raw)

    def done(gradients: Any) -> None:
        gradients[:1].numpy()  # wait for the result

    functions: dict[str, Callable[[], Any]] = {
        "ours": lambda: done(single["closed_form"](x)),
        "reference": lambda: done(single["vectorized_map"](x)),
        "snapshots": lambda: done(raw.gradients(x)),
        "snapshots_reference": lambda: done(plain.gradients(x)),
        "sketch": lambda: done(sketch.gradients(x)),
    }
    if jax:
        functions["jax"] = jax_gradients(snapshots[0], x)
    seconds = median_seconds(functions, repeats)
    result = {
        "network": network,
        "batch_size": batch_size,
        "gradient_size": raw.n_features,
        "sketch_size": sketch.n_features,
        "n_snapshots": n_snapshots,
        **{f"{name}_per_second": batch_size / value for name, value in seconds.items()},
        "ratio": seconds["reference"] / seconds["ours"],
        "snapshots_ratio": seconds["snapshots_reference"] / seconds["snapshots"],
        "sketch_ratio": seconds["snapshots_reference"] / seconds["sketch"],
        # The bound is the time to write the result at the machine's copy rate.
        "bytes": 4 * raw.n_features * batch_size,
    }
    if jax:
        result["jax_ratio"] = seconds["jax"] / seconds["ours"]
    return result


def benchmark_gradients(options: GradientOptions, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure the gradients of one snapshot and of all, raw and sketched.

    Returns:
        One dict per network: samples per second of our methods and of the reference (one tape per
        sample under `tf.vectorized_map`), their ratios, the samples per second to which memory
        bandwidth limits the raw gradient of one snapshot, and the peak memory of all methods
        together.
    """
    require_known(options.networks, NETWORKS, "network")
    rows = []
    for network in options.networks:
        row = in_fresh_process(
            _measure,
            network=network,
            batch_size=options.batch_size,
            n_snapshots=options.n_snapshots,
            repeats=options.repeats,
            jax=options.jax,
        )
        # Copying reads and writes, but a result is only written.
        seconds = row.pop("bytes") / (machine["copy_bytes"] / 2)
        # The process has computed gradients with all methods.
        row["all_methods_peak_bytes"] = row.pop("peak_bytes")
        rows.append({**row, "memory_bound_per_second": options.batch_size / seconds})
    return rows
