"""How often `monitor` gives an alarm without a shift, and whether it finds planted ones.

`python -m r2ad2.experiments.false_alarms --output FILE` runs the study of docs/review.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.datasets import load_dataset
from r2ad2.detectors.gradient_forest import GradientForestDetector

_MAX_NORMAL = 8000  # rows to train on
_SHARES = (0.0, 0.01, 0.1)


def _scaled(X: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    return X.assign(**{column: X[column] * 1.5})


def _missing(X: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    return X.assign(**{column: X[column].mask(random.random(len(X)) < 0.05)})


def _new_category(X: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    return X.assign(**{column: X[column].mask(random.random(len(X)) < 0.05, "new")})


SHIFTS: Mapping[str, tuple[str, Callable]] = {
    "scaled by 1.5": ("number", _scaled),
    "5 % missing": ("number", _missing),
    "5 % missing texts": ("text", _missing),
    "5 % a new category": ("text", _new_category),
}


def study(
    name: str, seed: int, repetitions: int, n_rows: int, data_dir: Path | None
) -> Iterator[dict[str, Any]]:
    """Train on half of a data set's normal rows and monitor samples of the others.

    A category of quartiles of the widest column is added, so that there is a text column.

    Args:
        name: data set of the package.
        seed: seed of all randomness.
        repetitions: samples per share of anomalies.
        n_rows: rows of a sample.
        data_dir: folder of the data sets.

    Yields:
        One row per sample: what was planted, the share of anomalies, whether there was an alarm,
        the p-value, the column that was moved, and the columns that were named.
    """
    split = load_dataset(name, data_dir=data_dir).split(
        n_known_anomalies=100, allow_fewer=True, random_state=seed
    )
    random = np.random.default_rng(seed)
    normal = random.permutation(split.x_train[split.y_train == 0])
    widest = int(np.argmax(normal.std(axis=0)))
    cuts = np.quantile(normal[:, widest], [0.25, 0.5, 0.75])

    def table(rows: np.ndarray) -> pd.DataFrame:
        named = pd.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])])
        quarter = np.array(["first", "second", "third", "fourth"])
        return named.assign(quarter=quarter[np.searchsorted(cuts, rows[:, widest])])

    half = min(len(normal) // 2, _MAX_NORMAL)
    known = split.x_train[split.y_train == 1]
    detector = GradientForestDetector(n_trees=50, random_state=seed).fit(
        table(np.concatenate([normal[:half], known])), np.repeat([0, 1], [half, len(known)])
    )
    rest, anomalies = normal[half:], split.x_test[split.y_test == 1]

    def sample(pool: np.ndarray, share: float) -> pd.DataFrame:
        odd = random.random(n_rows) < share
        rows = pool[random.choice(len(pool), n_rows, replace=len(pool) < n_rows)]
        rows[odd] = anomalies[random.choice(len(anomalies), int(odd.sum()))]
        return table(rows)

    def row(kind: str, share: float, X: pd.DataFrame, column: str | None) -> dict[str, Any]:
        report = detector.monitor(X)
        columns = report.columns
        return {
            "data": name,
            "shift": kind,
            "anomaly_share": share,
            "alarm": report.drifted,
            "p_value": report.p_value,
            "column": column,
            "named": " ".join(columns.index[columns["drifted"].astype(bool)]),
            "scores": " ".join(report.scores.index[report.scores["drifted"].astype(bool)]),
        }

    for share in _SHARES:
        for _ in range(repetitions):
            yield row("none", share, sample(rest, share), None)
    numbers = [c for c in range(normal.shape[1]) if len(np.unique(normal[:, c])) > 20]
    for kind, (column_kind, move) in SHIFTS.items():
        for _ in range(max(repetitions // 10, 1)):
            column = f"x{random.choice(numbers)}" if column_kind == "number" else "quarter"
            yield row(kind, 0.01, move(sample(rest, 0.01), column, random), column)
    test = split.x_test[split.y_test == 0]
    for _ in range(max(repetitions // 10, 1)):
        yield row("publisher's test rows", 0.01, sample(test, 0.01), None)


def main(arguments: list[str] | None = None) -> None:
    """Run the study and write one line per sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", default="mammography,nsl_kdd", help="separated by commas")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--rows", type=int, default=2000)
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name in options.data.split(","):
        for row in study(name, 110, options.repetitions, options.rows, options.data_dir):
            rows.append(row)
            pd.DataFrame(rows).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
