"""The demonstration: the paper's MNIST protocol on scikit-learn's 8x8 digits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from sklearn.datasets import load_breast_cancer

from r2ad2.bulk.fit import fit_file
from r2ad2.datasets import load_dataset
from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.detectors.presets import make_preset
from r2ad2.plots import save_evaluation_plots
from r2ad2.support.files import make_folder
from r2ad2.tables.source import TableSource
from r2ad2.tables.write import write_tables

_N_KNOWN = 10


@dataclass(frozen=True)
class DemoResult:
    """Figures of the demonstration, and the files it wrote.

    Attributes:
        figures: AUC, AP and others, by name.
        seconds: time that training and scoring took.
        model: model file.
        plots: plots.
        review: arguments of the command that opens the analyst's page.
    """

    figures: dict
    seconds: float
    model: Path
    plots: list[Path]
    review: list[str]


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
    return DemoResult(figures, seconds, model, plots, _write_review(folder, seed))


def _write_review(folder: Path, seed: int) -> list[str]:
    """Write a table to review, and a model of tumours that knows ten malignant ones.

    Returns:
        The arguments of `r2ad2` that open the page.
    """
    data = load_breast_cancer(as_frame=True)
    table = data.data.assign(malignant=1 - data.target)
    table = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    table.insert(0, "patient", [f"P{number:03}" for number in range(len(table))])
    training, new = table[:300], table[300:]
    known = training.index[training["malignant"] == 1]
    training = training.drop(index=known[_N_KNOWN:])
    train, model = folder / "train.csv", folder / "review.keras"
    write_tables(train, [training])
    write_tables(folder / "new.csv", [new.drop(columns="malignant")])
    detector = make_preset(
        "forest", random_state=seed, false_positive_rate=0.05, calibration_fraction=0.2
    )
    fit_file(detector, train, model, source=TableSource("malignant", drop=("patient",)))
    return [
        *("review", str(folder / "new.csv"), "--model", str(model), "--train", str(train)),
        *("--label", "malignant", "--id", "patient", "--labels", str(folder / "labels.csv")),
    ]
