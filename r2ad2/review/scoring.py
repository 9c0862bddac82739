"""What a detector says about the rows of a review."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from r2ad2.detectors.base import AnomalyDetector


class Cause(NamedTuple):
    """What a column contributes to a row's score."""

    name: str
    attribution: float


class Similar(NamedTuple):
    """A labelled row that resembles another row.

    Attributes:
        position: the labelled row's.
        label: its label.
        note: its note.
        distance: root mean square of the differences between encoded values, in [0, 1].
    """

    position: int
    label: str
    note: str
    distance: float


@dataclass
class Scoring:
    """A detector and what it says about the rows; replaced as a whole when it has learnt.

    Attributes:
        detector: the detector.
        scores: (n,) of the rows.
        p_values: (n,) conformal p-values; None if the detector is not calibrated.
        order: (n,) positions, suggested ones first.
        n_suggested: number of suggested ones.
        causes: what raises the score of the rows explained so far, by position.
        encoded: the rows encoded so far, by position; belongs to the detector's encoder.
    """

    detector: AnomalyDetector
    scores: np.ndarray
    p_values: np.ndarray | None
    order: np.ndarray
    n_suggested: int
    causes: dict[int, list[Cause]] = field(default_factory=dict)
    encoded: dict[int, np.ndarray] = field(default_factory=dict)

    @functools.cached_property
    def by_score(self) -> np.ndarray:
        """Positions, highest score first."""
        return np.argsort(-self.scores, kind="stable")

    @property
    def is_flagged(self) -> np.ndarray:
        """Whether each row (n,) is predicted anomalous."""
        return self.scores > self.detector.threshold_
