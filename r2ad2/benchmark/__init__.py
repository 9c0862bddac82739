"""Measurements of speed and memory beside references, all in one run on the machine at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from r2ad2.benchmark.gradients import GradientOptions, benchmark_gradients
from r2ad2.benchmark.measure import measure_machine
from r2ad2.benchmark.scoring import ScoringOptions, benchmark_scoring
from r2ad2.benchmark.training import TrainingOptions, benchmark_training

__all__ = ["BENCHMARKS", "Benchmark", "run_benchmark"]


@dataclass(frozen=True)
class Benchmark:
    """One kind of measurement: its options, and the function that makes the table's rows."""

    options: type
    run: Callable[[Any, dict[str, Any]], list[dict[str, Any]]]


BENCHMARKS: Mapping[str, Benchmark] = {
    "gradients": Benchmark(GradientOptions, benchmark_gradients),
    "training": Benchmark(TrainingOptions, benchmark_training),
    "scoring": Benchmark(ScoringOptions, benchmark_scoring),
}


def run_benchmark(name: str, **options: Any) -> dict[str, Any]:
    """Measure the machine, then one benchmark.

    Args:
        name: "gradients", "training" or "scoring".
        **options: fields of the benchmark's options, for example ``repeats=9``.

    Returns:
        Dict with the machine's rates, the options, and one dict of figures per row.

    Raises:
        ValueError: for an unknown benchmark or option.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}: choose one of {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    known = [field.name for field in fields(benchmark.options)]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f"benchmark {name} has no option {unknown[0]!r}: choose one of {', '.join(known)}"
        )
    chosen = benchmark.options(**options)
    machine = measure_machine()
    rows = benchmark.run(chosen, machine)
    return {"benchmark": name, "machine": machine, "options": vars(chosen), "rows": rows}
