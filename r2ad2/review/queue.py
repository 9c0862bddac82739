"""Orders and filters the rows of a review."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.review.rows import ReviewRows, column_texts, is_number
from r2ad2.review.store import LABELS

ORDERS = ("suggested", "score")
SHOWN = ("unreviewed", "flagged", "reviewed", *LABELS, "all")
PAGE_ROWS = 50
_CONDITION = re.compile(
    r'(?<!\S)(?P<name>"[^"]+"|[^\s"<>=]+)(?P<sign><=|>=|<|>|=)(?P<value>"[^"]*"|[^\s"]+)'
)
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    ">": np.greater,
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "=": np.equal,
}


def labels_of(rows: ReviewRows, labels: dict[str, str | None]) -> np.ndarray:
    """Return the label (n,) of each row, "" where there is none."""
    found = np.full(len(rows), "", dtype=object)
    for key, label in labels.items():
        if label and key in rows.positions:
            found[rows.positions[key]] = label
    return found[rows.first]


def is_shown(show: str, labels: np.ndarray, flagged: np.ndarray) -> np.ndarray:
    """Return which rows (n,) a filter shows.

    Args:
        show: one of `SHOWN`; "flagged" are those that are not yet reviewed.
        labels: (n,) texts, "" where there is none.
        flagged: (n,) whether the score is above the threshold.
    """
    if show == "all":
        return np.ones(len(labels), dtype=bool)
    if show in LABELS:
        return labels == show
    reviewed = labels != ""
    if show == "reviewed":
        return reviewed
    return flagged & ~reviewed if show == "flagged" else ~reviewed


def search(rows: ReviewRows, text: str, candidates: np.ndarray) -> np.ndarray:
    """Return those of some positions whose rows fit a search.

    Args:
        rows: all rows.
        text: words that must all occur in names or values, in any case; and conditions on columns
            such as `amount>100`, `shop=online` or `"card type"=debit`.
        candidates: positions to choose from.

    Raises:
        ValueError: for a condition on an unknown column, or with something other than a number.
    """
    conditions = list(_CONDITION.finditer(text))
    words = _CONDITION.sub(" ", text).lower().split()
    for match in conditions:
        candidates = candidates[_fits(rows.frame, *_parts(match), candidates)]
    if not words:
        return candidates
    texts = rows.searchable
    found = [all(word in texts[i] for word in words) for i in candidates.tolist()]
    return candidates[np.array(found, dtype=bool)]


def _parts(match: re.Match[str]) -> tuple[str, str, str]:
    return match["name"].strip('"'), match["sign"], match["value"].strip('"')


def _fits(
    frame: pd.DataFrame, name: str, sign: str, value: str, positions: np.ndarray
) -> np.ndarray:
    known = {str(column).lower(): column for column in frame.columns}
    if name.lower() not in known:
        raise ValueError(f"there is no column {name!r} to search in")
    column = frame[known[name.lower()]].iloc[positions]
    if is_number(column):
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"column {name!r} holds numbers: {value!r} is not one") from None
        with np.errstate(invalid="ignore"):
            return _COMPARISONS[sign](column.to_numpy(np.float64, na_value=np.nan), number)
    texts = np.array([text.lower() for text in column_texts(column)], dtype=object)
    return np.asarray(_COMPARISONS[sign](texts, value.lower()), dtype=bool)


def ordered(scores: np.ndarray, suggested: np.ndarray) -> np.ndarray:
    """Return all positions: suggested ones first, then by score, highest first."""
    by_score = np.argsort(-scores, kind="stable")
    if not len(suggested):
        return by_score
    return np.concatenate([suggested, by_score[~np.isin(by_score, suggested)]])
