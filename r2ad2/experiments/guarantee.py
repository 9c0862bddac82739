"""Does the promised false-positive rate survive the analyst's loop? A simulation.

`python -m r2ad2.experiments.guarantee --output FILE` runs the simulation of docs/review.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.artefact.calibration import conformal_threshold, with_margin
from r2ad2.detectors.gradient_forest import GradientForestDetector
from r2ad2.detectors.suggesting import rank_suggestions
from r2ad2.experiments.retraining import Samples, retrain

_N_TRAIN, _N_POOL, _N_FRESH, _N_ANOMALIES = 1500, 600, 2000, 500
_RATE = 0.05
WAYS = ("held back once", "drawn again", "reviewed rows join")


def draw(
    random: np.random.Generator, n: int, anomaly_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples (n, 8) with labels: columns depend on each other, anomalies break that."""
    y = (random.random(n) < anomaly_share).astype(int)
    hidden = random.normal(size=(n, 3))
    X = hidden @ np.linspace(-1, 1, 24).reshape(3, 8) + 0.3 * random.normal(size=(n, 8))
    X[y == 1] += 1.5 * random.choice([-1, 1], size=(int(y.sum()), 8))
    return X, y


def simulate(
    way: str, seed: int, rounds: int = 10, labels: int = 10, n_trees: int = 10
) -> Iterator[dict[str, Any]]:
    """Review, label and retrain in rounds; measure the rate of fresh normal samples flagged.

    Args:
        way: "held back once" as `fit` with `warm_start` does; "drawn again": other samples are held
            back in every round, which the autoencoder may have seen; "reviewed rows join": samples
            found normal in the review are not trained on, but held back.
        seed: seed of all randomness.
        rounds: how often.
        labels: samples reviewed per round.
        n_trees: trees of each forest.

    Yields:
        After each round, and before the first: round, false_positive_rate, recall, n_held_back.
    """
    random = np.random.default_rng(seed)
    X, truth = draw(random, _N_TRAIN, 0.02)
    y = np.where(np.cumsum(truth) <= 5, truth, 0)
    detector = GradientForestDetector(n_trees=2, start_epoch=5, random_state=seed).fit(X, y)
    held_back = np.zeros(len(X), dtype=bool)
    held_back[detector._find_held_back(X, np.arange(len(X)))] = True
    samples = Samples(detector, X)
    fresh = Samples(detector, draw(random, _N_FRESH, 0.0)[0])
    anomalies = Samples(detector, draw(random, _N_ANOMALIES, 1.0)[0])
    for number in range(rounds + 1):
        if way == "drawn again" and number:
            normal = np.flatnonzero(y[:_N_TRAIN] == 0)
            held_back[:] = False
            held_back[random.choice(normal, detector.pipeline_.calibration.n_samples, False)] = True
        model = retrain(detector, samples.take(~held_back), y[~held_back], n_trees, seed + number)
        own = samples.take(held_back & (y == 0)).scores(model)
        threshold = conformal_threshold(with_margin(own), _RATE)
        yield {
            "round": number,
            "false_positive_rate": float((fresh.scores(model) > threshold).mean()),
            "recall": float((anomalies.scores(model) > threshold).mean()),
            "n_held_back": len(own),
        }
        pool, labels_of_pool = draw(random, _N_POOL, 0.05)
        found = Samples(detector, pool)
        features = found.to_compare(model)
        chosen = rank_suggestions(found.scores(model), labels, features.__getitem__)
        samples += found.take(chosen)
        y = np.concatenate([y, labels_of_pool[chosen]])
        joins = (labels_of_pool[chosen] == 0) & (way == "reviewed rows join")
        held_back = np.concatenate([held_back, joins])


def main(arguments: list[str] | None = None) -> None:
    """Run the simulation and write one line per way, seed and round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in range(options.first_seed, options.first_seed + options.repetitions):
        for way in options.ways.split(","):
            rows += [
                {"way": way, "seed": seed, "promised": _RATE, **row}
                for row in simulate(way, seed, options.rounds)
            ]
            pd.DataFrame(rows).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
