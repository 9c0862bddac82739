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
from sklearn.model_selection import train_test_split

from r2ad2.datasets import load_dataset
from r2ad2.datasets.files import data_folder
from r2ad2.detectors.gradient_forest import GradientForestDetector
from r2ad2.detectors.suggesting import rank_suggestions, scaled
from r2ad2.networks.counterexamples import COUNTEREXAMPLES
from r2ad2.networks.forest_training import PLANS, TrainingTable, assemble
from r2ad2.support.progress import TrainingProgress
from r2ad2.training.loop import Training

_MAX_ROWS = 3000  # of a data set
_TEST_SHARE = 0.3
_FIRST_LABELS = 5

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


def adbench_task(path: Path, seed: int) -> Task:
    """Draw a task from a file of ADBench as ADGym does: global random state, nothing scaled.

    Source: Jiang et al., "ADGym: Design Choices for Deep Anomaly Detection", NeurIPS 2023.
    """
    with np.load(path, allow_pickle=False) as file:
        X, y = file["X"], file["y"].astype(int)
    return make_task(X, y, seed)


def make_task(X: np.ndarray, y: np.ndarray, seed: int) -> Task:
    """Draw a task from labelled samples."""
    random = np.random.RandomState(seed)
    if len(y) > _MAX_ROWS:
        chosen = random.choice(np.arange(len(y)), _MAX_ROWS, replace=False)
        X, y = X[chosen], y[chosen]
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=_TEST_SHARE, shuffle=True, stratify=y, random_state=random
    )
    known = random.choice(np.flatnonzero(y == 1), _FIRST_LABELS, replace=False)
    return Task(X, y, known, X_test, y_test)


class Learner:
    """A gradient forest that is retrained many times.

    It does what `fit` does with `warm_start=True`, without compiling anything: the features of all
    samples are computed once.

    Args:
        task: the samples.
        seed: decides everything random.
        n_trees: trees of each forest.
    """

    def __init__(self, task: Task, seed: int, n_trees: int):
        self._seed, self._n_trees = seed, n_trees
        self._detector = GradientForestDetector(
            n_trees=2, calibration_fraction=0.0, random_state=seed
        ).fit(task.X, np.isin(np.arange(len(task.y)), task.known).astype(int))
        encoder = self._detector.pipeline_.encoder
        self._groups = list(encoder.feature_groups.values())
        self._encoded = self._detector._encode(encoder, task.X)
        self._seen = self._features(self._encoded)
        self._seen_in_test = self._features(self._detector._encode(encoder, task.X_test))

    def _features(self, encoded: np.ndarray) -> np.ndarray:
        return self._detector._features_of(self._detector.model_.features, encoded)

    def fit(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Train with labels (n,); return scores of both parts, and features for distances."""
        features = self._detector.model_.features
        random = np.random.default_rng(self._seed)
        x = self._encoded
        made = COUNTEREXAMPLES["auto"](x[y == 0], x[y == 1], self._groups, random)
        table = TrainingTable.of(
            np.concatenate([self._seen, self._features(made)]), y, features.n_values
        )
        with TrainingProgress(0) as progress:
            training = Training(progress, None, {})
            trained = [
                plan.train(table, self._n_trees, self._seed + number, training)
                for number, plan in enumerate(PLANS)
                if table.suits(plan)
            ]
        model = assemble(features, trained)
        own, test = (model.score_features(x) for x in (self._seen, self._seen_in_test))
        weighted = scaled(self._seen, np.asarray(model.importances))
        return np.asarray(own)[:, 0], np.asarray(test)[:, 0], weighted


def play(
    task: Task,
    learner: Learner,
    strategy: Strategy,
    seed: int,
    *,
    rounds: int = 8,
    labels: int = 10,
) -> Iterator[dict[str, Any]]:
    """Label in rounds and retrain after each.

    All anomalies but five are among the training samples without a label, as normal ones are. The
    truth gives the labels; a sample found normal stays as it is.

    Args:
        task: the samples.
        learner: of this task.
        strategy: chooses the samples to label.
        seed: of the strategy.
        rounds: how often.
        labels: per round.

    Yields:
        After each round, and before the first: round, labels given, anomalies found by them, AP.
    """
    random = np.random.default_rng(seed)
    y = np.zeros(len(task.y), dtype=int)
    y[task.known] = 1
    labelled = y == 1
    for number in range(rounds + 1):
        scores, scores_in_test, features = learner.fit(y)
        yield {
            "round": number,
            "labels": int(labelled.sum()) - len(task.known),
            "found": int(y.sum()) - len(task.known),
            "AP": float(average_precision_score(task.y_test, scores_in_test)),
        }
        pool = np.flatnonzero(~labelled)
        n = min(labels, len(pool))
        chosen = pool[strategy(scores[pool], features[pool], n, random)]
        labelled[chosen] = True
        y[chosen] = task.y[chosen]


def tasks(names: list[str], seed: int, data_dir: Path | None) -> Iterator[tuple[str, Task]]:
    """Yield tasks by name: files in the folder adbench, or data sets of this package."""
    folder = data_folder(data_dir)
    for name in names:
        path = folder / "adbench" / f"{name}.npz"
        if path.is_file():
            yield name, adbench_task(path, seed)
            continue
        split = load_dataset(name, data_dir=data_dir).split(
            n_known_anomalies=0, pollution=0.05, random_state=seed
        )
        yield name, make_task(split.x_test, split.y_test, seed)


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
    adbench = data_folder(options.data_dir) / "adbench"
    names = (
        options.data.split(",") if options.data else sorted(p.stem for p in adbench.glob("*.npz"))
    )
    rows: list[dict[str, Any]] = []
    for seed in map(int, options.seeds.split(",")):
        for name, task in tasks(names, seed, options.data_dir):
            learner = Learner(task, seed, options.n_trees)
            for strategy in options.strategies.split(","):
                played = play(task, learner, STRATEGIES[strategy], seed, rounds=options.rounds)
                for row in played:
                    rows.append({"data": name, "seed": seed, "strategy": strategy, **row})
                    options.output.parent.mkdir(parents=True, exist_ok=True)
                    pd.DataFrame(rows).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
