"""Retrains a detector with reviewed rows, which never calibrate it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.artefact.calibration import (
    n_held_back,
    promised_rate,
    required_samples,
    with_margin,
)
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.encoders.samples import rows_of
from r2ad2.review.rows import concatenate, content_keys, is_category, is_number
from r2ad2.support.messages import count

_FRACTION = 0.1  # held back where the detector's own fraction is 0
_SCORE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Reviewed:
    """Rows that an analyst labelled.

    Attributes:
        samples: DataFrame or array (n, ...), in the form of the training samples; None if n = 0.
        labels: (n,) 1 = anomaly, 0 = normal.
    """

    samples: Any
    labels: np.ndarray


class TrainingRows:
    """The training samples of a review, divided once into rows to learn from and to calibrate with.

    The rows that calibrate are drawn at random before anything is reviewed, and stay the same in
    all rounds: fresh normal rows are exchangeable with them. Reviewed rows are not, because they
    were selected for their scores; they are only ever learnt from. Where the detector was trained
    on the same samples, the rows that were held back then are found again by their fingerprints, so
    that nothing of the detector has seen them. Otherwise, or if these are too few for the
    false-positive rate, others are drawn, and the first round trains everything from scratch.

    Args:
        samples: DataFrame or array (n, ...).
        labels: (n,) 1 = known anomaly, 0 = normal or unlabelled.
        detector: the detector to start from.

    Attributes:
        held_back: (c,) positions of the rows that calibrate.
        held_back_is_unseen: whether the detector to start from has not been trained on these.
        notes: what the user should know about that, in sentences.

    Raises:
        ValueError: if there are too few normal samples for the detector's false-positive rate.
    """

    def __init__(self, samples: Any, labels: np.ndarray, detector: AnomalyDetector):
        self.samples = samples
        self.labels = np.asarray(labels)
        self._keys = content_keys(samples)
        normal = np.flatnonzero(self.labels == 0)
        calibration = detector.pipeline_.calibration.scores.numpy()
        self.held_back = detector._find_held_back(samples, normal)
        never_held_back = not len(calibration) and detector.false_positive_rate is None
        self.held_back_is_unseen = never_held_back or detector._are_enough(self.held_back)
        n_earlier = 0 if detector.sketch_ is None else len(detector.sketch_.held_back)
        self.notes: list[str] = []
        if not self.held_back_is_unseen:
            self.notes.append(
                "the first learning trains everything from scratch: of "
                f"{count(n_earlier, 'row')} that the model held back in training, "
                f"{len(self.held_back):,} are among the training rows and can be used"
            )
            seed = detector.random_state
            random = np.random.RandomState(seed if isinstance(seed, (int, np.integer)) else 0)
            self.held_back = random.permutation(normal)[: _n_to_hold_back(detector, len(normal))]
        elif len(calibration) and not (
            n_earlier == len(calibration) and self._are_among(calibration, detector)
        ):
            self.notes.append(
                "learning calibrates the model with the rows that it held back in training, instead"
                " of those that it was calibrated with since"
            )

    def _are_among(self, calibration: np.ndarray, detector: AnomalyDetector) -> bool:
        """Whether the scores of the rows held back are among those (n,) that calibrate."""
        scores = detector.predict_proba(rows_of(self.samples, self.held_back))[:, 1]
        scores = with_margin(scores.astype(np.float32))
        nearest = np.searchsorted(calibration, scores).clip(1, max(len(calibration) - 1, 1))
        gaps = np.abs(calibration[np.stack([nearest - 1, nearest % len(calibration)])] - scores)
        return bool((gaps.min(axis=0) <= _SCORE_TOLERANCE).all())

    def normal_rows(self) -> Any:
        """Return the samples that are normal as far as anyone knows."""
        return rows_of(self.samples, np.flatnonzero(self.labels == 0))

    def divide(self, reviewed: Reviewed, max_normal: int | None) -> tuple[Any, np.ndarray, Any]:
        """Return samples and labels to learn from, and samples to calibrate with.

        A training row with the same content as a reviewed one gets its label, and is learnt from
        once. A held-back row of the same content stays held back if it is normal, and nothing is
        learnt from it; if it turned out to be an anomaly, it belongs to neither.

        Args:
            reviewed: what the analyst labelled.
            max_normal: maximum number of normal rows to learn from; all reviewed ones are among
                them, and the others are drawn at random.
        """
        labels, held_back = self.labels, self.held_back
        in_use = np.ones(len(labels), dtype=bool)
        in_use[held_back] = False
        parts, found = [], []
        if len(reviewed.labels):
            keys = content_keys(reviewed.samples)
            label_of = dict(zip(keys.tolist(), reviewed.labels.tolist(), strict=True))
            given = np.array([label_of.get(key, -1) for key in self._keys.tolist()])
            in_use &= given < 0
            held_back = held_back[given[held_back] != 1]
            calibrates = set(self._keys[held_back].tolist())
            kept = np.flatnonzero([key not in calibrates for key in keys.tolist()])
            parts, found = [rows_of(reviewed.samples, kept)], [reviewed.labels[kept]]
        normal = np.flatnonzero(in_use & (labels == 0))
        if max_normal is not None:
            room = max(max_normal - sum(int((part == 0).sum()) for part in found), 0)
            if len(normal) > room:
                kept = np.random.default_rng(0).permutation(len(normal))[:room]
                normal = normal[np.sort(kept)]
        chosen = np.sort(np.concatenate([normal, np.flatnonzero(in_use & (labels == 1))]))
        samples = concatenate([rows_of(self.samples, chosen), *parts])
        learnt = np.concatenate([labels[chosen], *found]).astype(np.int64)
        return samples, learnt, rows_of(self.samples, np.sort(held_back))


def _n_to_hold_back(detector: AnomalyDetector, n_normal: int) -> int:
    """Compute how many of n normal samples to hold back: what the rate needs, up to half."""
    rate = detector.false_positive_rate
    needed = 0 if rate is None else required_samples(rate)
    if needed > n_normal // 2:
        raise ValueError(
            f"false_positive_rate={rate:g} needs {needed:,} held-back normal samples, but there "
            f"are only {count(n_normal, 'normal training sample')}, of which at most half are held "
            "back: give more of them, calibrate for a higher rate, or review without training "
            "samples, which does not learn"
        )
    fraction = detector.calibration_fraction or _FRACTION
    return max(n_held_back(n_normal, fraction, None), needed)


def relearn(
    detector: AnomalyDetector, training: TrainingRows, reviewed: Reviewed, *, keep_features: bool
) -> AnomalyDetector:
    """Train a copy of a detector on training and reviewed rows, and calibrate it.

    Args:
        detector: stays as it is.
        training: the training rows.
        reviewed: the reviewed rows.
        keep_features: whether to keep encoding and snapshots where the detector can (`warm_start`);
            only if it has not seen the rows that calibrate.

    Raises:
        ValueError: if the rows do not suit the detector, or too few are left to calibrate with.
    """
    samples, labels, held_back = training.divide(
        reviewed, detector.get_params(deep=False).get("max_samples")
    )
    rate = detector.false_positive_rate
    if rate is not None and len(held_back) < required_samples(rate):
        n_anomalies = len(training.held_back) - len(held_back)
        raise ValueError(
            f"false_positive_rate={rate:g} needs {required_samples(rate):,} held-back normal "
            f"samples, but {len(held_back):,} are left, as {n_anomalies:,} of them turned out to "
            "be anomalies: calibrate the model for a higher rate, or train one that holds back more"
        )
    learner = copy.copy(detector)
    kept = learner.get_params(deep=False)
    changed = {"false_positive_rate": None, "calibration_fraction": 0.0, "checkpoint_dir": None}
    # Where all rows are normal, `fit` could not tell what an anomaly is called.
    changed["anomaly_label"] = detector.classes_[1]
    if "warm_start" in kept:
        changed["warm_start"] = keep_features
    learner.set_params(**changed, verbose=0)
    learner.fit(samples, detector.classes_[labels])
    learner.set_params(**kept)
    learner.classes_ = detector.classes_
    learner.notes_ = dict(detector.notes_)
    if len(held_back):
        learner.calibrate(held_back)
        learner._remember_held_back(held_back)
    if _may_be_assigned(detector):
        learner.threshold_ = detector.threshold_
    return learner


def _may_be_assigned(detector: AnomalyDetector) -> bool:
    """Whether the threshold follows neither from a false-positive rate nor from a contamination."""
    rate, calibration = detector.false_positive_rate, detector.pipeline_.calibration.scores.numpy()
    if detector.contamination is not None:
        return False
    if rate is None:
        return True
    is_calibrated = len(calibration) >= required_samples(rate)
    return is_calibrated and promised_rate(calibration, detector.threshold_, rate) is None


def restore_samples(contents: list[Mapping[str, Any]], like: Any) -> Any:
    """Make samples of the values kept with labels; None if there are none that fit.

    Args:
        contents: values by column.
        like: samples whose form they get.
    """
    names = [str(name) for name in like.columns] if isinstance(like, pd.DataFrame) else None
    n_columns = int(np.prod(np.shape(like)[1:]))
    fitting = [c for c in contents if (set(c) == set(names) if names else len(c) == n_columns)]
    if not fitting:
        return None
    if names is None:
        values = np.array([list(content.values()) for content in fitting], dtype=np.float64)
        return values.reshape(-1, *np.shape(like)[1:]).astype(like.dtype)
    table = pd.DataFrame({name: [content[name] for content in fitting] for name in names})
    for name, column in zip(names, like.columns, strict=True):
        dtype = like[column].dtype
        if pd.api.types.is_datetime64_any_dtype(dtype):
            has_zone = isinstance(dtype, pd.DatetimeTZDtype)  # whose offset depends on the season
            table[name] = pd.to_datetime(table[name], utc=has_zone, format="ISO8601")
        elif is_number(like[column]):
            table[name] = pd.to_numeric(table[name])
        elif pd.api.types.is_bool_dtype(dtype):
            table[name] = table[name].astype("boolean" if table[name].isna().any() else dtype)
        elif is_category(like[column]):
            table[name] = table[name].astype("category")
    return table.set_axis(like.columns, axis=1)
