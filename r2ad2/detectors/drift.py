"""What `monitor` finds: tests of scores and of single columns, and advice in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.artefact.calibration import with_margin
from r2ad2.artefact.sketch import NumberSketch, Sketch, TextSketch, sketch_of
from r2ad2.detectors.drift_tests import (
    distance_p_value,
    number_distance,
    outside_p_value,
    share_p_value,
    text_distances,
)
from r2ad2.encoders.columns import MISSING_TEXT
from r2ad2.support.messages import quoted

# Share of the anomalies that may look normal, and of those that may have a category that is new, or
# no value in a column that always had one.
MISSED_SHARE = 0.2
_COLUMNS = [
    "kind",
    "drifted",
    "p_value",
    "finding",
    "missing",
    "missing_before",
    "outside",
    "distance",
]


@dataclass(frozen=True)
class MonitorReport:
    """Whether samples have moved since training, and what in them.

    Attributes:
        drifted: whether they have: `p_value` is at most `level`.
        p_value: probability of findings at least as strong if nothing has moved, corrected for the
            number of tests.
        level: the rate of false alarms.
        anomaly_share: share of the samples that may be anomalies without being a shift.
        n_rows: number of samples.
        n_scored: those that could be scored; the others have missing values.
        flagged_rate: share of them that is predicted anomalous; NaN if there are none.
        flagged_interval: 95 % interval of this rate.
        expected_rate: the promised `false_positive_rate`, else the rate flagged of the held-back
            rows; None if no rows were held back.
        scores: DataFrame with one row per test of the scores: drifted, p_value, finding.
        columns: DataFrame with one row per column: kind ("number" or "text"), drifted, p_value
            (corrected), finding (in words), missing and missing_before (shares), outside (share of
            rows outside the range, or in none of the categories, of training), distance (between
            the distributions, 0 to 1).
        advice: what to do, in words.
        untested: what this model cannot test, in words.
        before: sketches of the training columns, by name.
        after: sketches of the samples' columns, by name.
    """

    drifted: bool
    p_value: float
    level: float
    anomaly_share: float
    n_rows: int
    n_scored: int
    flagged_rate: float
    flagged_interval: tuple[float, float]
    expected_rate: float | None
    scores: pd.DataFrame
    columns: pd.DataFrame
    advice: str
    untested: list[str]
    before: Mapping[str, Sketch] = field(repr=False, default_factory=dict)
    after: Mapping[str, Sketch] = field(repr=False, default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the sketches as plain values for JSON; NaN becomes None."""

        def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
            records = table.rename_axis("name").reset_index().to_dict("records")
            return [{str(k): _plain(v) for k, v in record.items()} for record in records]

        values = {
            name: _plain(getattr(self, name))
            for name in self.__dataclass_fields__
            if name not in ("before", "after", "scores", "columns")
        }
        return {**values, "scores": rows(self.scores), "columns": rows(self.columns)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Finding:
    """The result of one or several tests.

    Attributes:
        p_value: corrected for the tests it consists of.
        text: what was found, in words, if it counts.
    """

    p_value: float
    text: str


def smallest(findings: Iterable[Finding]) -> Finding:
    """Combine findings: the strongest one, corrected for their number."""
    found = list(findings)
    strongest = min(found, key=lambda finding: finding.p_value)
    return Finding(min(1.0, len(found) * strongest.p_value), strongest.text)


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


# ---- scores -------------------------------------------------------------------------------


def score_findings(
    scores: np.ndarray, held_back: np.ndarray, threshold: float, anomaly_share: float
) -> dict[str, Finding]:
    """Compare scores with those of held-back normal samples.

    Args:
        scores: (m,) of the new samples.
        held_back: (n,) as the calibration keeps them.
        threshold: scores above it are flagged.
        anomaly_share: share of the new samples that may be anomalies.
    """
    # Both have the same margin; `_distance` allows for ties that rounding has broken.
    new, old = np.sort(with_margin(scores.astype(np.float32))), np.sort(held_back)
    middle = old[len(old) // 2]
    lower_new, lower_old = new[new < middle], old[old < middle]
    k, k_before = int((scores > threshold).sum()), int((held_back > threshold).sum())
    lower_distance = _distance(lower_new, lower_old)
    distance = _distance(new, old)
    return {
        "all p-values": Finding(
            distance_p_value(distance, len(old), len(new), anomaly_share),
            f"the p-values are not uniform: they differ by up to {percent(distance)}",
        ),
        "p-values above one half": Finding(
            distance_p_value(
                lower_distance, len(lower_old), len(lower_new), anomaly_share * MISSED_SHARE
            ),
            "the p-values of the most normal half are not uniform: they differ by up to "
            f"{percent(lower_distance)}",
        ),
        "flagged": Finding(
            share_p_value(k, len(new), k_before, len(old), anomaly_share),
            f"{percent(k / max(len(new), 1))} of the rows are flagged",
        ),
    }


def _distance(new: np.ndarray, old: np.ndarray) -> float:
    """Compute the greatest difference of the distribution functions just above the old scores."""
    if not len(new) or not len(old):
        return 0.0
    points = old * np.float32(1 + 2e-5)
    shares = [np.searchsorted(x, points, side="right") / len(x) for x in (new, old)]
    return float(np.abs(shares[0] - shares[1]).max())


# ---- columns ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ColumnComparison:
    """Compares a column with that of training.

    Attributes:
        values: (m,) of `raw_columns`.
        looks_normal: (m,) whether a row's score is a usual one, or it has none.
        normal: the sketch of the normal training rows.
        usual: the sketch of those held-back rows whose score is a usual one; None without.
        anomaly_share: share of the new rows that may be anomalies.
    """

    values: np.ndarray
    looks_normal: np.ndarray
    normal: Sketch
    usual: Sketch | None
    anomaly_share: float

    @property
    def _missed(self) -> float:
        return MISSED_SHARE * self.anomaly_share

    def row(self) -> tuple[dict[str, Any], Sketch]:
        """Return the column's row of `MonitorReport.columns`, uncorrected, and its sketch."""
        after = sketch_of(self.values)
        if isinstance(self.normal, TextSketch):
            distance, outside, findings = self._compare_texts(self.normal)
        else:
            distance, outside, findings = self._compare_numbers(self.normal)
        found = smallest([*findings, *self._missing(after)])
        return {
            "kind": "text" if isinstance(self.normal, TextSketch) else "number",
            "p_value": found.p_value,
            "finding": found.text,
            "missing": after.n_missing / max(after.n, 1),
            "missing_before": self.normal.n_missing / max(self.normal.n, 1),
            "outside": outside,
            "distance": distance,
        }, after

    def _missing(self, after: Sketch) -> list[Finding]:
        before, n, m = self.normal.n_missing, self.normal.n, after.n
        # Where training rows were never without a value, few anomalies are.
        counted = self.looks_normal if before else np.ones(m, dtype=bool)
        text = f"{percent(after.n_missing / max(m, 1))} missing, {percent(before / n)} in training"
        tests = [
            (after.n_missing, before, self.anomaly_share),
            (int((self._is_missing & counted).sum()), before, self._missed),
            (m - after.n_missing, n - before, self.anomaly_share),
        ]
        return [Finding(share_p_value(k, m, k0, n, share), text) for k, k0, share in tests]

    @property
    def _is_missing(self) -> np.ndarray:
        if isinstance(self.normal, TextSketch):
            return ~self._is_present_text
        return np.isnan(self.values)

    @property
    def _is_present_text(self) -> np.ndarray:
        return self.values != MISSING_TEXT

    def _compare_numbers(self, normal: NumberSketch) -> tuple[float, float, list[Finding]]:
        present = ~np.isnan(self.values)
        values = np.sort(self.values[present])
        m, n = len(values), normal.n_present
        if not m or not n:
            return 0.0, 0.0, [Finding(1.0, "")]
        distance = number_distance(normal, values)
        middle = normal.points[int(np.searchsorted(normal.shares, 0.5))]
        low, high = normal.points[0], normal.points[-1]
        outside = {
            f"below {low:.6g}, the lowest": (values < low).sum(),
            f"above {high:.6g}, the highest": (values > high).sum(),
        }
        beyond = [f"{percent(k / m)} {where} value of training" for where, k in outside.items()]
        median = f"median {np.median(values):.4g}, {middle:.4g} in training"
        most = int(np.argmax(list(outside.values())))
        mostly_outside = max(outside.values()) / m > distance / 2
        moved = beyond[most] if mostly_outside else f"distribution moved: {median}"
        findings = [Finding(distance_p_value(distance, n, m, self.anomaly_share), moved)]
        usual = np.sort(self.values[present & self.looks_normal])
        if isinstance(self.usual, NumberSketch) and self.usual.n_present:
            findings.append(
                Finding(
                    distance_p_value(
                        number_distance(self.usual, usual),
                        self.usual.n_present,
                        len(usual),
                        self._missed,
                    ),
                    f"distribution moved among rows that look normal: {median}",
                )
            )
        usual_outside = [(usual < low).sum(), (usual > high).sum()]
        findings += [
            Finding(outside_p_value(int(k), m, n, self._missed), text)
            for k, text in zip(usual_outside, beyond, strict=True)
        ]
        return distance, float(sum(outside.values()) / m), findings

    def _compare_texts(self, normal: TextSketch) -> tuple[float, float, list[Finding]]:
        present = self._is_present_text
        counts = _counts(self.values[present])
        m, n = sum(counts.values()), normal.n_present
        if not m or not n:
            return 0.0, 0.0, [Finding(1.0, "")]
        new = {text: k for text, k in counts.items() if text not in normal.counts}
        usual = _counts(self.values[present & self.looks_normal])
        changes = text_distances(normal, counts)
        findings = [self._changed(changes, n, m, self.anomaly_share, normal, counts)]
        if isinstance(self.usual, TextSketch) and self.usual.n_present:
            n_usual, m_usual = self.usual.n_present, sum(usual.values())
            usual_changes = text_distances(self.usual, usual)
            findings.append(
                self._changed(usual_changes, n_usual, m_usual, self._missed, normal, counts)
            )
        named = ", ".join(quoted(text) for text in sorted(new, key=lambda t: (-new[t], t))[:3])
        text = f"new category {named}{', ...' if len(new) > 3 else ''} in "
        text += f"{percent(sum(new.values()) / m)} of the rows"
        # Few anomalies have a category that no training row had, whether they look normal or not.
        k_new = sum(new.values())
        findings.append(Finding(share_p_value(k_new, m, normal.n_others, n, self._missed), text))
        distance = max(map(abs, changes.values()), default=0.0)
        return distance, sum(new.values()) / m, findings

    @staticmethod
    def _changed(
        changes: dict[str, float],
        n: int,
        m: int,
        tolerance: float,
        normal: TextSketch,
        counts: dict[str, int],
    ) -> Finding:
        """Test the greatest change of a category's share, corrected for their number."""
        if not changes or not m:
            return Finding(1.0, "")
        text = max(changes, key=lambda category: abs(changes[category]))
        p_value = len(changes) * distance_p_value(abs(changes[text]), n, m, tolerance)
        share = counts.get(text, 0) / max(sum(counts.values()), 1)
        before = normal.counts.get(text, 0) / max(normal.n_present, 1)
        return Finding(
            min(1.0, p_value),
            f"category {quoted(text)} in {percent(share)} of the rows, {percent(before)} in "
            "training",
        )


def _counts(texts: np.ndarray) -> dict[str, int]:
    found, counts = np.unique(texts.astype(str), return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def table_of(findings: Mapping[str, dict[str, Any]], level: float, weight: float) -> pd.DataFrame:
    """Make `MonitorReport.columns`, or `scores`, correcting p-values for the number of rows.

    Args:
        findings: values by row; their p-values are each row's own.
        level: rows with a corrected p-value up to it have drifted.
        weight: factor of all p-values, for the other tables.
    """
    table = pd.DataFrame.from_dict(dict(findings), orient="index")
    if table.empty:
        return pd.DataFrame(columns=["drifted", "p_value", "finding"])
    table["p_value"] = np.minimum(1.0, table["p_value"] * len(table) * weight)
    table["drifted"] = table["p_value"] <= level
    table.loc[~table["drifted"], "finding"] = ""
    return table[[name for name in _COLUMNS if name in table]]


def advise(scores: pd.DataFrame, columns: pd.DataFrame) -> str:
    """Say what to do about findings."""
    moved = columns.index[columns["drifted"].astype(bool)].tolist() if len(columns) else []
    names = ", ".join(quoted(name) for name in moved[:5]) + (", ..." if len(moved) > 5 else "")
    if moved:
        return (
            f"Look at {'columns' if len(moved) > 1 else 'column'} {names} first: if the source is "
            "wrong, correct it. If this is how normal rows look now, retrain with recent rows; "
            "until then, recalibrate with recent normal rows (calibrate) so that the "
            "false-positive rate holds."
        )
    if len(scores) and scores["drifted"].any():
        return (
            "No single column has moved, but the scores have: recalibrate with recent normal rows "
            "(calibrate). If the scores are higher because of more anomalies, review the flagged "
            "rows. If it persists, retrain with recent rows."
        )
    return "Nothing to do."
