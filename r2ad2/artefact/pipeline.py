"""The model file: encoder and scorer as one Keras model, with the detector's settings."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2ad2.artefact.calibration import Calibration
from r2ad2.artefact.checksum import check_seal, seal
from r2ad2.artefact.composed import ComposedModel
from r2ad2.artefact.inspection import bounded_variables, inspect_archive
from r2ad2.encoders.base import InputEncoder
from r2ad2.support.files import write_atomically
from r2ad2.support.messages import reason_of

FORMAT = 1  # of model files; this version cannot read a greater one


@keras.saving.register_keras_serializable("r2ad2")
class ScoringPipeline(ComposedModel):
    """From raw samples to anomaly scores: an encoder followed by a Keras model.

    Args:
        encoder: converts raw samples to tensors.
        scorer: Keras model from encoded samples to scores (batch, 1).
        calibration: threshold and scores of held-back normal samples; by default none.
        baseline: a typical normal sample, encoded; explanations compare with it.
        settings: everything else the detector needs, as plain JSON values.

    Attributes:
        file_checksum: checksum of the file that it was last saved to or loaded from; "" if none.
    """

    PARTS = ("encoder", "scorer", "calibration")
    SETTINGS = ("settings",)

    def __init__(
        self,
        encoder: InputEncoder,
        scorer: keras.Model,
        calibration: Calibration | None = None,
        baseline: np.ndarray | None = None,
        settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.scorer = scorer
        self.calibration = calibration or Calibration(0)
        self.settings = settings or {}
        self.file_checksum = ""
        self.baseline = self.add_weight(
            shape=encoder.sample_shape, initializer="zeros", trainable=False, name="baseline"
        )
        if baseline is not None:
            self.baseline.assign(baseline)
        self.build(None)

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """Score prepared samples: a tensor (batch, ...) or a dict of column tensors (batch,)."""
        return self.scorer(self.encoder(inputs), training=training)


def save_pipeline(pipeline: ScoringPipeline, path: str | os.PathLike) -> Path:
    """Write the pipeline to one .keras file; an earlier file stays intact until it is complete.

    Raises:
        ValueError: if the path does not end in .keras, or the file could not be loaded again.
    """
    if Path(path).suffix != ".keras":
        raise ValueError(f"a model file's name ends in .keras, got {str(path)!r}")

    def write(temporary: Path) -> None:
        pipeline.save(temporary)
        try:  # a file that `load` would refuse must not replace another
            inspect_archive(temporary)
        except ValueError as error:
            raise ValueError(
                f"the detector cannot be saved, because its file could not be loaded ({error}); "
                "register classes of your own by keras.saving.register_keras_serializable"
            ) from error
        pipeline.file_checksum = seal(temporary, FORMAT)

    return write_atomically(path, write)


def load_pipeline(path: str | os.PathLike) -> ScoringPipeline:
    """Read a pipeline that `save_pipeline` wrote.

    Before Keras opens the file, its checksum is verified, and it is searched for anything that
    could run code, read other files or exhaust memory; see docs/security.md.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not a model file, is damaged, or contains what a model file must not.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"model file {str(path)!r} does not exist")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(f"{str(path)!r} is not a complete .keras model file")
    checksum = check_seal(path, FORMAT)
    with reading_model_file(path):
        inspect_archive(path)
        with bounded_variables(path.stat().st_size):
            pipeline = keras.saving.load_model(path, compile=False, safe_mode=True)
        if not isinstance(pipeline, ScoringPipeline):
            raise ValueError(f"it contains a {type(pipeline).__name__}, not a detector")
        for weight in pipeline.weights:
            if not np.isfinite(weight.numpy()).all():
                raise ValueError(f"its weight {weight.path!r} is not finite")
    pipeline.file_checksum = checksum
    return pipeline


def weights_checksum(pipeline: ScoringPipeline) -> str:
    """Compute a checksum (SHA-256, hexadecimal) of the encoding and all weights.

    Unlike a file's checksum it is the same for a detector and all files that it was saved to.
    """
    checksum = hashlib.sha256()
    config = {k: v for k, v in pipeline.encoder.get_config().items() if k != "name"}
    checksum.update(json.dumps(config, sort_keys=True).encode())
    for weight in (*pipeline.scorer.weights, *pipeline.calibration.weights):
        array = weight.numpy()
        checksum.update(f"{array.dtype.name} {array.shape}".encode())
        checksum.update(np.ascontiguousarray(array).tobytes())
    return checksum.hexdigest()


@contextlib.contextmanager
def reading_model_file(path: Path) -> Iterator[None]:
    """Turn any error while a model file is read into one that names the file.

    Raises:
        ValueError: instead of any other exception.
    """
    try:
        yield
    except Exception as error:
        reason = reason_of(error)
        if not isinstance(error, ValueError):  # such as a KeyError, whose message is just a name
            reason = f"it does not describe a detector ({type(error).__name__}: {reason})"
        raise ValueError(f"cannot read model file {str(path)!r}: {reason}") from error
