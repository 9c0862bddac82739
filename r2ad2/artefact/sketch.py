"""What a model file keeps about its training rows: quantiles, shares, fingerprints, no rows."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from r2ad2.encoders.columns import MISSING_TEXT

# Numbers that the quantiles of all columns may take in total; a column has 5 to 65 of them.
_TOTAL_POINTS = 65_000
_MAX_POINTS, _MIN_POINTS = 65, 5
_MAX_CATEGORIES = 1000


@dataclass(frozen=True)
class NumberSketch:
    """The distribution of a numeric column.

    Attributes:
        n: number of rows.
        n_missing: those without a value.
        points: some of the values in ascending order, the lowest and the highest among them.
        shares: share of the values that are at most each point.
        shares_below: share of the values that are below each point.
    """

    n: int
    n_missing: int
    points: list[float]
    shares: list[float]
    shares_below: list[float]

    @classmethod
    def of(cls, values: np.ndarray, n_points: int = _MAX_POINTS) -> NumberSketch:
        """Describe values (n,), NaN where missing."""
        present = np.sort(values[~np.isnan(values)])
        if not len(present):
            return cls(len(values), len(values), [], [], [])
        at = np.linspace(0, len(present) - 1, n_points).round().astype(int)
        points = np.unique(present[at])
        shares = (np.searchsorted(present, points, side=side) for side in ("right", "left"))
        upper, lower = ((counts / len(present)).tolist() for counts in shares)
        return cls(len(values), len(values) - len(present), points.tolist(), upper, lower)

    @property
    def n_present(self) -> int:
        """Number of rows with a value."""
        return self.n - self.n_missing


@dataclass(frozen=True)
class TextSketch:
    """The distribution of a column of categories.

    Attributes:
        n: number of rows.
        n_missing: those without a value.
        counts: rows by category, of up to 1,000 categories.
    """

    n: int
    n_missing: int
    counts: dict[str, int]

    @classmethod
    def of(cls, texts: np.ndarray, known: Iterable[str] = ()) -> TextSketch:
        """Describe texts (n,), `MISSING_TEXT` where missing; `known` may not occur among them."""
        counts = Counter(texts.tolist())
        n_missing = counts.pop(MISSING_TEXT, 0)
        kept = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MAX_CATEGORIES])
        for text in known:
            kept.setdefault(text, counts.get(text, 0))
        return cls(len(texts), n_missing, kept)

    @property
    def n_present(self) -> int:
        """Number of rows with a value."""
        return self.n - self.n_missing

    @property
    def n_others(self) -> int:
        """Number of rows with a category that is not among `counts`."""
        return self.n_present - sum(self.counts.values())


Sketch = NumberSketch | TextSketch
_KINDS: dict[str, type[Sketch]] = {"number": NumberSketch, "text": TextSketch}


def sketch_of(values: np.ndarray, known: Iterable[str] = (), n_points: int = _MAX_POINTS) -> Sketch:
    """Describe a column of `raw_columns`."""
    if values.dtype == object:
        return TextSketch.of(values, known)
    return NumberSketch.of(values, n_points)


def points_per_column(n_columns: int) -> int:
    """Choose the number of quantiles of each of n columns, so that a model stays small."""
    return int(np.clip(_TOTAL_POINTS // max(n_columns, 1), _MIN_POINTS, _MAX_POINTS))


def fingerprints(encoded: np.ndarray) -> np.ndarray:
    """Compute a 64-bit fingerprint (n,) of each encoded sample (n, ...)."""
    rows = np.ascontiguousarray(encoded).reshape(len(encoded), -1)
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(digests, dtype="<u8")


def find_again(fingerprints: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find samples by their fingerprints, equal ones as often as they are wanted.

    Args:
        fingerprints: (n,) of the samples.
        wanted: (m,) fingerprints.

    Returns:
        Their positions in ascending order, at most m.
    """
    left = Counter(wanted.tolist())
    found = []
    for position in np.flatnonzero(np.isin(fingerprints, wanted)).tolist():
        fingerprint = int(fingerprints[position])
        if left[fingerprint]:
            left[fingerprint] -= 1
            found.append(position)
    return np.array(found, dtype=np.int64)


@dataclass(frozen=True)
class TrainingSketch:
    """What `monitor` compares new samples with.

    Attributes:
        normal: a sketch of each column of the normal rows.
        usual: a sketch of each column of those held-back rows whose score is below `usual_score`;
            empty if too few were held back.
        usual_score: this score; 90 % of the held-back rows have a lower one.
        held_back: fingerprints of the held-back rows, so that another training with them holds back
            the same ones.
    """

    normal: Mapping[str, Sketch]
    usual: Mapping[str, Sketch] = field(default_factory=dict)
    usual_score: float | None = None
    held_back: np.ndarray = field(default_factory=lambda: np.empty(0, "<u8"))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""

        def plain(sketches: Mapping[str, Sketch]) -> dict[str, Any]:
            return {
                name: {"kind": _kind_of(sketch), **asdict(sketch)}
                for name, sketch in sketches.items()
            }

        return {
            "normal": plain(self.normal),
            "usual": plain(self.usual),
            "usual_score": self.usual_score,
            "held_back": base64.b64encode(self.held_back.astype("<u8").tobytes()).decode(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingSketch:
        """Make the sketch that `to_dict` described."""

        def sketches(plain: Mapping[str, Any]) -> dict[str, Sketch]:
            return {
                name: _KINDS[found["kind"]](**{k: v for k, v in found.items() if k != "kind"})
                for name, found in plain.items()
            }

        return cls(
            sketches(values["normal"]),
            sketches(values["usual"]),
            values["usual_score"],
            np.frombuffer(base64.b64decode(values["held_back"]), "<u8"),
        )


def _kind_of(sketch: Sketch) -> str:
    return "number" if isinstance(sketch, NumberSketch) else "text"
