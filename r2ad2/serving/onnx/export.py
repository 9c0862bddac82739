"""Exports a detector as one ONNX file: raw rows in, scores out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

import r2ad2.serving.onnx.layers
import r2ad2.serving.onnx.scorers  # noqa: F401, registers converters
from r2ad2._version import __version__
from r2ad2.artefact.pipeline import ScoringPipeline, weights_checksum
from r2ad2.serving.onnx.encoders import EncodedInputs, write_encoder
from r2ad2.serving.onnx.graph import Graph, Tensor
from r2ad2.serving.onnx.proto import as_proto
from r2ad2.serving.onnx.registry import NotExportableError
from r2ad2.serving.onnx.tape import Tape
from r2ad2.serving.onnx.trees import search_tree, sum_of_leaves
from r2ad2.support.extras import from_extra
from r2ad2.support.files import write_atomically

if TYPE_CHECKING:
    import onnx

_MOST_BYTES = 2**31 - 1  # of a protocol buffer
_PREFIX = "r2ad2."


def export_onnx(pipeline: ScoringPipeline, path: str | os.PathLike) -> Path:
    """Write one ONNX file that needs nothing but a runtime for ONNX.

    Inputs are one tensor (batch, 1) per column of a table, or "x" (batch, ...); outputs are score,
    is_anomaly and, if calibrated, p_value, each (batch,). See docs/serving.md.

    Args:
        pipeline: the pipeline of a fitted detector.
        path: the file; an earlier one stays intact until the new one is complete.

    Raises:
        NotExportableError: for a part that cannot be exported; nothing is written.
        MissingExtraError: if the package onnx is not installed.
    """
    with from_extra("onnx", "onnx"):
        import onnx
    model = build_model(pipeline)
    content = model.SerializeToString()
    onnx.checker.check_model(content, full_check=True)

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    return write_atomically(path, write)


def build_model(pipeline: ScoringPipeline) -> onnx.ModelProto:
    """Build the ONNX model of a pipeline; see `export_onnx`."""
    graph = Graph()
    inputs = write_encoder(pipeline.encoder, graph)
    score = Tape(graph).run([pipeline.scorer], inputs.encoded)
    _write_outputs(graph, pipeline, score, inputs)
    size = sum(array.nbytes for array in graph.constants.values())
    if size > _MOST_BYTES:
        raise NotExportableError(
            f"the detector's weights take {size:,} bytes, but an ONNX file holds at most "
            f"{_MOST_BYTES:,}: train with gradient='sketch' or fewer alarm_units, or export a "
            "SavedModel: export('serving/1')"
        )
    return as_proto(graph, _metadata(pipeline, inputs))


def _write_outputs(
    graph: Graph, pipeline: ScoringPipeline, score: Tensor, inputs: EncodedInputs
) -> None:
    calibration = pipeline.calibration
    threshold = np.float32(calibration.threshold.numpy()).astype(score.dtype)
    valid = score if inputs.fault is None else score + inputs.fault.cast(score.dtype)
    graph.output("score", valid.flat())
    graph.output("is_anomaly", valid.compare("Greater", threshold).flat())
    n = calibration.n_samples
    if n:
        values = ((1 + n - np.arange(n + 1)).astype(np.float32)) / np.float32(n + 1)
        tree = search_tree(calibration.scores.numpy(), values)
        p_value = sum_of_leaves(score.cast(np.float32), tree)
        if inputs.fault is not None:
            p_value = p_value + inputs.fault.cast(np.float32)
        graph.output("p_value", p_value.flat())


def _metadata(pipeline: ScoringPipeline, inputs: EncodedInputs) -> dict[str, str]:
    """Describe where the model comes from, as texts."""
    columns = {name: {"column": column} for name, column in inputs.columns.items()}
    encoder = pipeline.encoder
    for column in getattr(encoder, "timestamps", ()):
        name = next(name for name, known in inputs.columns.items() if known == column)
        columns[name]["unit"] = "ns"
    described: dict[str, Any] = {
        "version": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
        "scorer": type(pipeline.scorer).__name__,
        "columns": json.dumps(columns, ensure_ascii=False),
        "threshold": repr(float(pipeline.calibration.threshold.numpy())),
        "n_calibration": str(pipeline.calibration.n_samples),
        "missing": getattr(encoder, "missing", "error"),
        "model_sha256": pipeline.file_checksum,
        "weights_sha256": weights_checksum(pipeline),
    }
    return {f"{_PREFIX}{key}": str(value) for key, value in described.items()}
