"""The analyst's page in a notebook."""

from __future__ import annotations

import html
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from r2ad2.detectors.base import AnomalyDetector
from r2ad2.review.session import ReviewSession

logger = logging.getLogger(__name__)


class ReviewWidget:
    """The page of a review in a frame; what the last line of a notebook's cell shows.

    Attributes:
        session: rows, labels and detector; `session.learn()` does what the page's button does.
    """

    def __init__(self, session: ReviewSession, title: str, height: int, port: int):
        from r2ad2.review.server import ReviewServer

        self.session = session
        self._height = height
        self._server = ReviewServer(session, title, port=port, is_framed=True)
        self._server.start()

    @property
    def detector(self) -> AnomalyDetector:
        """The detector as it is now: after learning, the one that has learnt."""
        return self.session.detector

    @property
    def url(self) -> str:
        """Address of the page, with its token."""
        return self._server.url

    @property
    def labels(self) -> pd.DataFrame:
        """The labels given so far: key, label, note, time."""
        rows = [
            {"key": key, "label": one.label, "note": one.note, "time": one.time}
            for key, one in self.session.store.current().items()
        ]
        return pd.DataFrame(rows, columns=["key", "label", "note", "time"])

    def close(self) -> None:
        """Stop serving the page."""
        self._server.close()

    def __repr__(self) -> str:
        return f"<review of {len(self.session.rows):,} rows, {len(self.labels):,} labels>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe src="{html.escape(self.url)}" title="Review" width="100%" '
            f'height="{self._height}" style="border:1px solid #888"></iframe>'
        )


def widget(
    detector: AnomalyDetector,
    X: Any,
    X_train: Any = None,
    y_train: Any = None,
    *,
    labels: str | Path = "labels.csv",
    ids: pd.DataFrame | None = None,
    output: str | Path | None = None,
    title: str = "samples",
    height: int = 900,
    port: int = 0,
) -> ReviewWidget:
    """Show the analyst's page for some samples in a notebook.

    The page is served by this process on this machine only, and needs a token. The notebook must
    be open on the same machine, or the port forwarded to it.

    Args:
        detector: fitted; stays as it is, `widget.detector` is the one that learns.
        X: samples to review: a table, or an array (n, features).
        X_train: training samples; without them nothing is learnt.
        y_train: their labels; None: no anomaly is known.
        labels: labels file (.csv); the database is next to it.
        ids: columns (n rows) that identify a sample; by default its content does.
        output: model file to write after learning.
        title: what the page calls the samples.
        height: height of the frame in pixels.
        port: port of the page; 0 chooses a free one.

    Raises:
        ValueError: see `ReviewSession`.
        OSError: if the port is taken.
    """
    session = ReviewSession(detector, X, X_train, y_train, labels=labels, ids=ids, output=output)
    if session.training is not None:
        for text in session.training.notes:
            logger.warning(text)
    return ReviewWidget(session, title, height, port)
