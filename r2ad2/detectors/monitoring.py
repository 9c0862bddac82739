"""Has the data moved since training? Asked of a fitted detector."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from r2ad2.artefact.calibration import promised_rate
from r2ad2.artefact.pipeline import ScoringPipeline
from r2ad2.artefact.sketch import Sketch, TrainingSketch, points_per_column, sketch_of
from r2ad2.detectors.drift import (
    ColumnComparison,
    MonitorReport,
    advise,
    score_findings,
    table_of,
)
from r2ad2.detectors.drift_tests import share_interval
from r2ad2.detectors.parameters import DetectorParameters
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.raw_columns import is_complete, raw_columns
from r2ad2.encoders.samples import as_samples, rows_of

_SKETCHED_ROWS, _FEWEST_SKETCHED_ROWS = 50_000, 1000
_SKETCHED_VALUES = 20_000_000  # of all columns, so that wide tables need no more memory
_USUAL_SHARE = 0.9  # of the normal rows have a usual score
_FEWEST_USUAL = 20
_NO_SKETCH = (
    "the columns: this model was saved by a version that kept no sketch of its training columns, "
    "or trained by other means; calibrate it with recent normal rows, or retrain it"
)
_NO_SCORES = (
    "the scores: no normal rows were held back in training; calibrate the model with normal rows "
    "that it has not seen"
)
_NO_USUAL = (
    "columns among rows that look normal: fewer than "
    f"{_FEWEST_USUAL} rows were held back in training, so that only greater changes are found"
)


def learn_sketch(
    encoder: InputEncoder,
    X: Any,
    normal: np.ndarray,
    held_back: np.ndarray,
    scores: np.ndarray,
) -> TrainingSketch:
    """Describe the columns of training samples, for later comparisons.

    Args:
        encoder: learnt from them.
        X: samples as `as_samples` returns them.
        normal: positions of the normal ones; of more than 50,000 (fewer of wide tables), a random
            sample is used.
        held_back: positions of normal samples that the detector has not seen.
        scores: of these.
    """
    width = int(np.prod(np.shape(X)[1:]))
    n_rows = int(np.clip(_SKETCHED_VALUES // width, _FEWEST_SKETCHED_ROWS, _SKETCHED_ROWS))

    def drawn(positions: np.ndarray) -> np.ndarray:
        if len(positions) <= n_rows:
            return positions
        return np.random.default_rng(0).choice(positions, n_rows, replace=False)

    usual_score, usual = None, held_back[:0]
    if len(held_back):
        # One of the scores: those below it are a sample of the distribution below it.
        usual_score = float(np.quantile(scores, _USUAL_SHARE, method="lower"))
        usual = held_back[scores < usual_score]
    if len(usual) < _FEWEST_USUAL:
        usual_score, usual = None, held_back[:0]

    def sketches(positions: np.ndarray) -> dict[str, Sketch]:
        if not len(positions):
            return {}
        known = getattr(encoder, "categories", {})
        n_points = points_per_column(len(encoder.feature_groups))
        return {
            name: sketch_of(values, known.get(name, ()), n_points)
            for name, values in raw_columns(encoder, rows_of(X, positions))
        }

    return TrainingSketch(sketches(drawn(normal)), sketches(drawn(usual)), usual_score)


class MonitoringDetector(DetectorParameters):
    """A detector that says whether samples have moved since training.

    Attributes:
        sketch_: quantiles and shares of the training columns; None in files of 0.1.0.
    """

    pipeline_: ScoringPipeline
    threshold_: float
    sketch_: TrainingSketch | None = None

    def _scores(self, X: Any) -> np.ndarray:
        raise NotImplementedError

    def monitor(self, X: Any, *, anomaly_share: float = 0.1, level: float = 0.05) -> MonitorReport:
        """Test whether the data has moved since training, or since the last `calibrate`.

        The tests compare p-values, the rate of flagged samples, and for each column its
        distribution, new values and missing values, with what the model keeps of the normal
        training samples. They allow for anomalies: up to a share of X may come from anywhere; a
        fifth of them may look normal, have a new category, or no value where there always was one.
        Of unmoved data, at most a share `level` gives an alarm.

        Args:
            X: samples in the form of the training samples; missing values are allowed. They should
                be a sample of what comes in, not only alerts.
            anomaly_share: share of X in [0, 0.5] that may be anomalous without being a shift.
            level: rate of false alarms in (0, 1), of all tests together.

        Returns:
            Whether the data has moved (`drifted`), which columns, and what to do.

        Raises:
            ValueError: for samples that do not have the form of the training samples.
        """
        check_is_fitted(self, "pipeline_")
        if not (isinstance(anomaly_share, Real) and 0 <= anomaly_share <= 0.5):
            raise ValueError(f"anomaly_share must be in [0, 0.5], got {anomaly_share!r}")
        if not (isinstance(level, Real) and 0 < level < 1):
            raise ValueError(f"level must be in (0, 1), got {level!r}")
        X, _ = as_samples(X)
        encoder, calibration = self.pipeline_.encoder, self.pipeline_.calibration
        complete = is_complete(encoder, X)
        n_rows = len(complete)
        if not n_rows or complete.any():
            scored = self._scores(X if complete.all() else rows_of(X, np.flatnonzero(complete)))
        else:
            scored = np.empty(0)
        untested = []
        held_back = calibration.scores.numpy()
        tests: dict[str, dict[str, Any]] = {}
        if len(held_back) and len(scored):
            tests = {
                name: vars(found) | {"finding": found.text}
                for name, found in score_findings(
                    scored, held_back, self.threshold_, anomaly_share
                ).items()
            }
        elif not len(held_back):
            untested.append(_NO_SCORES)
        rows, after = self._compare_columns(X, complete, scored, anomaly_share, untested)
        weight = 2.0 if tests and rows else 1.0  # both tables share the level
        scores = table_of(tests, level, weight)
        columns = table_of(rows, level, weight)
        p_value = float(min([1.0, *scores["p_value"], *columns["p_value"]]))
        n_flagged = int((scored > self.threshold_).sum())
        return MonitorReport(
            drifted=p_value <= level,
            p_value=p_value,
            level=level,
            anomaly_share=anomaly_share,
            n_rows=n_rows,
            n_scored=len(scored),
            flagged_rate=n_flagged / len(scored) if len(scored) else float("nan"),
            flagged_interval=share_interval(n_flagged, len(scored)) if len(scored) else (0.0, 1.0),
            expected_rate=self._expected_rate(held_back),
            scores=scores,
            columns=columns,
            advice=advise(scores, columns),
            untested=untested,
            before=self.sketch_.normal if self.sketch_ else {},
            after=after,
        )

    def _expected_rate(self, held_back: np.ndarray) -> float | None:
        if not len(held_back):
            return self.false_positive_rate
        promised = promised_rate(held_back, self.threshold_, self.false_positive_rate)
        return float((held_back > self.threshold_).mean()) if promised is None else promised

    def _compare_columns(
        self,
        X: Any,
        complete: np.ndarray,
        scores: np.ndarray,
        anomaly_share: float,
        untested: list[str],
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Sketch]]:
        """Compare each column; also return the sketches of X, and note what cannot be tested."""
        sketch = self.sketch_
        if sketch is None:
            untested.append(_NO_SKETCH)
            return {}, {}
        if sketch.usual_score is None:
            untested.append(_NO_USUAL)
        looks_normal = np.ones(len(complete), dtype=bool)
        if sketch.usual_score is not None:
            looks_normal[complete] = scores < sketch.usual_score
        rows, after = {}, {}
        for name, values in raw_columns(self.pipeline_.encoder, X):
            rows[name], after[name] = ColumnComparison(
                values,
                looks_normal if sketch.usual_score is not None else np.zeros_like(looks_normal),
                sketch.normal[name],
                sketch.usual.get(name),
                anomaly_share,
            ).row()
        return rows, after
