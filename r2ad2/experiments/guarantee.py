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

from r2ad2.detectors.gradient_forest import GradientForestDetector

_N_TRAIN, _N_POOL, _N_FRESH = 1500, 600, 1000
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


def simulate(way: str, seed: int, rounds: int = 10, labels: int = 10) -> Iterator[dict[str, Any]]:
    """Review, label and retrain in rounds; measure the rate of fresh normal samples flagged.

    Args:
        way: "held back once" as `fit` with `warm_start` does; "drawn again": other samples are held
            back in every round, which the autoencoder may have seen; "reviewed rows join": samples
            found normal in the review join the held-back ones.
        seed: decides everything random.
        rounds: how often.
        labels: samples reviewed per round.

    Yields:
        After each round, and before the first: round, false_positive_rate, recall.
    """
    random = np.random.default_rng(seed)
    X, y = draw(random, _N_TRAIN, 0.02)
    known = np.where(np.cumsum(y) <= 5, y, 0)
    fresh, _ = draw(random, _N_FRESH, 0.0)
    anomalies, _ = draw(random, 200, 1.0)
    detector = GradientForestDetector(
        warm_start=True, false_positive_rate=_RATE, n_trees=15, start_epoch=5, random_state=seed
    )
    for number in range(rounds + 1):
        if way == "drawn again" and number:
            detector.sketch_ = None
            detector.set_params(random_state=seed + number)
        detector.fit(X, known)
        if way == "reviewed rows join" and number:
            reviewed = X[_N_TRAIN:][known[_N_TRAIN:] == 0]
            own = detector.pipeline_.calibration.scores.numpy()
            joined = detector.predict_proba(reviewed)[:, 1].astype(np.float32)
            detector._calibrate(np.concatenate([own, joined]))
        yield {
            "round": number,
            "false_positive_rate": float(detector.predict(fresh).mean()),
            "recall": float(detector.predict(anomalies).mean()),
        }
        pool, truth = draw(random, _N_POOL, 0.05)
        chosen = detector.suggest(pool, labels)
        X = np.concatenate([X, pool[chosen]])
        known = np.concatenate([known, truth[chosen]])


def main(arguments: list[str] | None = None) -> None:
    """Run the simulation and write one line per way, seed and round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ways", default=",".join(WAYS))
    options = parser.parse_args(arguments)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for seed in range(options.repetitions):
        for way in options.ways.split(","):
            rows += [
                {"way": way, "seed": seed, "promised": _RATE, **row}
                for row in simulate(way, seed, options.rounds)
            ]
            pd.DataFrame(rows).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()
