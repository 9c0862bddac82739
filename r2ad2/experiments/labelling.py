"""How fast a detector learns from labels: strategies that choose the samples to label.

`python -m r2ad2.experiments.labelling --output FILE` runs the study of docs/review.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from r2ad2.datasets import load_dataset
from r2ad2.datasets.adbench import adbench_names, read_adbench, require_adbench, split_adbench
from r2ad2.detectors.gradient_forest import GradientForestDetector
from r2ad2.detectors.suggesting import rank_suggestions
from r2ad2.experiments.retraining import Samples, retrain

_FIRST_LABELS = 5
# Of data sets of this package: samples to train on, and the share of unlabelled anomalies.
_MAX_NORMAL = 3000
_SHARE = 0.05

# Scores (n,), features scaled for distances (n, features), number, random generator.
Strategy = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]


def by_score(
    scores: np.ndarray, features: np.ndarray, n: int, random: np.random.Generator
) -> np.ndarray:
    """Choose the highest scores."""
    return np.argsort(-scores, kind="stable")[:n]


STRATEGIES: Mapping[str, Strategy] = {
    "suggest": lambda scores, features, n, random: rank_suggestions(
        scores, n, lambda positions: features[positions]
    ),
    "top scores": by_score,
    "uncertainty": lambda scores, features, n, random: np.argsort(
        np.abs(scores - 0.5), kind="stable"
    )[:n],
    "random": lambda scores, features, n, random: random.choice(len(scores), n, replace=False),
}


@dataclass(frozen=True)
class Task:
    """Samples to label, and samples to measure with.

    Attributes:
        X: (n, features).
        y: true labels (n,).
        known: positions of the anomalies that are labelled from the start.
        X_test: (m, features).
        y_test: their true labels.
    """

    X: np.ndarray
    y: np.ndarray
    known: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def make_task(X: np.ndarray, y: np.ndarray, seed: int) -> Task:
    """Draw a task from samples with true labels, as `split_adbench` does."""
    split = split_adbench(X, y, _FIRST_LABELS, seed)
    known = np.flatnonzero(split.y_train)
    return Task(split.x_train, split.truth_train, known, split.x_test, split.y_test)


def play(
    task: Task,
    strategy: Strategy,
    seed: int,
    *,
    rounds: int = 8,
    labels: int = 10,
    n_trees: int = 50,
) -> Iterator[dict[str, Any]]:
    """Label in rounds and retrain after each.

    All anomalies but five are among the training samples without a label, as normal ones are. The
    truth gives the labels; a sample found normal stays as it is.

    Args:
        task: the samples.
        strategy: chooses the samples to label.
        seed: seed of all randomness.
        rounds: how often.
        labels: per round.
        n_trees: trees of each forest.

    Yields:
        After each round, and before the first, until no sample is left: round, labels given,
        anomalies found by them, AP.
    """
    random = np.random.default_rng(seed)
    y = np.zeros(len(task.y), dtype=int)
    y[task.known] = 1
    labelled = y == 1
    detector = GradientForestDetector(n_trees=2, calibration_fraction=0.0, random_state=seed)
    detector.fit(task.X, y)
    samples, held_out = Samples(detector, task.X), Samples(detector, task.X_test)
    for number in range(rounds + 1):
        model = retrain(detector, samples, y, n_trees, seed)
        scores, features = samples.scores(model), samples.to_compare(model)
        yield {
            "round": number,
            "labels": int(labelled.sum()) - len(task.known),
            "found": int(y.sum()) - len(task.known),
            "AP": float(average_precision_score(task.y_test, held_out.scores(model))),
        }
        pool = np.flatnonzero(~labelled)
        if not len(pool):
            return
        n = min(labels, len(pool))
        chosen = pool[strategy(scores[pool], features[pool], n, random)]
        labelled[chosen] = True
        y[chosen] = task.y[chosen]


def tasks(names: list[str], seed: int, data_dir: Path | None) -> Iterator[tuple[str, Task]]:
    """Yield tasks by name: files in the folder adbench, or data sets of this package."""
    of_adbench = adbench_names(data_dir)
    for name in names:
        if name in of_adbench:
            yield name, make_task(*read_adbench(name, data_dir), seed)
            continue
        dataset = load_dataset(name, data_dir=data_dir)
        split = dataset.split(_FIRST_LABELS, _SHARE, random_state=seed, max_normal=_MAX_NORMAL)
        truth = np.isin(dataset.classes[split.train_indices], dataset.card.anomalous).astype(int)
        known = np.flatnonzero(split.y_train)
        yield name, Task(split.x_train, truth, known, split.x_test, split.y_test)


def main(arguments: list[str] | None = None) -> None:
    """Run the study and write one line per set, seed, strategy and round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--data", default="", help="names, separated by commas")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--n-trees", type=int, default=50)
    options = parser.parse_args(arguments)
    names = options.data.split(",") if options.data else require_adbench(options.data_dir)
    rows: list[dict[str, Any]] = []
    for seed in map(int, options.seeds.split(",")):
        for name, task in tasks(names, seed, options.data_dir):
            for strategy in options.strategies.split(","):
                played = play(
                    task, STRATEGIES[strategy], seed, rounds=options.rounds, n_trees=options.n_trees
                )
                for row in played:
                    rows.append({"data": name, "seed": seed, "strategy": strategy, **row})
                    options.output.parent.mkdir(parents=True, exist_ok=True)
                    pd.DataFrame(rows).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
