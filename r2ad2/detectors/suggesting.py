"""Which samples to label next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from r2ad2.artefact.pipeline import ScoringPipeline
from r2ad2.detectors.parameters import DetectorParameters
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.samples import as_samples, rows_of
from r2ad2.support.messages import require_count

# Candidates per suggestion: those with the highest scores, from which different ones are chosen.
_CANDIDATES = 3
_UNCERTAIN_SHARE = 0.1
_UNDECIDED = 0.5  # the score of a sample that is as likely one as the other
_FARTHEST = 3.0


def choose_different(scores: np.ndarray, features: np.ndarray, n: int) -> np.ndarray:
    """Choose n samples with high scores that differ from each other.

    The first one has the highest score. Each further one has the greatest product of its score and
    its distance from the nearest one chosen before.

    Args:
        scores: (m,) at least 0.
        features: (m, features), scaled so that distances mean something.
        n: number of samples, at most m.

    Returns:
        Positions (n,) in the order in which they were chosen.

    Source: greedy k-centre selection (Gonzalez, 1985), weighted with scores.
    """
    chosen = [int(np.argmax(scores))]
    distances = np.full(len(scores), np.inf)
    while len(chosen) < n:
        latest = features[chosen[-1]]
        distances = np.minimum(distances, np.sqrt(np.square(features - latest).sum(axis=1)))
        gains = scores * distances
        gains[chosen] = -1.0
        # Among duplicates of those chosen, the highest score.
        chosen.append(int(np.lexsort((-scores, -gains))[0]))
    return np.array(chosen[:n], dtype=np.int64)


def scaled(features: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Scale features (n, ...) for distances: by their spread, clipped, weighted.

    Args:
        features: of samples.
        weights: importance of each feature; None weights all alike.
    """
    flat = features.reshape(len(features), -1).astype(np.float64)
    low, center, high = np.quantile(flat, [0.05, 0.5, 0.95], axis=0)
    tiny = 1e-9
    spread = np.where(high - low > tiny, high - low, np.maximum(flat.std(axis=0), tiny))
    clipped = np.clip((flat - center) / spread, -_FARTHEST, _FARTHEST)
    return clipped if weights is None else clipped * np.sqrt(weights)


def rank_suggestions(
    scores: np.ndarray, n: int, compare: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Choose n samples: high scores that differ, and one in ten for its uncertain score.

    Args:
        scores: (m,) in [0, 1].
        n: number of samples, at most m.
        compare: returns features (positions, features) of the samples at some positions, whose
            distances say how much they differ.

    Returns:
        Positions (n,), the most important one first.
    """
    n_uncertain = int(_UNCERTAIN_SHARE * n)
    n_high = n - n_uncertain
    candidates = np.argsort(-scores, kind="stable")[: _CANDIDATES * n_high]
    high = candidates[choose_different(scores[candidates], compare(candidates), n_high)]
    rest = np.setdiff1d(np.arange(len(scores)), high)
    doubts = np.abs(scores[rest] - _UNDECIDED)
    return np.concatenate([high, rest[np.argsort(doubts, kind="stable")[:n_uncertain]]])


class SuggestingDetector(DetectorParameters):
    """A detector that says which samples' labels would teach it most."""

    pipeline_: ScoringPipeline

    def _scores(self, X: Any) -> np.ndarray:
        raise NotImplementedError

    def _encode(self, encoder: InputEncoder, X: Any) -> np.ndarray:
        raise NotImplementedError

    def suggest(self, X: Any, n_samples: int = 10) -> np.ndarray:
        """Choose the samples to label next.

        Nine of ten have high scores and differ from each other, so that one label speaks for few
        others; the last tenth are those about which the detector is least certain. The same samples
        in the same order give the same suggestions.

        Args:
            X: samples without a label, in the form of the training samples.
            n_samples: how many to choose; with fewer samples, all of them are ranked.

        Returns:
            Positions (n_samples,) in X, the most important one first.

        Raises:
            ValueError: for samples that do not have the form of the training samples, or a number
                that is not whole or below 1.
        """
        check_is_fitted(self, "pipeline_")
        require_count("n_samples", n_samples)
        X, _ = as_samples(X)
        scores = self._scores(X)

        def compare(positions: np.ndarray) -> np.ndarray:
            encoded = self._encode(self.pipeline_.encoder, rows_of(X, positions))
            return self._features_to_compare(encoded)

        return rank_suggestions(scores, min(int(n_samples), len(scores)), compare)

    def _features_to_compare(self, encoded: np.ndarray) -> np.ndarray:
        """Return features (n, ...) of encoded samples whose distance says how much they differ."""
        return scaled(encoded)
