"""Retrains a detector with reviewed rows, which never calibrate it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.artefact.calibration import n_held_back, with_margin
from r2ad2.artefact.sketch import fingerprints
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.review.rows import concatenate, content_keys, is_category, is_number, take

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
    on the same samples, the rows that were held back then are found again, so that nothing of the
    detector has seen them. Otherwise the first round trains everything from scratch.

    Args:
        samples: DataFrame or array (n, ...).
        labels: (n,) 1 = known anomaly, 0 = normal or unlabelled.
        detector: the detector to start from.

    Attributes:
        held_back: (c,) positions of the rows that calibrate.
        held_back_is_unseen: whether the detector to start from has not been trained on these.
    """

    def __init__(self, samples: Any, labels: np.ndarray, detector: AnomalyDetector):
        self.samples = samples
        self.labels = np.asarray(labels)
        self._keys = content_keys(samples)
        calibration = detector.pipeline_.calibration
        seeds = dict.fromkeys([_seed(detector), 0])
        expected = np.sort(calibration.scores.numpy())
        for seed in seeds:
            self.held_back = self._draw(calibration.n_samples, seed)
            self.held_back_is_unseen = len(expected) == len(self.held_back) and (
                not len(expected) or self._have_scores(detector, expected)
            )
            if self.held_back_is_unseen:
                return
        fraction = detector.calibration_fraction or _FRACTION
        n_normal = int((self.labels == 0).sum())
        n = n_held_back(n_normal, fraction, detector.false_positive_rate)
        self.held_back = self._draw(n, _seed(detector))

    def _draw(self, n: int, seed: int) -> np.ndarray:
        """Draw as `AnomalyDetector.fit` does."""
        normal = np.flatnonzero(self.labels == 0)
        return np.random.RandomState(seed).permutation(normal)[:n]

    def _have_scores(self, detector: AnomalyDetector, expected: np.ndarray) -> bool:
        scores = detector.predict_proba(take(self.samples, self.held_back))[:, 1]
        found = np.sort(with_margin(scores.astype(np.float32)))
        return bool(np.allclose(found, expected, rtol=_SCORE_TOLERANCE, atol=_SCORE_TOLERANCE))

    def normal_rows(self) -> Any:
        """Return the samples that are normal as far as anyone knows."""
        return take(self.samples, np.flatnonzero(self.labels == 0))

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
            parts, found = [take(reviewed.samples, kept)], [reviewed.labels[kept]]
        normal = np.flatnonzero(in_use & (labels == 0))
        if max_normal is not None:
            room = max(max_normal - sum(int((part == 0).sum()) for part in found), 0)
            if len(normal) > room:
                kept = np.random.default_rng(0).permutation(len(normal))[:room]
                normal = normal[np.sort(kept)]
        chosen = np.sort(np.concatenate([normal, np.flatnonzero(in_use & (labels == 1))]))
        samples = concatenate([take(self.samples, chosen), *parts])
        learnt = np.concatenate([labels[chosen], *found]).astype(np.int64)
        return samples, learnt, take(self.samples, np.sort(held_back))


def _seed(detector: AnomalyDetector) -> int:
    state = detector.random_state
    return int(state) if isinstance(state, (int, np.integer)) else 0


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
        ValueError: if the rows do not suit the detector.
    """
    learner = copy.copy(detector)
    kept = learner.get_params(deep=False)
    changed = {"false_positive_rate": None, "calibration_fraction": 0.0, "checkpoint_dir": None}
    # Where all rows are normal, `fit` could not tell what an anomaly is called.
    changed["anomaly_label"] = detector.classes_[1]
    if "warm_start" in kept:
        changed["warm_start"] = keep_features
    samples, labels, held_back = training.divide(reviewed, kept.get("max_samples"))
    learner.set_params(**changed, verbose=0)
    learner.fit(samples, detector.classes_[labels])
    learner.set_params(**kept)
    learner.classes_ = detector.classes_
    learner.notes_ = dict(detector.notes_)
    if detector.false_positive_rate is None and detector.contamination is None:
        learner.threshold_ = detector.threshold_  # the user may have assigned it
    if len(held_back):
        learner.calibrate(held_back)
        # A later `fit` with warm_start holds back the same rows.
        prints = fingerprints(learner._encode(learner.pipeline_.encoder, held_back))
        if learner.sketch_ is not None:
            learner.sketch_ = dataclasses.replace(learner.sketch_, held_back=prints)
    return learner


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
