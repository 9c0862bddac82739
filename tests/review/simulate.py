"""Simulates reviews in rounds: the false-positive rate on fresh normal rows in each round.

Run `python -m tests.review.simulate --seeds 4`. The labels are given by the truth.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from r2ad2 import GradientForestDetector
from r2ad2.datasets import load_dataset
from r2ad2.review import ReviewSession

N_TRAIN, N_REVIEW, N_KNOWN, N_FRESH = 3000, 4000, 5, 20_000


def draw(rng: np.random.Generator, name: str) -> tuple[np.ndarray, ...]:
    """Draw training rows, rows to review with most anomalies, and fresh normal rows."""
    dataset = load_dataset(name)
    is_anomaly = np.isin(dataset.classes, dataset.card.anomalous)
    normal = rng.permutation(np.flatnonzero(~is_anomaly))
    anomalies = rng.permutation(np.flatnonzero(is_anomaly))
    train = np.concatenate([normal[:N_TRAIN], anomalies[:N_KNOWN]])
    n_left = min(len(anomalies) - N_KNOWN, 200)
    review = np.concatenate(
        [normal[N_TRAIN : N_TRAIN + N_REVIEW], anomalies[N_KNOWN : N_KNOWN + n_left]]
    )
    fresh = normal[N_TRAIN + N_REVIEW :][:N_FRESH]
    y = is_anomaly.astype(int)
    x = dataset.x
    return x[train], y[train], x[review], y[review], x[fresh]


def simulate(seed: int, name: str, n_rounds: int, per_round: int, rate: float) -> pd.DataFrame:
    """Review in rounds; return one row per round."""
    x, y, x_review, y_review, fresh = draw(np.random.default_rng(seed), name)
    settings = {"false_positive_rate": rate, "calibration_fraction": 0.3, "n_trees": 30}
    detector = GradientForestDetector(**settings, random_state=seed).fit(x, y)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        session = ReviewSession(detector, x_review, x, y, labels=Path(folder) / "labels.csv")
        truth = dict(zip(map(bytes, x_review), y_review.tolist(), strict=True))
        for number in range(n_rounds + 1):
            flagged = float((session.detector.decision_function(fresh) > 0).mean())
            figures = session.figures()
            row = {"seed": seed, "round": number, "rate": flagged, "found": figures["n_anomaly"]}
            left = figures["left"]
            labels = session.labels()
            is_true = np.array([truth[bytes(sample)] for sample in session.rows.samples]) == 1
            in_reach = session.scoring.p_values <= left["p_value"] + 1e-9
            n_left = int((is_true & in_reach & (labels == "")).sum())
            row |= {"left": n_left, "low": left["low"], "high": left["high"]}
            rows.append(row)
            print(row, flush=True)  # noqa: T201
            if number < n_rounds:
                for position in session.queue()[:per_round].tolist():
                    session.label(position, "anomaly" if is_true[position] else "normal")
                session.learn()
    return pd.DataFrame(rows)


def main() -> None:
    """Print the mean of all seeds for each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="creditcard")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--per-round", type=int, default=20)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    tables = [
        simulate(seed, options.data, options.rounds, options.per_round, options.rate)
        for seed in range(options.seeds)
    ]
    results = pd.concat(tables)
    results["covered"] = (results["low"] <= results["left"]) & (results["left"] <= results["high"])
    if options.output:
        results.to_csv(options.output, index=False)
    print(results.groupby("round").mean().round(4).to_string())  # noqa: T201


if __name__ == "__main__":
    main()
