"""What all detectors share: the scikit-learn interface, input checks, scores, saving, loading."""

from __future__ import annotations

import abc
import inspect
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import sklearn
import tensorflow as tf
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d

from r2ad2._version import __version__
from r2ad2.arrays import ImageEncoder, VectorEncoder
from r2ad2.artefact import ScoringPipeline, load_pipeline, save_pipeline
from r2ad2.batches import in_chunks
from r2ad2.encoding import InputEncoder, count
from r2ad2.progress import TrainingProgress
from r2ad2.tables import TableEncoder

_FORMAT = 1
_SCORING_BATCH = 4096
_MIN_NORMAL = 2


def epoch_losses(history: keras.callbacks.History) -> pd.DataFrame:
    """Make a table of a Keras training: epoch (from 1), then its losses and metrics."""
    losses = pd.DataFrame(history.history)
    losses.insert(0, "epoch", np.arange(1, len(losses) + 1))
    return losses


def _encoder_type(samples: Any) -> type[InputEncoder]:
    if isinstance(samples, pd.DataFrame):
        return TableEncoder
    return ImageEncoder if getattr(samples, "ndim", 2) in (3, 4) else VectorEncoder


class AnomalyDetector(ClassifierMixin, BaseEstimator, abc.ABC):
    """Base of all detectors: a binary classifier whose second class is the anomaly.

    Subclasses implement `_fit_scorer`. Labels are 1 for known anomalies and 0 for normal or
    unlabelled samples, or any two values of which the greater one is the anomaly.

    A subclass names its own parameters in its constructor and hands all others on as keywords:
    those below belong to every detector.

    Args:
        random_state: int, RandomState or None; decides everything random.
        verbose: 0 is silent, 1 shows progress.

    Attributes:
        classes_: the two labels; column 1 of `predict_proba` belongs to ``classes_[1]``.
        n_features_in_: columns of a table, or numbers of an array's sample.
        history_: DataFrame of all phases of the training: phase, epoch, losses.
        pipeline_: the Keras model from prepared samples to scores.
        notes_: dict of plain values that is saved with the detector, free for any use.
    """

    _known: ClassVar[dict[str, type[AnomalyDetector]]] = {}
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.random_state = random_state
        self.verbose = verbose

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        AnomalyDetector._known[cls.__name__] = cls
        # The subclass's own constraints, in front of those that its bases have.
        inherited = super(cls, cls)._parameter_constraints
        cls._parameter_constraints = cls.__dict__.get("_parameter_constraints", {}) | inherited
        # What help() and notebooks show.
        cls.__signature__ = inspect.Signature(cls._constructor_parameters())

    @classmethod
    def _constructor_parameters(cls) -> list[inspect.Parameter]:
        """Return the parameters of the class's constructor and those of its bases, once each."""
        found: dict[str, inspect.Parameter] = {}
        for ancestor in cls.__mro__:
            if issubclass(ancestor, AnomalyDetector) and "__init__" in vars(ancestor):
                for parameter in inspect.signature(ancestor.__init__).parameters.values():
                    if parameter.kind == inspect.Parameter.KEYWORD_ONLY:
                        found.setdefault(parameter.name, parameter)
        return list(found.values())

    @classmethod
    def _get_param_names(cls) -> list[str]:
        # scikit-learn looks at the class's own constructor only.
        return sorted(parameter.name for parameter in cls._constructor_parameters())

    @abc.abstractmethod
    def _fit_scorer(
        self,
        x: np.ndarray,
        y: np.ndarray,
        random: np.random.RandomState,
        progress: TrainingProgress,
    ) -> tuple[keras.Model, dict[str, pd.DataFrame]]:
        """Train on encoded samples.

        Args:
            x: float32 samples (n, ...), scaled to [0, 1] on normal data.
            y: int labels (n,): 1 = known anomaly, 0 = normal.
            random: the only source of randomness.
            progress: makes the callbacks that show how far the training has come.

        Returns:
            An uncompiled Keras model from samples to scores (batch, 1) in [0, 1], and the table of
            losses of each phase of the training (`epoch_losses`).
        """

    # ---- fitting --------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> AnomalyDetector:
        """Train the detector.

        Args:
            X: array (n, features), images (n, height, width[, channels]), or DataFrame.
            y: labels (n,); None, or a single value, means that no anomaly is known.

        Returns:
            The detector itself.

        Raises:
            ValueError: for samples or labels that cannot be used; the message names the culprit.
        """
        self._validate_params()
        encoder_type = _encoder_type(X)
        classes, labels = self._encode_labels(y, len(X) if hasattr(X, "__len__") else 0)
        n_normal = int((labels == 0).sum())
        if n_normal < _MIN_NORMAL:
            raise ValueError(
                f"at least {_MIN_NORMAL} normal samples are needed to train on, got "
                f"{count(n_normal, 'sample')} labelled {classes[0]!r}"
            )
        encoder = encoder_type.learn(X, labels == 0)
        x = self._encode(encoder, X)
        random = sklearn.utils.check_random_state(self.random_state)
        with TrainingProgress(self.verbose) as progress:
            scorer, losses = self._fit_scorer(x, labels, random, progress)
        self.classes_ = classes
        self.n_features_in_ = int(np.prod(np.shape(X)[1:]))
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.history_ = pd.concat(losses, names=["phase"]).reset_index("phase", drop=False)
        self.history_ = self.history_.reset_index(drop=True)
        self.notes_: dict[str, Any] = {}
        self._assemble(encoder, scorer)
        return self

    @staticmethod
    def _encode_labels(y: Any, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the two classes and labels 0 (normal) and 1 (known anomaly)."""
        if y is None:
            return np.array([0, 1]), np.zeros(n_samples, dtype=np.int64)
        y = column_or_1d(y, warn=False)
        if len(y) != n_samples:
            raise ValueError(
                f"X has {count(n_samples, 'sample')}, but y has {count(len(y), 'label')}"
            )
        if pd.isna(y).any():
            raise ValueError(f"y holds {count(int(pd.isna(y).sum()), 'missing label')} (NaN)")
        classes = np.unique(y)
        if len(classes) > 2:
            shown = ", ".join(repr(value) for value in classes[:5].tolist())
            raise ValueError(
                f"y has {len(classes)} different labels ({shown}"
                f"{', ...' if len(classes) > 5 else ''}), but a detector tells two apart: label "
                "known anomalies 1 and all other samples 0"
            )
        if len(classes) == 1:
            only = classes[0]
            if only == 1 and y.dtype.kind in "iufb":
                raise ValueError(f"all {len(y):,} samples are labelled anomalous: no normal rows")
            other = np.array([1], dtype=y.dtype) if y.dtype.kind in "iufb" else ["anomaly"]
            return np.concatenate([classes, other]), np.zeros(n_samples, dtype=np.int64)
        return classes, (y == classes[1]).astype(np.int64)

    # ---- scoring --------------------------------------------------------------------------

    def _assemble(self, encoder: InputEncoder, scorer: keras.Model) -> None:
        self.pipeline_ = ScoringPipeline(encoder, scorer, settings={})
        self._score_function = tf.function(
            lambda inputs: self.pipeline_(inputs, training=False),
            reduce_retracing=True,
            autograph=False,
        )

    @property
    def model_(self) -> keras.Model:
        """The trained Keras model, from encoded samples to scores (uncompiled)."""
        check_is_fitted(self, "pipeline_")
        return self.pipeline_.scorer

    def _encode(self, encoder: InputEncoder, X: Any) -> np.ndarray:
        return in_chunks(encoder, encoder.prepare(X), _SCORING_BATCH)

    @property
    def _scoring_batch_size(self) -> int:
        """Samples that are scored at once: what bounds the memory of scoring."""
        return _SCORING_BATCH

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "pipeline_")
        prepared = self.pipeline_.encoder.prepare(X)
        scores = in_chunks(self._score_function, prepared, self._scoring_batch_size)
        return scores[:, 0].astype(np.float64)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute scores (n, 2) in [0, 1]; column 1 is the anomaly score."""
        scores = self._scores(X)
        return np.stack([1 - scores, scores], axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute scores (n,): higher is more anomalous, above 0 is predicted anomalous."""
        return self._scores(X) - 0.5

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels (n,), values of `classes_`."""
        anomalous = self.decision_function(X) > 0
        return self.classes_[anomalous.astype(int)]

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
        self.pipeline_.settings = {
            "format": _FORMAT,
            "detector": type(self).__name__,
            "parameters": keras.saving.serialize_keras_object(parameters),
            "classes": self.classes_.tolist(),
            "n_features_in": self.n_features_in_,
            "feature_names_in": list(getattr(self, "feature_names_in_", [])) or None,
            "history": self.history_.to_dict(orient="list"),
            "notes": self.notes_,
            "versions": {
                "r2ad2": __version__,
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
            },
        }
        return save_pipeline(self.pipeline_, path)

    @classmethod
    def _restore(cls, pipeline: ScoringPipeline) -> AnomalyDetector:
        settings = pipeline.settings
        parameters: dict[str, Any] = keras.saving.deserialize_keras_object(settings["parameters"])
        # The file's JSON has no tuples.
        detector = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()})
        detector.classes_ = np.asarray(settings["classes"])
        detector.n_features_in_ = settings["n_features_in"]
        if settings["feature_names_in"] is not None:
            detector.feature_names_in_ = np.asarray(settings["feature_names_in"], dtype=object)
        detector.history_ = pd.DataFrame(settings["history"])
        detector.notes_ = settings["notes"]
        detector._assemble(pipeline.encoder, pipeline.scorer)
        return detector


def load(path: str | os.PathLike) -> AnomalyDetector:
    """Read a detector that `AnomalyDetector.save` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a detector's file, or one of a newer version.
    """
    # Importing the registered detectors makes their Keras classes known.
    for entry in entry_points(group="r2ad2.detectors"):
        entry.load()
    pipeline = load_pipeline(path)
    settings = pipeline.settings
    if settings.get("format", 0) > _FORMAT:
        raise ValueError(
            f"{str(path)!r} was saved by r2ad2 {settings['versions']['r2ad2']}, newer than "
            f"this version ({__version__}): upgrade r2ad2"
        )
    detector_type = AnomalyDetector._known.get(settings.get("detector", ""))
    if detector_type is None:
        raise ValueError(
            f"{str(path)!r} holds a {settings.get('detector')!r}: import the package that defines "
            "it first"
        )
    return detector_type._restore(pipeline)
