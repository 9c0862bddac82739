"""What a model file holds: `r2ad2 inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r2ad2.support.screen import import_tensorflow_quietly, make_console

if TYPE_CHECKING:
    from r2ad2.detectors.base import AnomalyDetector

_KINDS = {"number": "number", "text": "category", "timestamp": "date"}


def inspect(
    model: Annotated[Path, typer.Argument(help="model file written by r2ad2 fit")],
) -> None:
    """Show what a model was trained on: its columns and their types, threshold and versions."""
    import_tensorflow_quietly()
    from r2ad2 import load

    console = make_console()
    for line in describe(load(model)):
        console.print(line, soft_wrap=True)


def describe(detector: AnomalyDetector) -> list[str]:
    """Describe a trained detector in lines "what: value"."""
    notes, pipeline = detector.notes_, detector.pipeline_
    settings = pipeline.settings or {}
    calibration = pipeline.calibration
    n_held_back = calibration.n_samples
    lines = [
        f"method: {type(detector).__name__}",
        f"threshold: {detector.threshold_:.6g}",
        "calibration: "
        + (f"{n_held_back:,} normal samples were held back" if n_held_back else "none"),
    ]
    versions: dict[str, str] = settings.get("versions", {})
    lines.append("versions: " + ", ".join(f"{name} {v}" for name, v in versions.items()))
    source: dict[str, Any] = notes.get("source", {})
    if source.get("label"):
        lines.append(f"label: column {source['label']!r}{_meaning(source)}")
    if source.get("drop"):
        lines.append(f"left out: {', '.join(map(repr, source['drop']))}")
    told = {name: source.get(name) for name in ("separator", "decimal", "encoding")}
    lines += [f"{name}: {value!r}" for name, value in told.items() if value]
    lines += notes.get("reading", [])
    columns = notes.get("columns") or _columns_of(detector)
    lines.append(f"columns: {len(columns)}" if columns else _shape(detector))
    lines += [f"  {name}: {kind}" for name, kind in columns.items()]
    return lines


def _meaning(source: dict[str, Any]) -> str:
    for name, meaning in (("anomalous", "anomalies"), ("normal", "normal rows")):
        if source.get(name):
            return f", {meaning}: {', '.join(map(repr, source[name]))}"
    return ""


def _columns_of(detector: AnomalyDetector) -> dict[str, str]:
    """Return the kind of each column of a model that was not trained on a file."""
    encoder = detector.pipeline_.encoder
    return {name: _KINDS[kind] for name, kind in getattr(encoder, "kinds", {}).items()}


def _shape(detector: AnomalyDetector) -> str:
    return f"samples: arrays of shape {detector.pipeline_.encoder.sample_shape}"
