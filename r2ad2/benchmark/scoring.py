"""`r2ad2 benchmark scoring`: time and memory of scoring by rows, features and snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from r2ad2.benchmark.measure import in_fresh_process, median_seconds
from r2ad2.benchmark.quick_detector import quickly_trained

# As many trees' nodes as usual: their number depends on the training samples.
_TRAINING_ROWS = 5_000


@dataclass(frozen=True)
class ScoringOptions:
    """What is measured: one quantity varies at a time, the others keep their first value."""

    rows: tuple[int, ...] = (10_000, 1_000, 100_000, 1_000_000)
    features: tuple[int, ...] = (122, 10, 1_000)
    n_snapshots: tuple[int, ...] = (3, 1, 2, 4)
    preset: str = "forest"
    repeats: int = 3


def _measure(rows: int, features: int, n_snapshots: int, preset: str, repeats: int) -> dict:
    random = np.random.default_rng(0)
    detector = quickly_trained(
        preset,
        random.random((_TRAINING_ROWS, features)),
        architecture="40-20-10",
        n_snapshots=n_snapshots,
    )
    x = random.random((rows, features))
    single = median_seconds({"row": lambda: detector.predict_proba(x[:1])}, 50)["row"]
    repeats = repeats if rows <= 100_000 else 1
    seconds = median_seconds({"all": lambda: detector.predict_proba(x)}, repeats)["all"]
    return {
        "gradient_size": detector.model_.n_features,
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "single_row_milliseconds": 1e3 * single,
        "input_bytes": x.nbytes,
    }


def benchmark_scoring(options: ScoringOptions, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure `predict_proba` of a preset's detector, each size in a process of its own.

    Returns:
        One dict per size: rows per second, milliseconds for a single row, the input's bytes, and
        the peak memory of the process, which holds the input twice (as given and as encoded).
    """
    sizes = {
        "rows": options.rows,
        "features": options.features,
        "n_snapshots": options.n_snapshots,
    }
    usual = {name: values[0] for name, values in sizes.items()}
    cases = [usual] + [
        usual | {name: value} for name, values in sizes.items() for value in values[1:]
    ]
    cases.sort(key=lambda case: tuple(case[name] != usual[name] for name in reversed(sizes)))
    return [
        case | in_fresh_process(_measure, preset=options.preset, repeats=options.repeats, **case)
        for case in cases
    ]
