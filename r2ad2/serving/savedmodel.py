"""Exports a detector as a SavedModel for TensorFlow Serving: raw rows in, scores out."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from r2ad2.artefact.pipeline import ScoringPipeline
from r2ad2.serving.inputs import ServingInputs, inputs_of
from r2ad2.serving.warmup import write_warmup
from r2ad2.support.compilation import padded
from r2ad2.support.files import make_folder
from r2ad2.support.shapley import N_PERMUTATIONS, shapley_weights

logger = logging.getLogger(__name__)

_WARMUP_BATCHES = (1, 32)
# Explanations evaluate 16 scores per column, of which the graph holds the list.
_MOST_EXPLAINED = 1000
Function = Callable[..., dict[str, tf.Tensor]]


def export_pipeline(pipeline: ScoringPipeline, directory: str | os.PathLike) -> Path:
    """Write a SavedModel that needs nothing but TensorFlow.

    Signatures, each for any batch size:

    - serving_default: one tensor per column, or "inputs" for arrays and images;
      returns score in [0, 1], is_anomaly and, if calibrated, p_value, each (batch,).
    - serve_examples: "examples" (batch,), serialised tf.train.Example with the columns' names.
    - explain: inputs as serving_default; returns attributions (batch, n), the names of the n
      features they belong to (batch, n), score and baseline_score (batch,). Left out if there are
      more than 1,000 features.

    assets.extra/README.md lists the inputs and the columns they stand for.

    Args:
        pipeline: the pipeline of a fitted detector.
        directory: a new folder whose name is a version number, such as "serving/1"; in any other
            folder the next free number is used.

    Returns:
        The version's folder.

    Raises:
        FileExistsError: if the version exists.
    """
    version = _version_folder(Path(directory))
    make_folder(version.parent)
    inputs = inputs_of(pipeline.encoder)
    # A server watching the folder must never see an incomplete model.
    with tempfile.TemporaryDirectory(dir=version.parent, prefix=".export-") as folder:
        model = Path(folder) / "model"
        _write(pipeline, inputs, model)
        extra = model / "assets.extra"
        extra.mkdir(exist_ok=True)
        warmups = [inputs.sample(n) for n in _WARMUP_BATCHES]
        write_warmup(extra / "tf_serving_warmup_requests", warmups)
        described = {name: spec.dtype.name for name, spec in inputs.specs.items()}
        (extra / "inputs.json").write_text(json.dumps(described, indent=2), "utf-8")
        columns = json.dumps(inputs.columns, indent=2, ensure_ascii=False)
        (extra / "columns.json").write_text(columns, "utf-8")
        (extra / "README.md").write_text(_readme(inputs), "utf-8")
        model.chmod(0o755)
        model.replace(version)
    return version


def _readme(inputs: ServingInputs) -> str:
    """Document the inputs of an exported model, and the columns they stand for."""
    lines = [
        "# Inputs of this model",
        "",
        "`columns.json` has the same names for programs, `inputs.json` the types.",
        "",
        "| input | column of the training table | type | shape |",
        "|---|---|---|---|",
    ]
    for name, spec in inputs.specs.items():
        column = json.dumps(inputs.columns.get(name, name), ensure_ascii=False)
        shape = ", ".join("batch" if size is None else str(size) for size in spec.shape)
        escaped = column.replace("|", "\\|")
        lines.append(f"| `{name}` | `{escaped}` | {spec.dtype.name} | ({shape}) |")
    return "\n".join([*lines, ""])


def _version_folder(directory: Path) -> Path:
    if directory.name.isdecimal():
        version = directory
    else:
        present = directory.iterdir() if directory.is_dir() else ()
        numbers = [int(path.name) for path in present if path.name.isdecimal()]
        version = directory / str(max(numbers, default=0) + 1)
    if version.exists():
        raise FileExistsError(f"{str(version)!r} already exists: choose another version number")
    return version


def _write(pipeline: ScoringPipeline, inputs: ServingInputs, folder: Path) -> None:
    signatures = {}

    def add(name: str, function: Function, specs: tf.TensorSpec | dict[str, tf.TensorSpec]) -> None:
        signatures[name] = tf.function(function, autograph=False).get_concrete_function(specs)

    score = _score_function(pipeline, inputs)

    def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, inputs.example_features)
        return score(inputs.from_example(parsed))

    add("serving_default", score, inputs.specs)
    add("serve_examples", serve_examples, tf.TensorSpec([None], tf.string, "examples"))
    n_explained = len(pipeline.encoder.feature_groups)
    if n_explained <= _MOST_EXPLAINED:
        add("explain", _explain_function(pipeline, inputs), inputs.specs)
    else:
        logger.warning(
            "the exported model has no signature 'explain': it has %s columns, more than %s",
            f"{n_explained:,}",
            f"{_MOST_EXPLAINED:,}",
        )
    # Not by keras.export.ExportArchive, which traces each function twice and each model once more:
    # most of the time goes into tracing.
    saved = tf.Module()
    saved.used_variables = [v for signature in signatures.values() for v in signature.variables]
    saved.lookup_layers = list(pipeline.encoder.lookup_layers)
    tf.saved_model.save(saved, os.fspath(folder), signatures=signatures)


def _score_function(pipeline: ScoringPipeline, inputs: ServingInputs) -> Function:
    def score(samples: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scores = _scores(pipeline, pipeline.encoder(inputs.for_encoder(samples)))
        calibration = pipeline.calibration
        result = {
            "score": scores,
            "is_anomaly": scores > tf.cast(calibration.threshold.value, scores.dtype),
        }
        if calibration.n_samples:
            result["p_value"] = calibration(scores)
        return result

    return score


def _scores(pipeline: ScoringPipeline, encoded: tf.Tensor) -> tf.Tensor:
    """Score encoded samples (n, ...), of which there may be none."""
    return pipeline.scorer(padded(encoded), training=False)[: tf.shape(encoded)[0], 0]


def _explain_function(pipeline: ScoringPipeline, inputs: ServingInputs) -> Function:
    encoder = pipeline.encoder
    groups = encoder.feature_groups
    subsets, weights = shapley_weights(len(groups), N_PERMUTATIONS)
    # Whether a position has the sample's value rather than the baseline's, for each subset.
    switched_in = np.zeros((len(subsets), int(np.prod(encoder.sample_shape))), dtype=bool)
    for number, positions in enumerate(groups.values()):
        switched_in[:, positions] = subsets[:, number, np.newaxis]
    switched_in = switched_in.reshape(-1, *encoder.sample_shape)
    weights = weights.astype(np.float64)

    def attribute(encoded: tf.Tensor) -> tf.Tensor:
        mixed = tf.where(switched_in, encoded, pipeline.baseline.value)
        values = tf.cast(pipeline.scorer(mixed, training=False), tf.float64)
        return tf.linalg.matvec(weights, values[:, 0])

    def explain(samples: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        encoded = pipeline.encoder(inputs.for_encoder(samples))
        n_samples = tf.shape(encoded)[0]
        scores = _scores(pipeline, encoded)
        baseline = _scores(pipeline, pipeline.baseline.value[tf.newaxis])
        return {
            # Sample by sample, so that memory does not grow with the batch.
            "attributions": tf.cast(
                tf.map_fn(attribute, encoded, fn_output_signature=tf.float64), tf.float32
            ),
            "features": tf.tile(tf.constant([list(groups)]), [n_samples, 1]),
            "score": scores,
            "baseline_score": tf.tile(baseline, [n_samples]),
        }

    return explain
