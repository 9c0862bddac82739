"""The analyst's loop: a queue of rows to label, and a detector that learns from the labels."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse

from r2ad2.artefact.calibration import promised_rate
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.encoders.labels import encode_labels
from r2ad2.encoders.samples import as_samples, rows_of
from r2ad2.encoders.tables import TableEncoder
from r2ad2.review.estimates import anomalies_left
from r2ad2.review.learning import Reviewed, TrainingRows, relearn, restore_samples
from r2ad2.review.queue import ORDERS, SHOWN, is_shown, labels_of, ordered, search
from r2ad2.review.rows import ReviewRows, as_frame, concatenate, in_order
from r2ad2.review.scoring import Cause, Scoring, Similar
from r2ad2.review.store import Label, LabelStore
from r2ad2.review.typical import Comparison, TypicalValues
from r2ad2.support.messages import require_known
from r2ad2.training.batches import in_chunks

N_SUGGESTED = 50
_N_SIMILAR = 3
_ENCODING_BATCH = 1024


def _as_dense_samples(name: str, X: Any, y: Any, detector: AnomalyDetector) -> tuple[Any, Any]:
    """Return samples and labels as `as_samples` does, tables with the columns as in training."""
    X, y = as_samples(X, y)
    if scipy.sparse.issparse(X):
        raise ValueError(
            f"{name} is a sparse matrix, but sparse samples cannot be shown: pass a table or a "
            "dense array"
        )
    encoder = detector.pipeline_.encoder
    return (in_order(X, encoder.columns) if isinstance(encoder, TableEncoder) else X), y


class ReviewSession:
    """Rows to review, the labels given so far, and the detector that learns from them.

    Labels are on disk when `label` returns; another session with the same labels file continues
    with them. All methods may be called from several threads. A position is the number of a row in
    X, from 0. Of rows that share a key the queue shows the first; the others have its label.

    Args:
        detector: fitted; it stays as it is, what learns is a copy.
        X: rows to review, in the form of the training samples.
        X_train: training samples; without them the session cannot learn.
        y_train: their labels, as `fit` takes them; None: no anomaly is known.
        labels: labels file (.csv); the database is next to it.
        ids: columns, or one Series (n rows), that identify a row; by default its content does.
        numbers: (n,) number of each row in its file.
        output: model file to write after learning; None writes none.

    Raises:
        ValueError: for samples that do not fit the detector, ids that are missing or not unique,
            or a labels file that holds something else.
    """

    def __init__(
        self,
        detector: AnomalyDetector,
        X: Any,
        X_train: Any = None,
        y_train: Any = None,
        *,
        labels: str | Path = "labels.csv",
        ids: pd.DataFrame | pd.Series | None = None,
        numbers: Sequence[int] | None = None,
        output: str | Path | None = None,
    ):
        X, _ = _as_dense_samples("X", X, None, detector)
        if isinstance(ids, pd.Series):
            ids = ids.to_frame("id" if ids.name is None else ids.name)
        if not isinstance(ids, pd.DataFrame | None):
            raise ValueError(f"ids must be a DataFrame or a Series, got {type(ids).__name__}")
        self.rows = ReviewRows.of(X, ids, numbers)
        self.store = LabelStore(labels, ("key",) if ids is None else [str(n) for n in ids])
        self.output = None if output is None else Path(output)
        self.training: TrainingRows | None = None
        self.typical: TypicalValues | None = None
        if X_train is not None:
            X_train, y_train = _as_dense_samples("X_train", X_train, y_train, detector)
            _, known = encode_labels(y_train, len(X_train), detector.classes_[1])
            self.training = TrainingRows(X_train, known, detector)
            self.typical = TypicalValues(as_frame(self.training.normal_rows()))
        self._keeps_features = self.training is None or self.training.held_back_is_unseen
        self._learning = threading.Lock()
        self._labels_cache: tuple[int, np.ndarray] | None = None
        self.scoring = self._score(detector)

    # ---- what the queue shows ---------------------------------------------------------------

    @property
    def detector(self) -> AnomalyDetector:
        """The detector as it is now."""
        return self.scoring.detector

    def labels(self) -> np.ndarray:
        """Return the label of each row (n,): "anomaly", "normal", "unsure", or ""."""
        version = self.store.version()
        cached = self._labels_cache
        if cached is None or cached[0] != version:
            cached = (version, self._labels_of(self.store.current()))
            self._labels_cache = cached
        return cached[1]

    def _labels_of(self, given: Mapping[str, Label]) -> np.ndarray:
        return labels_of(self.rows, {key: label.label for key, label in given.items()})

    def queue(
        self, order: str = "suggested", show: str = "unreviewed", text: str = ""
    ) -> np.ndarray:
        """Return positions (m,) of rows, the next one to review first.

        Args:
            order: "suggested", or "score".
            show: "unreviewed", "flagged", "reviewed", "anomaly", "normal", "unsure" or "all".
            text: a search; see `r2ad2.review.queue.search`.

        Raises:
            ValueError: for an unknown order or filter, or a search that cannot be carried out.
        """
        require_known([order], ORDERS, "order")
        require_known([show], SHOWN, "filter")
        scoring = self.scoring
        shown = self.rows.is_first & is_shown(show, self.labels(), scoring.is_flagged)
        positions = scoring.order if order == "suggested" else scoring.by_score
        positions = positions[shown[positions]]
        return search(self.rows, text, positions) if text.strip() else positions

    def label(
        self, position: int, label: str | None = None, note: str | None = None, window: str = ""
    ) -> None:
        """Label a row, or add a note to it; see `LabelStore.add`.

        Raises:
            ValueError: for a position without a row, or something else than a label.
        """
        position = self._checked(position)
        self.store.add(
            self.rows.keys[position],
            label,
            note,
            window=window,
            content=self.rows.content(position),
        )

    def _checked(self, position: int) -> int:
        if not 0 <= operator.index(position) < len(self.rows):
            raise ValueError(f"there is no row {position}: there are {len(self.rows):,}, from 0")
        return int(position)

    def undo(self, window: str = "") -> int | None:
        """Take back the latest label of a window; return the row's position, None if there is none.

        Labels that the window gave to rows of other tables stay.
        """
        key = self.store.undo(window, self.rows.positions.keys())
        return None if key is None else self.rows.positions[key]

    # ---- what is said about a row ---------------------------------------------------------

    def compare(self, position: int) -> list[Comparison]:
        """Compare a row's values with those of normal training rows, column by column."""
        row = self.rows.frame.iloc[[self._checked(position)]]
        typical = self.typical or TypicalValues(self.rows.frame.iloc[:0])
        return typical.compare(row)

    def explain(self, position: int) -> list[Cause]:
        """Attribute a row's score to its columns, the greatest attribution first."""
        return self._explain(self.scoring, self._checked(position))

    def _explain(self, scoring: Scoring, position: int) -> list[Cause]:
        if position not in scoring.causes:
            why = scoring.detector.explain(rows_of(self.rows.samples, [position]), parts=False)
            values = why.features.iloc[0]
            scoring.causes[position] = [
                Cause(str(name), float(values[name]))
                for name in values.abs().sort_values(ascending=False, kind="stable").index
            ]
        return scoring.causes[position]

    def similar(self, position: int) -> list[Similar]:
        """Find the labelled rows that resemble a row most."""
        rows, labels = self.rows, self.labels()
        is_other = rows.is_first & (rows.first != rows.first[self._checked(position)])
        labelled = np.flatnonzero(is_other & (labels != "")).tolist()
        if not labelled:
            return []
        vectors = self._encode([position, *labelled])
        gaps = np.clip(np.abs(vectors[1:] - vectors[0]), 0, 1)
        distances = np.sqrt((gaps**2).reshape(len(gaps), -1).mean(axis=1))
        notes = self.store.current()
        return [
            Similar(
                labelled[i],
                labels[labelled[i]],
                notes[rows.keys[labelled[i]]].note if labels[labelled[i]] else "",
                float(distances[i]),
            )
            for i in np.argsort(distances, kind="stable")[:_N_SIMILAR]
        ]

    def _encode(self, positions: list[int]) -> np.ndarray:
        scoring = self.scoring  # another thread may replace it meanwhile
        absent = [p for p in positions if p not in scoring.encoded]
        if absent:
            encoder = scoring.detector.pipeline_.encoder
            prepared = encoder.prepare(rows_of(self.rows.samples, absent))
            found = in_chunks(encoder, prepared, _ENCODING_BATCH)
            scoring.encoded.update(zip(absent, found, strict=True))
        return np.stack([scoring.encoded[p] for p in positions])

    # ---- learning -------------------------------------------------------------------------

    @property
    def can_learn(self) -> bool:
        """Whether there are training samples."""
        return self.training is not None

    def reviewed(self) -> Reviewed:
        """Return all rows labelled anomaly or normal, those of earlier files as well."""
        return self._reviewed(self.store.current())

    def _reviewed(self, given: Mapping[str, Label]) -> Reviewed:
        chosen = {k: v.label for k, v in given.items() if v.label in ("anomaly", "normal")}
        here = [key for key in chosen if key in self.rows.positions]
        others = [key for key in chosen if key not in self.rows.positions]
        contents = self.store.contents(others)
        parts, labels = [], []
        if here:
            parts.append(rows_of(self.rows.samples, [self.rows.positions[key] for key in here]))
            labels += [int(chosen[key] == "anomaly") for key in here]
        for key in others:
            restored = restore_samples(
                [contents[key]] if key in contents else [], self.rows.samples
            )
            if restored is not None:
                parts.append(restored)
                labels.append(int(chosen[key] == "anomaly"))
        return Reviewed(concatenate(parts) if parts else None, np.array(labels, dtype=np.int64))

    def learn(self) -> dict[str, Any]:
        """Retrain with the labels so far, calibrate, score all rows again and write the model.

        Labels that are given meanwhile count for the next time.

        Returns:
            `figures` as of the labels that were learnt from, and what changed: round, its number;
            n_learnt, labels that were learnt from, those of earlier files as well; round_reviewed
            and round_precision, rows of this table labelled since the last round, and the share of
            anomalies among them; n_flagged_before; n_new_on_top of the n_top first rows by score;
            seconds; last_event, see `LabelStore`.

        Raises:
            ValueError: without training samples, or if the labels do not suffice.
            RuntimeError: if the session is already learning.
        """
        if self.training is None:
            raise ValueError("learning needs the training samples: X_train (command line: --train)")
        if not self._learning.acquire(blocking=False):
            raise RuntimeError("already learning: wait until it is done")
        try:
            start = time.monotonic()
            before = self.scoring
            last_event = self.store.last_event()
            given = self.store.current(last_event)
            reviewed = self._reviewed(given)
            detector = relearn(
                before.detector, self.training, reviewed, keep_features=self._keeps_features
            )
            scoring = self._score(detector)
            if detector.pipeline_.encoder is before.detector.pipeline_.encoder:
                scoring.encoded = before.encoded
            if self.output is not None:
                detector.save(self.output)
            self.scoring = scoring
            # Not before: if writing fails, the next round starts from the same detector again.
            self._keeps_features = True
            labels = self._labels_of(given)
            figures = self._figures(labels) | self._changes(before, scoring, labels)
            figures |= {
                "n_learnt": len(reviewed.labels),
                "last_event": last_event,
                "seconds": round(time.monotonic() - start, 1),
            }
            self.store.add_round(figures)
            return figures
        finally:
            self._learning.release()

    def figures(self) -> dict[str, Any]:
        """Return what is known so far.

        Returns:
            n_rows; n_reviewed, n_anomaly, n_normal, n_unsure: labels in this file; precision: share
            of anomalies among the rows labelled anomaly or normal; n_flagged: rows flagged and not
            reviewed; threshold; promised_rate: the false-positive rate that the threshold
            guarantees, or None; n_held_back: normal rows it is calibrated with; left: see
            `AnomaliesLeft`, or None.
        """
        return self._figures(self.labels())

    def _figures(self, all_labels: np.ndarray) -> dict[str, Any]:
        scoring, shown = self.scoring, self.rows.is_first
        labels = all_labels[shown]
        counts = {name: int((labels == name).sum()) for name in ("anomaly", "normal", "unsure")}
        decided = counts["anomaly"] + counts["normal"]
        detector = scoring.detector
        held_back = detector.pipeline_.calibration.scores.numpy()
        left = None
        if scoring.p_values is not None:
            left = anomalies_left(
                scoring.p_values[shown],
                held_back,
                (labels == "anomaly") | (labels == "normal"),
                counts["normal"],
                counts["anomaly"],
                detector.false_positive_rate or 0,
            )
        return {
            "n_rows": len(labels),
            "n_reviewed": int((labels != "").sum()),
            **{f"n_{name}": n for name, n in counts.items()},
            "precision": counts["anomaly"] / decided if decided else None,
            "n_flagged": int((scoring.is_flagged[shown] & (labels == "")).sum()),
            "threshold": float(detector.threshold_),
            "promised_rate": promised_rate(
                held_back, detector.threshold_, detector.false_positive_rate
            ),
            "n_held_back": len(held_back),
            "left": asdict(left) if left else None,
        }

    def _changes(self, before: Scoring, after: Scoring, labels: np.ndarray) -> dict[str, Any]:
        """Say how the queue differs after learning from labels (n,)."""
        shown = self.rows.is_first
        open_rows = shown & (labels == "")
        top = [
            set(one.by_score[open_rows[one.by_score]][:N_SUGGESTED].tolist())
            for one in (before, after)
        ]
        rounds = self.store.rounds()
        # Rounds of earlier versions do not say which labels they had.
        last_event = rounds[-1].get("last_event", self.store.last_event()) if rounds else 0
        is_new = labels != self._labels_of(self.store.current(last_event))
        n_anomaly, n_normal = (
            int((shown & is_new & (labels == name)).sum()) for name in ("anomaly", "normal")
        )
        n_new = n_anomaly + n_normal
        return {
            "round": len(rounds) + 1,
            "n_flagged_before": int((before.is_flagged & open_rows).sum()),
            "n_new_on_top": len(top[1] - top[0]),
            "n_top": len(top[1]),
            "round_precision": n_anomaly / n_new if n_new else None,
            "round_reviewed": n_new,
        }

    def _score(self, detector: AnomalyDetector) -> Scoring:
        scores = detector.predict_proba(self.rows.samples)[:, 1]
        calibration = detector.pipeline_.calibration
        p_values = calibration.p_values(scores) if calibration.n_samples else None
        open_rows = np.flatnonzero(self.rows.is_first & (self.labels() == ""))
        suggested = np.empty(0, dtype=np.int64)
        if len(open_rows):
            chosen = detector.suggest(
                rows_of(self.rows.samples, open_rows), n_samples=min(N_SUGGESTED, len(open_rows))
            )
            suggested = open_rows[np.asarray(chosen)]
        order = ordered(scores, suggested)
        scoring = Scoring(detector, scores, p_values, order, len(suggested))
        self._explain(scoring, int(order[0]))  # compiles what explanations need
        return scoring
