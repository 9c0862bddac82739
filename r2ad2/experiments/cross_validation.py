"""Compares methods on a user's own table by cross-validation, and writes a page about it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from r2ad2.bulk.training_rows import TrainingRows
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.detectors.registry import make_detector
from r2ad2.encoders.tables import TableEncoder
from r2ad2.experiments.budgets import Budget
from r2ad2.experiments.comparison import METRICS
from r2ad2.experiments.figures import plot_methods, to_svg
from r2ad2.experiments.materials import UNPUBLISHED
from r2ad2.support.extras import MissingExtraError
from r2ad2.support.files import write_text
from r2ad2.support.messages import count, reason_of
from r2ad2.support.pages import data_url, environment

_COLUMNS = ["method", "fold", *METRICS, "fit_seconds", "score_seconds", "n_test", "error"]


@dataclass(frozen=True)
class CrossValidation:
    """Methods compared on one table.

    Attributes:
        rows: one row per method and fold that were tried: AUC, AP, seconds of training and scoring,
            number of test rows, error (None if there was none).
        n_normal: rows with label 0.
        n_known: rows with label 1.
        n_folds: number of folds.
        missing: how missing values were treated: "error" if there are none, else "indicator".
    """

    rows: pd.DataFrame
    n_normal: int
    n_known: int
    n_folds: int
    missing: str

    def summary(self) -> pd.DataFrame:
        """Average the folds of each method without errors, the best average precision first.

        A method that failed in any fold is left out: the others' means are those of all folds, and
        its own would be that of the folds it happens to manage.

        Returns:
            One row per method: mean and standard deviation of AUC and AP, median seconds of
            training, median microseconds of scoring a row, and `difference`: the mean difference
            in AP to the best method with its standard error, as text.
        """
        failed = self.rows.loc[self.rows["error"].notna(), "method"]
        done = self.rows[~self.rows["method"].isin(failed)]
        done = done.assign(microseconds=done["score_seconds"] / done["n_test"] * 1e6)
        groups = done.groupby("method")
        table = pd.DataFrame(
            {
                **{metric: groups[metric].mean() for metric in METRICS},
                **{f"{metric}_std": groups[metric].std(ddof=0) for metric in METRICS},
                "fit_seconds": groups["fit_seconds"].median(),
                "microseconds": groups["microseconds"].median(),
            }
        ).sort_values(["AP", "AUC"], ascending=False, kind="stable")
        by_fold = done.pivot_table("AP", "fold", "method")
        table["difference"] = [_difference(by_fold, table.index[0], name) for name in table.index]
        return table.reset_index()


def _difference(by_fold: pd.DataFrame, best: str, name: str) -> str:
    if name == best:
        return "best"
    found = (by_fold[name] - by_fold[best]).dropna()
    error = found.std() / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return f"{found.mean():+.3f} ± {error:.3f}"


def cross_validate(
    rows: TrainingRows,
    methods: Mapping[str, type],
    *,
    n_folds: int = 5,
    seed: int = 0,
    budget: str = "fast",
    report: Callable[[CrossValidation, str], None] | None = None,
) -> CrossValidation:
    """Train and test methods on the same folds of a table.

    Each method sees the labels of its training folds only. Methods without a neural network get the
    encoded rows of the other detectors, without missing values. A method that fails does not stop
    the others.

    Args:
        rows: the table, with labels.
        methods: detectors' classes by name.
        n_folds: number of folds, at least 2; every fold needs a known anomaly.
        seed: decides folds and trainings.
        budget: see `Budget.parse`.
        report: called after each method with the results so far, and the method.

    Raises:
        ValueError: for too few known anomalies or normal rows.
    """
    for what, n in (("known anomalies", rows.n_known), ("normal rows", rows.n_normal)):
        if n < n_folds:
            raise ValueError(
                f"the table holds {n} {what}, which is too few for {n_folds} folds: give at least "
                f"{n_folds}, or choose fewer folds (--folds)"
            )
    missing = "indicator" if bool(rows.X.isna().to_numpy().any()) else "error"
    found: list[dict[str, Any]] = []

    def so_far() -> CrossValidation:
        table = pd.DataFrame(found, columns=_COLUMNS)
        return CrossValidation(table, rows.n_normal, rows.n_known, n_folds, missing)

    chosen = Budget.parse(budget)
    for name, detector_type in methods.items():
        settings = chosen.settings(detector_type, UNPUBLISHED)
        settings |= {"random_state": seed, "missing": missing}
        folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
        for fold, (train, test) in enumerate(folds.split(rows.X, rows.labels)):
            row: dict[str, Any] = {"method": name, "fold": fold, "n_test": len(test)}
            try:
                row |= _measure(rows, train, test, detector_type, settings, chosen)
                row["error"] = None
            except MissingExtraError as error:
                row["error"] = reason_of(error)
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {reason_of(error)}"
            found.append(row)
            if row["error"]:
                break  # the other folds would most probably fail as well
        if report is not None:
            report(so_far(), name)
    return so_far()


def _measure(
    rows: TrainingRows,
    train: np.ndarray,
    test: np.ndarray,
    detector_type: type,
    settings: Mapping[str, Any],
    budget: Budget,
) -> dict[str, Any]:
    """Train on some rows and test on others.

    Training time is that of encoding the rows and of the training with the settings that the budget
    affords, without the trainings that find these out.
    """
    X_train, y_train, X_test = rows.X.iloc[train], rows.labels[train], rows.X.iloc[test]
    start = time.perf_counter()
    encode = _encoding(detector_type, X_train, y_train, settings["missing"])
    x_train = encode(X_train)
    encoding = time.perf_counter() - start
    chosen = budget.affordable(
        detector_type, settings, lambda detector: detector.fit(x_train, y_train)
    )
    detector = make_detector(detector_type, chosen)
    start = time.perf_counter()
    detector.fit(x_train, y_train)
    fitted = time.perf_counter()
    scores = np.asarray(detector.decision_function(encode(X_test)), dtype=np.float64).reshape(-1)
    scored = time.perf_counter()
    if not np.isfinite(scores).all():
        raise ValueError(f"{count(int((~np.isfinite(scores)).sum()), 'score')} not finite")
    figures = evaluate_scores(rows.labels[test], scores)
    return {
        "AUC": figures["AUC"],
        "AP": figures["AP"],
        "fit_seconds": encoding + fitted - start,
        "score_seconds": scored - fitted,
    }


def _encoding(
    detector_type: type, X: pd.DataFrame, y: np.ndarray, missing: str
) -> Callable[[pd.DataFrame], Any]:
    """Return what makes samples of rows: nothing to do for detectors that take tables."""
    if issubclass(detector_type, AnomalyDetector):
        return lambda table: table
    encoder = TableEncoder.learn(X.reset_index(drop=True), y == 0, missing=missing)
    return lambda table: encoder(encoder.prepare(table)).numpy()


def write_comparison(
    result: CrossValidation,
    title: str,
    output: str | os.PathLike,
    notes: Sequence[str] = (),
) -> Path:
    """Write a page (compare.html) and the figures of each fold (compare.csv).

    Args:
        result: what was measured.
        title: what the table is called.
        output: folder to write to.
        notes: lines on how the table was read.

    Returns:
        The page.
    """
    folder, summary = Path(output), result.summary()
    write_text(folder / "compare.csv", result.rows.to_csv(index=False))
    failures = result.rows[result.rows["error"].notna()]
    page = environment("r2ad2.experiments").get_template("compare.html")
    return write_text(
        folder / "compare.html",
        page.render(
            title=title,
            result=result,
            summary=summary,
            failures=failures,
            notes=list(notes),
            picture=data_url(to_svg(plot_methods(result.rows, summary)), "image/svg+xml")
            if len(summary)
            else "",
        ),
    )
