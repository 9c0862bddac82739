"""What all detectors share: the scikit-learn interface, input checks, scores, saving, loading."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import sklearn
import tensorflow as tf
from sklearn.utils.validation import _get_feature_names, check_is_fitted

from r2ad2._version import __version__
from r2ad2.artefact.calibration import (
    Calibration,
    conformal_threshold,
    contamination_threshold,
    n_held_back,
    with_margin,
)
from r2ad2.artefact.pipeline import ScoringPipeline, explained, load_pipeline, save_pipeline
from r2ad2.detectors.explanation import Explanation, heat_maps
from r2ad2.detectors.parameters import DetectorParameters
from r2ad2.detectors.registry import detectors
from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.labels import encode_labels
from r2ad2.encoders.samples import as_samples
from r2ad2.encoders.tables import TableEncoder
from r2ad2.serving.savedmodel import export_pipeline
from r2ad2.support.messages import count
from r2ad2.support.progress import TrainingProgress
from r2ad2.support.shapley import N_PERMUTATIONS, attribute
from r2ad2.training.batches import in_chunks
from r2ad2.training.checkpoints import Checkpoint
from r2ad2.training.fingerprint import training_fingerprint
from r2ad2.training.loop import Training

_SCORING_BATCH = 4096
_MIN_NORMAL = 2
_ROWS = 16
# Parameters that do not change what is trained.
_NOT_IN_FINGERPRINT = ("checkpoint_dir", "verbose")


def _compiled(scorer: keras.Model, encoder: InputEncoder | None = None) -> Callable:
    """Make scoring, and encoding before, one graph for batches of any size.

    Batches are filled up to a multiple of `_ROWS` rows: matrix products treat a remainder of rows
    in another way, so that a sample's score would depend on its place by the last digit. Without
    rows there are `_ROWS`, too, because TensorFlow's convolutions refuse an empty batch.
    """

    def score(inputs: Any) -> tf.Tensor:
        samples = inputs if encoder is None else encoder(inputs)
        shape = tf.shape(samples)
        n_more = tf.where(shape[0] == 0, _ROWS, tf.math.floormod(-shape[0], _ROWS))
        more = tf.zeros(tf.concat([[n_more], shape[1:]], axis=0), samples.dtype)
        filled = tf.concat([samples, more], axis=0)
        filled = tf.ensure_shape(filled, [None, *samples.shape[1:]])
        return scorer(filled, training=False)[: shape[0]]

    return tf.function(score, reduce_retracing=True, autograph=False)


def _encoder_type(samples: Any) -> type[InputEncoder]:
    if isinstance(samples, pd.DataFrame):
        return TableEncoder
    return ImageEncoder if getattr(samples, "ndim", 2) in (3, 4) else VectorEncoder


class AnomalyDetector(DetectorParameters, abc.ABC):
    """Base of all detectors: a binary classifier whose second class is the anomaly.

    Subclasses implement `_fit_scorer`. Labels are 1 for known anomalies and 0 for normal or
    unlabelled samples, or any two values of which the greater one is the anomaly. The parameters
    of `DetectorParameters` belong to every detector.

    Attributes:
        classes_: the two labels, the anomaly's is ``classes_[1]``.
        threshold_: scores above it are predicted anomalous.
        n_features_in_: columns of a table, or numbers of an array's sample.
        history_: DataFrame of all phases of the training: phase, epoch, losses.
        pipeline_: the Keras model from prepared samples to scores.
        notes_: dict of plain values that is saved with the detector, free for any use.
    """

    _known: ClassVar[dict[str, type[AnomalyDetector]]] = {}
    pipeline_: ScoringPipeline
    _score_encoded: Callable[[Any], tf.Tensor]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        AnomalyDetector._known[cls.__name__] = cls

    @abc.abstractmethod
    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        training: Training,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        """Train on encoded samples.

        Args:
            x: float32 samples (n, ...), scaled to [0, 1] on normal data.
            y: int labels (n,): 1 = known anomaly, 0 = normal.
            random: the only source of randomness.
            training: trains networks, so that it is shown how far they have come, and their state
                is kept where the user wants it.

        Returns:
            An uncompiled Keras model from samples to scores (batch, 1) in [0, 1], and the table of
            losses of each phase of the training (`Training.fit`).
        """

    # ---- fitting --------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> AnomalyDetector:
        """Train the detector.

        Args:
            X: array (n, features), images (n, height, width[, channels]), DataFrame, or
                tf.data.Dataset of samples or pairs (sample, label), batched or not; it is read into
                memory.
            y: labels (n,); None, or a single value, means that no anomaly is known.

        Returns:
            The detector itself.

        Raises:
            ValueError: for samples or labels that cannot be used; the message names the culprit.
                Also (`DivergenceError`) for a training whose losses are not finite, and for a
                `checkpoint_dir` that holds another unfinished training, or damaged files. A
                detector that was fitted before stays as it was.
            OSError: if `checkpoint_dir` cannot be written.
        """
        self._validate_params()
        if self.false_positive_rate is not None and self.contamination is not None:
            raise ValueError("give either false_positive_rate or contamination, not both")
        X, y = as_samples(X, y)
        encoder_type = _encoder_type(X)
        classes, labels = encode_labels(y, len(X) if np.ndim(X) else 0, self.anomaly_label)
        is_normal = labels == 0
        n_normal = int(is_normal.sum())
        n_calibration = n_held_back(n_normal, self.calibration_fraction, self.false_positive_rate)
        if n_normal - n_calibration < _MIN_NORMAL:
            raise ValueError(
                f"at least {_MIN_NORMAL} normal samples are needed to train on, got "
                f"{count(n_normal, 'sample')} labelled {classes[0]!r}"
                + (f", of which {n_calibration} are held back" if n_calibration else "")
            )
        random = sklearn.utils.check_random_state(self.random_state)
        checkpoint = self._checkpoint(X, labels, random)
        random = checkpoint.random if checkpoint else random
        in_use = np.ones(len(labels), dtype=bool)
        if n_calibration:
            in_use[random.permutation(np.flatnonzero(is_normal))[:n_calibration]] = False
        encoder = encoder_type.learn(X, is_normal & in_use, in_use, self.missing)
        x = self._encode(encoder, X)
        with TrainingProgress(self.verbose) as progress:
            training = Training(progress, checkpoint)
            scorer, losses = self._fit_scorer(x[in_use], labels[in_use], random, training)
        self.classes_ = classes
        self.n_features_in_ = int(np.prod(np.shape(X)[1:]))
        self._name_features(X)
        self.history_ = pd.concat(losses, names=["phase"]).reset_index("phase")
        self.history_ = self.history_.reset_index(drop=True)
        self.notes_: dict[str, Any] = {}
        baseline = encoder.typical(x[is_normal & in_use])
        self._assemble(ScoringPipeline(encoder, scorer, baseline=baseline))
        if self.contamination is not None:
            scores = in_chunks(self._score_encoded, x, self._scoring_batch_size)[:, 0]
            self.threshold_ = contamination_threshold(scores, self.contamination)
        self._calibrate(in_chunks(self._score_encoded, x[~in_use], self._scoring_batch_size)[:, 0])
        if checkpoint is not None:
            checkpoint.finish()
        return self

    def _checkpoint(
        self, X: Any, labels: np.ndarray, random: np.random.RandomState
    ) -> Checkpoint | None:
        if self.checkpoint_dir is None:
            return None
        parameters = self.get_params(deep=False)
        for name in _NOT_IN_FINGERPRINT:
            del parameters[name]
        fingerprint = training_fingerprint(type(self).__name__, parameters, X, labels)
        return Checkpoint(self.checkpoint_dir, fingerprint, random)

    def _name_features(self, X: Any) -> None:
        names = _get_feature_names(X)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):  # of an earlier training
            del self.feature_names_in_

    def _calibrate(self, scores: np.ndarray) -> None:
        """Take over the scores (n,) of held-back normal samples."""
        scores = with_margin(scores)
        if self.false_positive_rate is not None:
            self.threshold_ = conformal_threshold(scores, self.false_positive_rate)
        calibration = Calibration.from_scores(scores, self.threshold_)
        earlier = self.pipeline_  # its compiled parts stay as they are
        self.pipeline_ = ScoringPipeline(
            earlier.encoder, earlier.scorer, calibration, earlier.baseline
        )

    def calibrate(self, X: Any, y: Any = None) -> AnomalyDetector:
        """Compare with other held-back samples from now on, such as more recent ones.

        The threshold changes where it follows from `false_positive_rate`.

        Args:
            X: samples that the detector has not seen, in the form of the training samples.
            y: labels (n,), values of `classes_`; only normal samples are used. None: all of them.

        Returns:
            The detector itself.

        Raises:
            ValueError: for samples that do not have the form of the training's, or too few.
        """
        scores = self._scores(X)
        if y is not None:
            _, labels = encode_labels(y, len(scores), self.classes_[1])
            scores = scores[labels == 0]
        self._calibrate(scores.astype(np.float32))
        return self

    # ---- scoring --------------------------------------------------------------------------

    def _assemble(self, pipeline: ScoringPipeline) -> None:
        self.pipeline_ = pipeline
        self.threshold_ = float(pipeline.calibration.threshold.numpy())
        self._score_function = _compiled(pipeline.scorer, pipeline.encoder)
        self._score_encoded = _compiled(pipeline.scorer)

    @property
    def model_(self) -> keras.Model:
        """The trained Keras model, from encoded samples to scores (uncompiled)."""
        check_is_fitted(self, "pipeline_")
        return self.pipeline_.scorer

    def _encode(self, encoder: InputEncoder, X: Any) -> np.ndarray:
        return in_chunks(encoder, encoder.prepare(as_samples(X)[0]), _SCORING_BATCH)

    @property
    def _scoring_batch_size(self) -> int:
        """Samples that are scored at once: what bounds the memory of scoring."""
        return _SCORING_BATCH

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "pipeline_")
        prepared = self.pipeline_.encoder.prepare(as_samples(X)[0])
        scores = in_chunks(self._score_function, prepared, self._scoring_batch_size)[:, 0]
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):  # only weights that are no longer those of the training do this
            raise ValueError(f"the score of row {bad[0]} is no finite number: train anew")
        return scores.astype(np.float64)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute scores (n, 2) in [0, 1]; column 1 is the anomaly score."""
        scores = self._scores(X)
        return np.stack([1 - scores, scores], axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute scores (n,): higher is more anomalous, above 0 is predicted anomalous."""
        return self._scores(X) - self.threshold_

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

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels (n,), values of `classes_`."""
        anomalous = self.decision_function(X) > 0
        return self.classes_[anomalous.astype(int)]

    def explain(
        self, X: Any, *, baseline: Any = None, n_permutations: int = N_PERMUTATIONS
    ) -> Explanation:
        """Attribute each sample's score to its features by Shapley values.

        A feature's attribution is positive where it makes the sample more anomalous than the
        baseline; all of a sample's sum to the difference of the two scores.

        Args:
            X: samples in the form of the training samples.
            baseline: one sample of the same form to compare with; by default a typical normal one:
                the medians of the normal training samples, and their most frequent categories.
            n_permutations: see `attribute`; the more, the more precise and the slower.

        Returns:
            The attributions, as tables with the samples' index.

        Raises:
            ValueError: for samples that do not have the form of the training's.
        """
        check_is_fitted(self, "pipeline_")
        encoder = self.pipeline_.encoder
        encoded = self._encode(encoder, X)
        if baseline is None:
            start = self.pipeline_.baseline.numpy()
        elif np.shape(baseline)[:1] != (1,):
            raise ValueError(f"the baseline must be one sample, got shape {np.shape(baseline)}")
        else:
            start = self._encode(encoder, baseline)[0]
        index = X.index if isinstance(X, pd.DataFrame) else pd.RangeIndex(len(encoded))
        return self._explanation(encoded, start, index, n_permutations)

    def _explanation(
        self, encoded: np.ndarray, baseline: np.ndarray, index: pd.Index, n_permutations: int
    ) -> Explanation:
        """Explain encoded samples (n, ...), compared with an encoded one."""

        def score(samples: np.ndarray) -> np.ndarray:
            return in_chunks(self._score_encoded, samples, self._scoring_batch_size)[:, 0]

        groups = self.pipeline_.encoder.feature_groups
        positions = list(groups.values())
        with TrainingProgress(self.verbose) as progress:
            attributions = attribute(
                score,
                encoded,
                baseline,
                positions,
                n_permutations=n_permutations,
                report=progress.steps("explanation", len(encoded)).update,
            )
        shape = self.pipeline_.encoder.sample_shape
        return Explanation(
            scores=score(encoded).astype(np.float64),
            baseline_score=float(score(baseline[np.newaxis])[0]),
            features=pd.DataFrame(attributions, index, list(groups)),
            heat_maps=heat_maps(attributions, positions, shape) if len(shape) == 3 else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        # The model pickles itself; its graphs are compiled anew.
        state = super().__getstate__()
        return {k: v for k, v in state.items() if not k.startswith("_score_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "pipeline_" in state:
            self._assemble(state["pipeline_"])

    # ---- saving ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> Path:
        """Write the fitted detector to one .keras file, read again by `r2ad2.load`.

        Raises:
            ValueError: if the path does not end in .keras.
        """
        check_is_fitted(self, "pipeline_")
        parameters = {
            name: None if isinstance(value, np.random.RandomState) else value
            for name, value in self.get_params(deep=False).items()
        }
        parameters["checkpoint_dir"] = None  # a directory of this machine
        self.pipeline_.settings = {
            "detector": type(self).__name__,
            "parameters": keras.saving.serialize_keras_object(parameters),
            "classes": self.classes_.tolist(),
            "n_features_in": self.n_features_in_,
            "feature_names_in": [str(n) for n in getattr(self, "feature_names_in_", [])] or None,
            "history": self.history_.to_dict(orient="list"),
            "notes": self.notes_,
            "versions": {
                "r2ad2": __version__,
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
            },
        }
        return save_pipeline(self.pipeline_, path)

    def export(self, directory: str | os.PathLike) -> Path:
        """Write a SavedModel for TensorFlow Serving; see `export_pipeline`.

        Args:
            directory: such as "serving/1", or a folder in which the next version number is taken.

        Returns:
            The version's folder.
        """
        check_is_fitted(self, "pipeline_")
        return export_pipeline(self.pipeline_, directory)

    @classmethod
    def _restore(cls, pipeline: ScoringPipeline) -> AnomalyDetector:
        settings = pipeline.settings
        saved = keras.saving.deserialize_keras_object(settings["parameters"])
        # The file's JSON has no tuples.
        parameters: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in saved.items()
        }
        detector = cls(**parameters)
        detector.classes_ = np.asarray(settings["classes"])
        detector.n_features_in_ = settings["n_features_in"]
        if settings["feature_names_in"] is not None:
            detector.feature_names_in_ = np.asarray(settings["feature_names_in"], dtype=object)
        detector.history_ = pd.DataFrame(settings["history"])
        detector.notes_ = settings["notes"]
        detector._assemble(pipeline)
        return detector


def load(path: str | os.PathLike) -> AnomalyDetector:
    """Read a detector that `AnomalyDetector.save` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a detector's file, is damaged, of a newer version, or holds what
            such a file does not; see docs/security.md.
    """
    # Importing the registered detectors makes their Keras classes known.
    detectors()
    pipeline = load_pipeline(path)
    with explained(Path(path)):
        name = str(pipeline.settings["detector"])
        if name not in AnomalyDetector._known:
            raise ValueError(f"it holds a {name!r}: import the package that defines it first")
        return AnomalyDetector._known[name]._restore(pipeline)
