"""The demonstration: the publication's MNIST protocol on scikit-learn's 8x8 digits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from r2ad2.datasets import load_dataset
from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.detectors.presets import make_preset
from r2ad2.plots import save_evaluation_plots
from r2ad2.support.files import make_folder


@dataclass(frozen=True)
class DemoResult:
    """Figures of the demonstration, and the files it wrote."""

    figures: dict
    seconds: float
    model: Path
    plots: list[Path]


def run_demo(folder: Path, seed: int = 0, verbose: int = 1) -> DemoResult:
    """Train on digits 0-3 and a few known anomalies, evaluate on held-out images of all digits.

    Args:
        folder: where to write model and plots.
        seed: seed of all random choices.
        verbose: 1 shows progress.
    """
    start = time.monotonic()
    make_folder(folder)  # fail now, not after the training
    dataset = load_dataset("digits")
    split = dataset.split(n_known_anomalies=50, random_state=seed)
    detector = make_preset(
        "forest",
        architecture=dataset.card.architecture,
        random_state=seed,
        verbose=verbose,
    )
    detector.fit(split.x_train, split.y_train)
    scores = detector.predict_proba(split.x_test)[:, 1]
    figures = evaluate_scores(split.y_test, scores, detector.threshold_)
    seconds = time.monotonic() - start
    model = detector.save(folder / "model.keras")
    plots = save_evaluation_plots(
        split.y_test, scores, folder, detector.threshold_, detector.history_
    )
    return DemoResult(figures, seconds, model, plots)
