"""What all detectors share: the scikit-learn interface, input checks, training and scoring."""

from __future__ import annotations

import abc
import functools
import logging
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd
import sklearn
import tensorflow as tf
from sklearn.utils.validation import check_is_fitted

from r2ad2.artefact.calibration import contamination_threshold, n_held_back
from r2ad2.artefact.pipeline import ScoringPipeline
from r2ad2.detectors.calibrating import CalibratedDetector
from r2ad2.detectors.explaining import ExplainableDetector
from r2ad2.detectors.monitoring import MonitoringDetector
from r2ad2.detectors.persistence import PersistentDetector
from r2ad2.detectors.suggesting import SuggestingDetector
from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.labels import encode_labels
from r2ad2.encoders.samples import as_samples
from r2ad2.encoders.sparse import SparseRows
from r2ad2.encoders.tables import TableEncoder
from r2ad2.support.compilation import can_fuse, for_any_batch, padded
from r2ad2.support.messages import count
from r2ad2.support.precision import in_single_precision
from r2ad2.support.progress import TrainingProgress
from r2ad2.support.sklearn_internals import feature_names_of
from r2ad2.training.batches import bounded_batch_size, in_chunks
from r2ad2.training.checkpoints import Checkpoint
from r2ad2.training.fingerprint import training_fingerprint
from r2ad2.training.loop import Training

logger = logging.getLogger(__name__)

_SCORING_BATCH = 4096
MIN_NORMAL = 2  # to train on
_ROWS = 16
_FUSED_ROWS = 1024
# Parameters that do not change what is trained.
_NOT_IN_FINGERPRINT = ("checkpoint_dir", "verbose")


def _compiled(
    scorer: keras.Model,
    encoder: InputEncoder | None = None,
    *,
    fuse: bool = False,
    multiple: int = _ROWS,
) -> Callable:
    """Compile scoring, with encoding before it, into graphs for batches of any size.

    Batches are padded to a multiple of some rows: matrix products handle a remainder of rows
    differently, so that the last digit of a sample's score would depend on its place. An empty
    batch is padded as well, because TensorFlow's convolutions refuse empty batches.

    Args:
        scorer: from encoded samples to scores.
        encoder: from prepared samples to encoded ones; None if these are given.
        fuse: whether XLA compiles the scorer for large batches. It does so once for each size of a
            batch, which takes a second or two: small batches are faster without.
        multiple: how many rows to pad to; 1 where a last digit does not change a score.
    """

    def compiled(rows: int, by_xla: bool) -> Callable:
        inner = tf.function(
            lambda samples: scorer(samples, training=False), jit_compile=by_xla, autograph=False
        )

        def score(inputs: Any) -> tf.Tensor:
            samples = inputs if encoder is None else encoder(inputs)
            return inner(padded(samples, rows))[: tf.shape(samples)[0]]

        return for_any_batch(score)

    plain = compiled(multiple, by_xla=False)
    if not (fuse and can_fuse()):
        return plain
    fused = compiled(_FUSED_ROWS, by_xla=True)

    def score_any(inputs: Any) -> tf.Tensor:
        n_rows = len(tf.nest.flatten(inputs)[0])
        return (fused if n_rows >= _FUSED_ROWS else plain)(inputs)

    return score_any


def _encoder_type(samples: Any) -> type[InputEncoder]:
    if isinstance(samples, pd.DataFrame):
        return TableEncoder
    return ImageEncoder if getattr(samples, "ndim", 2) in (3, 4) else VectorEncoder


def _encoding_batch_size(encoder: InputEncoder) -> int:
    """Choose how many samples to encode at once; they are double precision until then."""
    return bounded_batch_size(8 * int(np.prod(encoder.sample_shape)))


def _note_dense_size(n_samples: int, encoder: InputEncoder, progress: TrainingProgress) -> None:
    """Say how much memory the dense training samples take."""
    n_features = int(np.prod(encoder.sample_shape))
    message = (
        f"training on sparse samples: {n_samples:,} rows x {n_features:,} features become a dense "
        f"array of {4 * n_samples * n_features / 2**20:,.0f} MiB"
    )
    logger.info(message)
    progress.note(message)


def _rows(prepared: Any, positions: np.ndarray) -> Any:
    """Return some of the prepared samples."""
    return tf.nest.map_structure(lambda array: array[positions], prepared)


class AnomalyDetector(
    PersistentDetector,
    CalibratedDetector,
    ExplainableDetector,
    SuggestingDetector,
    MonitoringDetector,
    abc.ABC,
):
    """Base of all detectors: a binary classifier whose second class is the anomaly.

    Subclasses implement `_fit_scorer`. Labels are 1 for known anomalies and 0 for normal or
    unlabelled samples, or any two values of which the greater one is the anomaly. Every detector
    has the parameters of `DetectorParameters`.

    Attributes:
        classes_: the two labels; ``classes_[1]`` means anomaly.
        threshold_: scores above it are predicted anomalous; another number may be assigned.
        n_features_in_: number of columns of a table, or of numbers in a sample of an array.
        history_: DataFrame of all phases of the training: phase, epoch, losses.
        feature_names_in_: names of a table's columns; only there if all are texts.
        pipeline_: the Keras model from prepared samples to scores.
        model_: the part of it that scores encoded samples.
        sketch_: what `monitor` compares new samples with; None in files of version 0.1.0.
        notes_: dict of plain values that is saved with the detector, for your own use; `fit`
            empties it. The keys source, columns, reading and reviewed_model are taken.
    """

    scaling: str = "minmax"  # how numeric columns are scaled; a parameter of some detectors
    _fuse: ClassVar[bool] = False  # whether XLA makes scoring faster
    _multiple: ClassVar[int] = _ROWS  # see `_compiled`
    _score_function: Callable[[Any], tf.Tensor]

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
            training: trains networks, shows progress and keeps checkpoints.

        Returns:
            An uncompiled Keras model from samples to scores (batch, 1) in [0, 1], and the table of
            losses of each training phase (`Training.fit`).
        """

    # ---- fitting --------------------------------------------------------------------------

    @in_single_precision()
    def fit(self, X: Any, y: Any = None) -> AnomalyDetector:
        """Train the detector.

        Args:
            X: array or scipy.sparse matrix (n, features), images (n, height, width[, channels]),
                a table (pandas, polars, pyarrow, or a dict of columns), or a tf.data.Dataset of
                samples or pairs (sample, label), batched or not, which is read into memory.
            y: labels (n,); None, or a single value, means that no anomaly is known.

        Returns:
            The detector itself.

        Raises:
            ValueError: for samples or labels that cannot be used; the message says which and why.
                Also (`DivergenceError`) if losses become non-finite, and for a `checkpoint_dir`
                that holds a different unfinished training, or damaged files. A detector that was
                fitted before stays as it was.
            OSError: if `checkpoint_dir` cannot be written.
        """
        self._validate_params()
        X, y = as_samples(X, y)
        encoder_type = _encoder_type(X)
        classes, labels = encode_labels(y, np.shape(X)[0] if np.ndim(X) else 0, self.anomaly_label)
        is_normal = labels == 0
        n_normal = int(is_normal.sum())
        n_calibration = n_held_back(n_normal, self.calibration_fraction, self.false_positive_rate)
        if n_normal - n_calibration < MIN_NORMAL:
            raise ValueError(
                f"at least {MIN_NORMAL} normal samples are needed to train on, got "
                f"{count(n_normal, 'sample')} labelled {classes.tolist()[0]!r}"
                + (f", of which {n_calibration} are held back" if n_calibration else "")
            )
        random = sklearn.utils.check_random_state(self.random_state)
        checkpoint = self._checkpoint(X, labels, random)
        random = checkpoint.random if checkpoint else random
        in_use = np.ones(len(labels), dtype=bool)
        if n_calibration:
            in_use[self._choose_held_back(X, is_normal, n_calibration, random)] = False
        encoder = self._learn_encoder(encoder_type, X, is_normal & in_use, in_use)
        prepared = encoder.prepare(X)
        with TrainingProgress(self.verbose) as progress:
            training = Training(progress, checkpoint, encoder.feature_groups)
            chosen = self._choose(in_use, is_normal, random, progress)
            if isinstance(prepared, SparseRows):
                _note_dense_size(len(chosen), encoder, progress)
            x = in_chunks(encoder, _rows(prepared, chosen), _encoding_batch_size(encoder))
            scorer, losses = self._fit_scorer(x, labels[chosen], random, training)
        self.classes_ = classes
        self.n_features_in_ = int(np.prod(np.shape(X)[1:]))
        self._name_features(X)
        self.history_ = pd.concat(losses, names=["phase"]).reset_index("phase")
        self.history_ = self.history_.reset_index(drop=True)
        self.notes_: dict[str, Any] = {}
        baseline = encoder.typical(x[is_normal[chosen]])
        self._assemble(ScoringPipeline(encoder, scorer, baseline=baseline))
        if self.contamination is not None:
            scores = self._scores_of_prepared(prepared)
            self.threshold_ = contamination_threshold(scores, self.contamination)
        held_back = np.flatnonzero(~in_use)
        scores = self._scores_of_prepared(_rows(prepared, held_back))
        self._calibrate(scores)
        self._keep_sketch(X, np.flatnonzero(is_normal), held_back, scores)
        if checkpoint is not None:
            checkpoint.finish()
        return self

    def _choose_held_back(
        self, X: Any, is_normal: np.ndarray, n: int, random: np.random.RandomState
    ) -> np.ndarray:
        """Choose the positions of about n normal samples to hold back for calibration."""
        return random.permutation(np.flatnonzero(is_normal))[:n]

    def _learn_encoder(
        self,
        encoder_type: type[InputEncoder],
        X: Any,
        is_normal: np.ndarray,
        in_use: np.ndarray,
    ) -> InputEncoder:
        """Learn the encoding of the training samples; see `InputEncoder.learn`."""
        return encoder_type.learn(X, is_normal, in_use, self.missing, self.scaling)

    @property
    def _max_normal(self) -> int | None:
        """How many normal samples to train on at most; None: all of them."""
        return None

    def _choose(
        self,
        in_use: np.ndarray,
        is_normal: np.ndarray,
        random: np.random.RandomState,
        progress: TrainingProgress,
    ) -> np.ndarray:
        """Return the sorted positions of the samples to train on; all known anomalies are."""
        normal = np.flatnonzero(in_use & is_normal)
        limit = self._max_normal
        if limit is None or len(normal) <= limit:
            return np.flatnonzero(in_use)
        kept = random.permutation(normal)[:limit]
        message = (
            f"training on {limit:,} of {len(normal):,} normal samples, drawn at random, and on all "
            "known anomalies: see max_samples"
        )
        logger.info(message)
        progress.note(message)
        return np.sort(np.concatenate([kept, np.flatnonzero(in_use & ~is_normal)]))

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
        names = feature_names_of(X)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):  # of an earlier training
            del self.feature_names_in_

    # ---- scoring --------------------------------------------------------------------------

    def _assemble(self, pipeline: ScoringPipeline) -> None:
        self.pipeline_ = pipeline
        compiled = functools.partial(
            _compiled, pipeline.scorer, fuse=self._fuse, multiple=self._multiple
        )
        self._score_function, self._score_encoded = compiled(pipeline.encoder), compiled()
        self._score_parts = {}

    @property
    def model_(self) -> keras.Model:
        """The trained Keras model, from encoded samples to scores (uncompiled)."""
        check_is_fitted(self, "pipeline_")
        return self.pipeline_.scorer

    def _encode(self, encoder: InputEncoder, X: Any) -> np.ndarray:
        prepared = encoder.prepare(as_samples(X)[0])
        return in_chunks(encoder, prepared, _encoding_batch_size(encoder))

    @property
    def _scoring_batch_size(self) -> int:
        """Samples that are scored at once: what bounds the memory of scoring."""
        return _SCORING_BATCH

    def _scores_of_prepared(self, prepared: Any) -> np.ndarray:
        """Score prepared samples in batches that bound the memory of encoding and scoring."""
        size = min(self._scoring_batch_size, _encoding_batch_size(self.pipeline_.encoder))
        return in_chunks(self._score_function, prepared, size)[:, 0]

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "pipeline_")
        scores = self._scores_of_prepared(self.pipeline_.encoder.prepare(as_samples(X)[0]))
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):  # happens only if the weights were changed after training
            raise ValueError(f"row {bad[0]} has a non-finite score; retrain the detector")
        return scores.astype(np.float64)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Compute scores (n, 2) in [0, 1]; column 1 is the anomaly score.

        Args:
            X: samples in the form of the training samples; see `fit`.

        Raises:
            NotFittedError: before `fit`.
            ValueError: for samples of another form; the message names the column or the shape.
        """
        scores = self._scores(X)
        return np.stack([1 - scores, scores], axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute scores (n,): higher is more anomalous, above 0 is predicted anomalous.

        These are the anomaly scores of `predict_proba`, which also says what X may be and which
        errors are raised, minus `threshold_`.
        """
        return self._scores(X) - self.threshold_

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels (n,), values of `classes_`; samples and errors as in `predict_proba`."""
        anomalous = self.decision_function(X) > 0
        return self.classes_[anomalous.astype(int)]
