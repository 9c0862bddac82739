"""Measurements of speed and memory, compared with references in the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from r2ad2.benchmark.gradients import GradientOptions, benchmark_gradients
from r2ad2.benchmark.load import LoadOptions, benchmark_load
from r2ad2.benchmark.measure import measure_machine
from r2ad2.benchmark.scoring import ScoringOptions, benchmark_scoring
from r2ad2.benchmark.serving import ServingOptions, benchmark_serving
from r2ad2.benchmark.training import TrainingOptions, benchmark_training
from r2ad2.support.messages import require_known

__all__ = ["BENCHMARKS", "Benchmark", "run_benchmark"]


@dataclass(frozen=True)
class Benchmark:
    """One kind of measurement: its options, and the function that returns the table's rows."""

    options: type
    run: Callable[[Any, dict[str, Any]], list[dict[str, Any]]]


BENCHMARKS: Mapping[str, Benchmark] = {
    "gradients": Benchmark(GradientOptions, benchmark_gradients),
    "training": Benchmark(TrainingOptions, benchmark_training),
    "scoring": Benchmark(ScoringOptions, benchmark_scoring),
    "serving": Benchmark(ServingOptions, benchmark_serving),
    "load": Benchmark(LoadOptions, benchmark_load),
}


def _checked(name: str, value: Any, default: Any) -> Any:
    """Return an option's value in the default's type; a single value becomes a tuple of one."""
    if isinstance(default, tuple):
        values = value if isinstance(value, (tuple, list)) else (value,)
        return tuple(_checked(name, item, default[0]) for item in values)
    number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if type(value) is not type(default) or (type(default) is int and not number):
        kind = "a positive whole number" if type(default) is int else type(default).__name__
        raise ValueError(f"{name} must be {kind}, got {value!r}")
    return value


def run_benchmark(name: str, **options: Any) -> dict[str, Any]:
    """Measure the machine, then run one benchmark.

    Args:
        name: "gradients", "training", "scoring", "serving" or "load".
        **options: fields of the benchmark's options, for example ``repeats=9``.

    Returns:
        Dict with the machine's rates, the options, and one dict of figures per row.

    Raises:
        ValueError: for an unknown benchmark or option, or a value of the wrong type.
    """
    require_known([name], BENCHMARKS, "benchmark")
    benchmark = BENCHMARKS[name]
    known = [field.name for field in fields(benchmark.options)]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise ValueError(
            f"benchmark {name} has no option {unknown[0]!r}: choose one of {', '.join(known)}"
        )
    defaults = vars(benchmark.options())
    chosen = benchmark.options(
        **{key: _checked(key, value, defaults[key]) for key, value in options.items()}
    )
    machine = measure_machine()
    rows = benchmark.run(chosen, machine)
    return {"benchmark": name, "machine": machine, "options": vars(chosen), "rows": rows}
