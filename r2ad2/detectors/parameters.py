"""The parameters that all detectors share, following scikit-learn's conventions."""

from __future__ import annotations

import os
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags

from r2ad2.support.sklearn_internals import Interval, StrOptions


class DetectorParameters(ClassifierMixin, BaseEstimator):
    """Stores, validates and describes the parameters that every detector has.

    A subclass repeats them in its own constructor, as scikit-learn requires, and passes them on.

    Args:
        false_positive_rate: share of fresh normal samples in (0, 1) that may be flagged, on
            average; the threshold follows from held-back normal samples (split conformal).
        contamination: share of the training samples in (0, 0.5] to flag; an alternative to
            `false_positive_rate`. With neither, the threshold is 0.5.
        calibration_fraction: share of the normal samples in [0, 1), up to 10,000 of them, that is
            held back from training and gives thresholds and p-values.
        missing: "error", or "indicator": missing values in tables and arrays are replaced by the
            normal mean, and a flag is added for each column.
        anomaly_label: the label that means anomaly; by default the greater one.
        checkpoint_dir: directory that keeps the state of the training: after a crash the same call
            resumes, with the same result. None keeps nothing.
        random_state: int, RandomState or None; seed or generator of all randomness.
        verbose: 0 is silent, 1 shows progress.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "false_positive_rate": [Interval(Real, 0, 1, closed="neither"), None],
        "contamination": [Interval(Real, 0, 0.5, closed="right"), None],
        "calibration_fraction": [Interval(Real, 0, 1, closed="left")],
        "missing": [StrOptions({"error", "indicator"})],
        "anomaly_label": "no_validation",
        "checkpoint_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        false_positive_rate: float | None = None,
        contamination: float | None = None,
        calibration_fraction: float = 0.1,
        missing: str = "error",
        anomaly_label: Any = None,
        checkpoint_dir: str | os.PathLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.false_positive_rate = false_positive_rate
        self.contamination = contamination
        self.calibration_fraction = calibration_fraction
        self.missing = missing
        self.anomaly_label = anomaly_label
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    def _validate_params(self) -> None:
        super()._validate_params()
        if self.false_positive_rate is not None and self.contamination is not None:
            raise ValueError("give either false_positive_rate or contamination, not both")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = self.missing == "indicator"
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        return tags
