"""Explaining the scores of a fitted detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils.validation import check_is_fitted

from r2ad2.artefact.pipeline import ScoringPipeline
from r2ad2.detectors.explanation import Explanation, heat_maps
from r2ad2.detectors.parameters import DetectorParameters
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.samples import as_samples
from r2ad2.support.compilation import for_any_batch
from r2ad2.support.messages import require_count
from r2ad2.support.progress import TrainingProgress
from r2ad2.support.shapley import N_PERMUTATIONS, attribute
from r2ad2.training.batches import in_chunks


class ExplainableDetector(DetectorParameters):
    """A detector that says what its scores come from.

    A subclass whose scorer has parts of its own, such as snapshots or layers, attributes scores to
    them, too, in `_explain_parts`.
    """

    pipeline_: ScoringPipeline
    _score_encoded: Callable[[Any], tf.Tensor]
    _score_parts: dict[str, Callable[[Any], tf.Tensor]]  # see `_compiled_part`

    @property
    def _scoring_batch_size(self) -> int:
        raise NotImplementedError

    def _encode(self, encoder: InputEncoder, X: Any) -> np.ndarray:
        raise NotImplementedError

    def explain(
        self,
        X: Any,
        *,
        baseline: Any = None,
        n_permutations: int = N_PERMUTATIONS,
        parts: bool = True,
    ) -> Explanation:
        """Attribute each sample's score to its features with Shapley values.

        A feature's attribution is positive where it makes the sample more anomalous than the
        baseline; the attributions of a sample sum to the difference between the two scores.

        Args:
            X: samples in the form of the training samples.
            baseline: one sample of the same form to compare with; by default a typical normal one:
                the medians of the normal training samples, and their most frequent categories.
            n_permutations: at least 2, see `attribute`; more are more precise and slower.
            parts: whether to attribute the scores to the scorer's parts as well, such as snapshots
                and layers; without, single rows are explained several times as fast.

        Returns:
            The attributions, as tables with the samples' index.

        Raises:
            ValueError: for samples that do not have the form of the training samples, or too few
                permutations.
        """
        check_is_fitted(self, "pipeline_")
        require_count("n_permutations", n_permutations, 2)
        encoder = self.pipeline_.encoder
        encoded = self._encode(encoder, X)
        if baseline is None:
            start = self.pipeline_.baseline.numpy()
        else:
            baseline, _ = as_samples(baseline)
            if np.shape(baseline)[:1] != (1,):
                raise ValueError(f"the baseline must be one sample, got shape {np.shape(baseline)}")
            start = self._encode(encoder, baseline)[0]
        index = X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(len(encoded))

        def score(samples: np.ndarray) -> np.ndarray:
            return in_chunks(self._score_encoded, samples, self._scoring_batch_size)[:, 0]

        groups = encoder.feature_groups
        positions = list(groups.values())
        with TrainingProgress(self.verbose) as progress:
            attributions = attribute(
                score,
                encoded,
                start,
                positions,
                n_permutations=n_permutations,
                report=progress.steps("explanation", len(encoded)).update,
            )
        shape = encoder.sample_shape
        of_parts = self._explain_parts(encoded, start, n_permutations) if parts else {}
        return Explanation(
            scores=score(encoded).astype(np.float64),
            baseline_score=float(score(start[np.newaxis])[0]),
            features=pd.DataFrame(attributions, index, list(groups)),
            heat_maps=heat_maps(attributions, positions, shape) if len(shape) == 3 else None,
            **{name: table.set_axis(index) for name, table in of_parts.items()},
        )

    def _explain_parts(
        self, encoded: np.ndarray, baseline: np.ndarray, n_permutations: int
    ) -> dict[str, pd.DataFrame]:
        """Attribute the scores to parts of the scorer.

        Args:
            encoded: samples (n, ...).
            baseline: the encoded sample to compare with.
            n_permutations: see `attribute`.

        Returns:
            Tables with one row per sample, by the name of their field in `Explanation`.
        """
        return {}

    def _compiled_part(self, part: Callable[[Any], tf.Tensor]) -> Callable[[Any], tf.Tensor]:
        """Compile a method of the model once, for all later explanations."""
        name = part.__name__
        if name not in self._score_parts:
            self._score_parts[name] = for_any_batch(part)
        return self._score_parts[name]
