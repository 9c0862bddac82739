"""What a detector keeps about the table it was trained on."""

from __future__ import annotations

from r2ad2.detectors.base import AnomalyDetector
from r2ad2.encoders.tables import TableEncoder
from r2ad2.support.messages import quoted
from r2ad2.tables.source import TableSource


def table_encoder(detector: AnomalyDetector) -> TableEncoder:
    """Return the encoder of a detector that was trained on a table.

    Raises:
        ValueError: if it was trained on arrays.
    """
    encoder = detector.pipeline_.encoder
    if not isinstance(encoder, TableEncoder):
        raise ValueError(
            "the detector was trained on arrays, not on a table with named columns: train it on a "
            "table to use it on table files"
        )
    return encoder


def require_no_feature(detector: AnomalyDetector, label: str) -> None:
    """Check that the label column is not among the features.

    Raises:
        ValueError: if it is.
    """
    if label in table_encoder(detector).columns:
        raise ValueError(
            f"column {quoted(label)} is a feature of this model and cannot hold the labels: name "
            "another column, or train a model with it as the label column"
        )


def training_source(detector: AnomalyDetector) -> TableSource:
    """Return how the training table was read: as `fit_file` noted it, else without a label."""
    return TableSource(**detector.notes_.get("source", {"label": ""}))
