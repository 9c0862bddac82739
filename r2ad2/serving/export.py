"""Exporting a scoring pipeline in the format that the path's name asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from r2ad2.artefact.pipeline import ScoringPipeline
from r2ad2.serving.onnx.export import export_onnx
from r2ad2.serving.savedmodel import export_pipeline

_FORMATS: Mapping[str, Callable[[ScoringPipeline, str | os.PathLike], Path]] = {
    ".onnx": export_onnx,
}


def export(pipeline: ScoringPipeline, path: str | os.PathLike) -> Path:
    """Write an ONNX file if the path ends in .onnx, otherwise a SavedModel.

    Returns:
        The file, or the folder of the SavedModel's version.
    """
    return _FORMATS.get(Path(path).suffix.lower(), export_pipeline)(pipeline, path)
