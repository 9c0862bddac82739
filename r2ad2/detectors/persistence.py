"""Saving a fitted detector to one file, loading it again, and exporting it for serving."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils.validation import check_is_fitted

from r2ad2._version import __version__
from r2ad2.artefact.arrays import from_plain, to_plain
from r2ad2.artefact.inspection import bounded_variables
from r2ad2.artefact.pipeline import (
    ScoringPipeline,
    load_pipeline,
    reading_model_file,
    save_pipeline,
)
from r2ad2.artefact.sketch import TrainingSketch
from r2ad2.detectors.parameters import DetectorParameters
from r2ad2.detectors.registry import detectors
from r2ad2.serving.export import export

if TYPE_CHECKING:
    from r2ad2.detectors.base import AnomalyDetector

logger = logging.getLogger(__name__)


class PersistentDetector(DetectorParameters):
    """A detector whose fitted state is one Keras model and a few plain values.

    Subclasses implement `_assemble`, which takes the Keras model into use.
    """

    classes_: np.ndarray
    history_: pd.DataFrame
    n_features_in_: int
    notes_: dict[str, Any]
    pipeline_: ScoringPipeline
    sketch_: TrainingSketch | None

    def _assemble(self, pipeline: ScoringPipeline) -> None:
        raise NotImplementedError

    def save(self, path: str | os.PathLike) -> Path:
        """Write the fitted detector to one .keras file, which `r2ad2.load` reads.

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
            "networks": {
                name: [to_plain(weight) for weight in network.get_weights()]
                for name, network in _networks(parameters).items()
            },
            "classes": self.classes_.tolist(),
            "n_features_in": self.n_features_in_,
            "feature_names_in": [str(n) for n in getattr(self, "feature_names_in_", [])] or None,
            "history": self.history_.to_dict(orient="list"),
            "notes": self.notes_,
            "sketch": None if self.sketch_ is None else self.sketch_.to_dict(),
            "versions": {
                "r2ad2": __version__,
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
            },
        }
        return save_pipeline(self.pipeline_, path)

    def export(self, directory: str | os.PathLike) -> Path:
        """Write an ONNX file, or a SavedModel for TensorFlow Serving; see docs/serving.md.

        Args:
            directory: a file whose name ends in .onnx; otherwise a folder for a SavedModel, such as
                "serving/1", or a folder in which the next version number is used.

        Returns:
            The file, or the version's folder.

        Raises:
            NotExportableError: if a part cannot be written as ONNX; nothing is written.
            MissingExtraError: for an ONNX file, if the package onnx is not installed.
            FileExistsError: if the SavedModel's version exists.
        """
        check_is_fitted(self, "pipeline_")
        return export(self.pipeline_, directory)

    @classmethod
    def _restore(cls, pipeline: ScoringPipeline) -> PersistentDetector:
        """Make the detector that `save` wrote from its Keras model."""
        settings = pipeline.settings
        saved = keras.saving.deserialize_keras_object(settings["parameters"])
        # JSON has no tuples.
        parameters: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in saved.items()
        }
        _give_weights(_networks(parameters), settings.get("networks", {}))
        detector = cls(**parameters)
        detector.classes_ = np.asarray(settings["classes"])
        detector.n_features_in_ = settings["n_features_in"]
        if settings["feature_names_in"] is not None:
            detector.feature_names_in_ = np.asarray(settings["feature_names_in"], dtype=object)
        detector.history_ = pd.DataFrame(settings["history"])
        detector.notes_ = settings["notes"]
        sketch = settings.get("sketch")  # not in files of 0.1.0
        detector.sketch_ = None if sketch is None else TrainingSketch.from_dict(sketch)
        detector._assemble(pipeline)
        return detector

    def __getstate__(self) -> dict[str, Any]:
        # The model pickles itself; its graphs are recompiled.
        state = super().__getstate__()
        return {k: v for k, v in state.items() if not k.startswith("_score_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "pipeline_" in state:
            self._assemble(state["pipeline_"])


def _networks(parameters: dict[str, Any]) -> dict[str, keras.Model]:
    """Choose the built networks, whose weights a training begins with, among the parameters."""
    return {name: value for name, value in parameters.items() if isinstance(value, keras.Model)}


def _give_weights(networks: dict[str, keras.Model], saved: dict[str, list[dict[str, Any]]]) -> None:
    """Give networks, which were made by their configuration, the weights that were saved."""
    for name, network in networks.items():
        if name in saved:
            network.set_weights([from_plain(weight) for weight in saved[name]])
        else:
            logger.warning(
                "the model file holds no weights of the network given as %s, because an earlier "
                "version wrote it: before you train again, pass the network by set_params(%s=...)",
                name,
                name,
            )


def load(path: str | os.PathLike) -> AnomalyDetector:
    """Read a detector that `AnomalyDetector.save` wrote.

    Returns:
        The detector, of the class that was saved.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a detector's file, is damaged, was written by a newer version, or
            holds anything that such a file does not; see docs/security.md.
    """
    # Importing the registered detectors makes their Keras classes known.
    detectors()
    pipeline = load_pipeline(path)
    file = Path(path)
    # Networks among the parameters are made here.
    with reading_model_file(file), bounded_variables(file.stat().st_size):
        name = str(pipeline.settings["detector"])
        known = _classes_by_name(PersistentDetector)
        if name not in known:
            raise ValueError(f"it holds a {name!r}: import the package that defines it first")
        return cast("AnomalyDetector", known[name]._restore(pipeline))


def _classes_by_name(base: type[PersistentDetector]) -> dict[str, type[PersistentDetector]]:
    """Find all imported subclasses; of two with the same name, the one defined last."""
    found: dict[str, type[PersistentDetector]] = {}
    for subclass in base.__subclasses__():
        found |= {subclass.__name__: subclass, **_classes_by_name(subclass)}
    return found
