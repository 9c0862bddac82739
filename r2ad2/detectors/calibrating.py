"""Calibrating a fitted detector: threshold and p-values from held-back normal samples."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from r2ad2.artefact.calibration import (
    Calibration,
    conformal_threshold,
    required_samples,
    with_margin,
)
from r2ad2.artefact.pipeline import ScoringPipeline
from r2ad2.artefact.sketch import TrainingSketch, find_again, fingerprints
from r2ad2.detectors.monitoring import learn_sketch
from r2ad2.detectors.parameters import DetectorParameters
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.labels import as_spelt, encode_labels
from r2ad2.encoders.samples import as_samples, rows_of
from r2ad2.support.messages import quoted

_FINGERPRINTED_ROWS = 50_000  # at a time


class CalibratedDetector(DetectorParameters):
    """A detector whose threshold and p-values come from samples that it has not seen."""

    classes_: np.ndarray
    pipeline_: ScoringPipeline
    sketch_: TrainingSketch | None

    def _scores(self, X: Any) -> np.ndarray:
        raise NotImplementedError

    def _encode(self, encoder: InputEncoder, X: Any) -> np.ndarray:
        raise NotImplementedError

    @property
    def threshold_(self) -> float:
        """Scores above it are predicted anomalous; assign another number to change it.

        It belongs to the model, in single precision as the scores: files, copies and exports have
        it. `calibrate` keeps it unless `false_positive_rate` is given.

        Raises:
            ValueError: if the assigned number is not finite in single precision.
        """
        check_is_fitted(self, "pipeline_")
        return float(self.pipeline_.calibration.threshold.numpy())

    @threshold_.setter
    def threshold_(self, threshold: float) -> None:
        check_is_fitted(self, "pipeline_")
        with np.errstate(over="ignore"):
            is_finite = np.isfinite(np.float32(threshold))
        if not is_finite:  # nor would a file of such a model be read again
            raise ValueError(f"threshold_ must be a finite number, got {threshold}")
        scores = self.pipeline_.calibration.scores.numpy()
        self._use_calibration(Calibration.from_scores(scores, threshold))

    def _calibrate(self, scores: np.ndarray) -> None:
        """Calibrate with the scores (n,) of held-back normal samples."""
        scores = with_margin(scores)
        threshold = self.threshold_
        if self.false_positive_rate is not None:
            threshold = conformal_threshold(scores, self.false_positive_rate)
        self._use_calibration(Calibration.from_scores(scores, threshold))

    def _use_calibration(self, calibration: Calibration) -> None:
        """Replace the calibration by that of a new pipeline: copies may share the earlier one."""
        earlier = self.pipeline_  # its compiled parts stay as they are
        self.pipeline_ = ScoringPipeline(
            earlier.encoder, earlier.scorer, calibration, earlier.baseline
        )

    def calibrate(self, X: Any, y: Any = None) -> CalibratedDetector:
        """Calibrate again, with other held-back samples, such as more recent ones.

        The threshold changes if it follows from `false_positive_rate`, and `monitor` compares with
        these samples from now on. They must be a random sample of the normal ones: those that were
        reviewed because of their scores are not.

        Args:
            X: samples that the detector has not seen, in the form of the training samples.
            y: labels (n,), values of `classes_`; only normal samples are used. None: all of them,
                unless X is a dataset of pairs.

        Returns:
            The detector itself.

        Raises:
            ValueError: for samples that do not have the form of the training samples, or too few.
        """
        X, y = as_samples(X, y)
        scores = self._scores(X).astype(np.float32)
        normal = np.arange(len(scores))
        if y is not None:
            found, labels = encode_labels(y, len(scores), self.classes_[1])
            classes = self.classes_.tolist()
            if as_spelt(found[0], classes) not in classes:
                raise ValueError(
                    f"y holds the label {quoted(found[0])}, but the detector was trained with "
                    f"{' and '.join(map(quoted, classes))}"
                )
            normal = np.flatnonzero(labels == 0)
        self._calibrate(scores[normal])
        earlier = self.sketch_  # of the training, which is what warm_start continues
        sketch = learn_sketch(self.pipeline_.encoder, X, normal, normal, scores[normal])
        if earlier is not None:
            sketch = dataclasses.replace(sketch, held_back=earlier.held_back)
        self.sketch_ = sketch
        return self

    def _keep_sketch(
        self, X: Any, normal: np.ndarray, held_back: np.ndarray, scores: np.ndarray
    ) -> None:
        """Keep what `monitor` and a continued training need to know of the training samples."""
        encoder = self.pipeline_.encoder
        self.sketch_ = learn_sketch(encoder, X, normal, held_back, scores)
        if len(held_back):
            self._remember_held_back(rows_of(X, held_back))

    def _remember_held_back(self, X: Any) -> None:
        """Keep the fingerprints of samples, so that a continued training holds them back, too."""
        if self.sketch_ is not None:
            prints = fingerprints(self._encode(self.pipeline_.encoder, X))
            self.sketch_ = dataclasses.replace(self.sketch_, held_back=prints)

    def _find_held_back(self, X: Any, normal: np.ndarray) -> np.ndarray:
        """Find the samples that the training held back, by their fingerprints.

        Args:
            X: samples as `as_samples` returns them.
            normal: (m,) positions of the samples to look among.

        Returns:
            Their positions, in the order of `normal`; none if nothing was held back.
        """
        wanted = self.sketch_.held_back if self.sketch_ is not None else np.empty(0, "<u8")
        if not len(wanted) or not len(normal):
            return normal[:0]
        encoder, size = self.pipeline_.encoder, _FINGERPRINTED_ROWS
        prints = [
            fingerprints(self._encode(encoder, rows_of(X, normal[first : first + size])))
            for first in range(0, len(normal), size)
        ]
        return normal[find_again(np.concatenate(prints), wanted)]

    def _are_enough(self, found: np.ndarray) -> bool:
        """Whether samples that `_find_held_back` found are enough to calibrate with.

        That is half of those held back in training, and as many as the false-positive rate needs.
        """
        n_wanted = len(self.sketch_.held_back) if self.sketch_ is not None else 0
        rate = self.false_positive_rate
        needed = max(n_wanted // 2, 1, 0 if rate is None else required_samples(rate))
        return len(found) >= needed

    def p_values(self, X: Any) -> np.ndarray:
        """Compute conformal p-values (n,) in (0, 1] against held-back normal samples.

        The p-values of normal samples are distributed uniformly or above: flagging those up to a
        level flags no greater share of them, on average. Correct for many tests where it matters,
        for instance by ``scipy.stats.false_discovery_control``.

        Raises:
            ValueError: if no normal samples were held back; see `calibrate`.
        """
        scores = self._scores(X)
        return self.pipeline_.calibration.p_values(scores)
