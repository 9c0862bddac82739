"""Counts the outcomes of arbitrary inputs: python -m tests.fuzzing.run --cases 10000."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from r2ad2.support.screen import import_tensorflow_quietly

_SHOWN = 300  # characters of an input


@dataclass
class Outcomes:
    """Counts per outcome, and one example of each different fault, by where it was raised."""

    counts: Counter = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    def add_fault(self, error: BaseException, case: Any) -> None:
        """Count a fault."""
        self.counts["fault"] += 1
        frames = traceback.extract_tb(error.__traceback__)
        inner = [frame for frame in frames if "/r2ad2/" in frame.filename] or frames
        place = f"{inner[-1].filename.rsplit('/', 1)[-1]}:{inner[-1].lineno}"
        key = f"{type(error).__name__} at {place}"
        if isinstance(error, AssertionError):
            key += f" ({str(error)[:60]})"
        self.faults.setdefault(key, f"{str(error)[:_SHOWN]}\n    input: {_shown(case)}")


def _shown(case: Any) -> str:
    """Write an input; pandas cannot write every one."""
    try:
        return repr(case)[:_SHOWN]
    except Exception as error:
        return f"(cannot be shown: {type(error).__name__})"


def fuzz(name: str, cases: int, number: int = 0) -> Outcomes:
    """Use `cases` inputs of a surface; the same number gives the same inputs."""
    from tests.fuzzing.surfaces import SURFACES, quietly

    surface, outcomes = SURFACES[name], Outcomes()

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(surface.inputs)
    def use(case: Any) -> None:
        try:
            outcomes.counts[quietly(surface.use, case)] += 1
        except Exception as error:
            outcomes.add_fault(error, case)

    use()
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="per surface")
    parser.add_argument("--seed", type=int, default=0, help="other inputs for another number")
    parser.add_argument("--surface", action="append", help="only this one (repeatable)")
    options = parser.parse_args(arguments)
    import_tensorflow_quietly()
    from tests.fuzzing.surfaces import SURFACES

    failed = False
    print(f"{'surface':<22}{'result':>8}{'refused':>9}{'fault':>7}{'seconds':>9}")  # noqa: T201
    for name in options.surface or SURFACES:
        start = time.perf_counter()
        outcomes = fuzz(name, options.cases, options.seed)
        counts, seconds = outcomes.counts, time.perf_counter() - start
        shown = f"{counts['result']:>8,}{counts['refused']:>9,}{counts['fault']:>7,}"
        print(f"{name:<22}{shown}{seconds:>9.0f}", flush=True)  # noqa: T201
        for key, example in outcomes.faults.items():
            print(f"  {key}\n    {example}", flush=True)  # noqa: T201
        failed |= bool(outcomes.faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
