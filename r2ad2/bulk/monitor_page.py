"""The page that `r2ad2 monitor` writes: findings, and small pictures of each column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from r2ad2._version import __version__
from r2ad2.artefact.sketch import NumberSketch, Sketch, TextSketch
from r2ad2.detectors.drift import MonitorReport
from r2ad2.support.files import write_text
from r2ad2.support.pages import environment

_BINS = 16
_CATEGORIES = 8
_HEIGHT, _WIDTH = 36, 128  # of a picture, in pixels
_SHOWN = 500  # columns on a page


@dataclass(frozen=True)
class Bar:
    """A bar of a picture.

    Attributes:
        x: its left side, in pixels.
        width: its width.
        before: height of the training's share.
        after: height of the new share.
        label: what it stands for.
    """

    x: float
    width: float
    before: float
    after: float
    label: str


def shares_in_bins(sketch: NumberSketch, edges: np.ndarray) -> np.ndarray:
    """Estimate the share of values in each bin from a sketch's quantiles.

    Args:
        sketch: of a numeric column.
        edges: ascending (bins + 1,); values outside count in the outer bins.
    """
    if not sketch.points:
        return np.zeros(len(edges) - 1)
    at_edges = np.interp(edges, sketch.points, sketch.shares, left=0.0, right=1.0)
    at_edges[0], at_edges[-1] = 0.0, 1.0
    return np.diff(at_edges)


def _number_shares(
    before: NumberSketch, after: NumberSketch
) -> tuple[list[str], np.ndarray, np.ndarray]:
    middles = [
        np.interp([0.01, 0.99], sketch.shares, sketch.points)
        for sketch in (before, after)
        if sketch.points
    ]
    if not middles:
        return [], np.empty(0), np.empty(0)
    low, high = np.min(middles), np.max(middles)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    labels = [f"{edges[i]:.4g} to {edges[i + 1]:.4g}" for i in range(_BINS)]
    return labels, shares_in_bins(before, edges), shares_in_bins(after, edges)


def _text_shares(before: TextSketch, after: TextSketch) -> tuple[list[str], np.ndarray, np.ndarray]:
    n, m = max(before.n_present, 1), max(after.n_present, 1)
    greatest = {
        text: max(before.counts.get(text, 0) / n, after.counts.get(text, 0) / m)
        for text in {*before.counts, *after.counts}
    }
    labels = sorted(greatest, key=lambda text: (-greatest[text], text))[:_CATEGORIES]
    old = np.array([before.counts.get(text, 0) / n for text in labels])
    return labels, old, np.array([after.counts.get(text, 0) / m for text in labels])


def bars_of(before: Sketch, after: Sketch) -> list[Bar]:
    """Lay out a picture of a column before and after."""
    if isinstance(before, NumberSketch) and isinstance(after, NumberSketch):
        labels, old, new = _number_shares(before, after)
    elif isinstance(before, TextSketch) and isinstance(after, TextSketch):
        labels, old, new = _text_shares(before, after)
    else:
        return []
    if not labels:
        return []
    scale = _HEIGHT / max(old.max(), new.max(), 1e-9)
    width = _WIDTH / len(labels)
    return [
        Bar(
            round(i * width, 2), round(width - 1, 2), round(a * scale, 2), round(b * scale, 2), text
        )
        for i, (text, a, b) in enumerate(zip(labels, old, new, strict=True))
    ]


def write_page(report: MonitorReport, path: Path, *, title: str, n_rows: int) -> Path:
    """Write a page with the report; it needs no other file.

    Args:
        report: what `monitor` found.
        path: the page (.html).
        title: name of the table.
        n_rows: rows of the table, of which those of the report may be a sample.
    """
    columns = (
        report.columns.sort_values(
            ["drifted", "p_value", "distance"], ascending=[False, True, False], kind="stable"
        )
        if len(report.columns)
        else report.columns
    )
    rows: list[dict[str, Any]] = [
        {
            "name": str(name),
            "bars": bars_of(report.before[str(name)], report.after[str(name)]),
            **{str(key): value for key, value in values.items()},
        }
        for name, values in columns.head(_SHOWN).iterrows()
    ]
    page = (
        environment("r2ad2.bulk")
        .get_template("monitor.html")
        .render(
            report=report,
            title=title,
            n_rows=n_rows,
            rows=rows,
            n_hidden=len(columns) - len(rows),
            scores=[
                {"name": name, **values.to_dict()} for name, values in report.scores.iterrows()
            ],
            height=_HEIGHT,
            width=_WIDTH,
            version=__version__,
        )
    )
    return write_text(path, page)
