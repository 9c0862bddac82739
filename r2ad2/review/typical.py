"""What is typical of normal rows, column by column, and how a row compares with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from r2ad2.review.rows import column_texts, is_number

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SHOWN_VALUES = 3
_MOST_ROWS = 50_000


@dataclass(frozen=True)
class Comparison:
    """A value of a row beside the typical ones of its column.

    Attributes:
        name: of the column.
        value: the row's value as a text; empty if missing.
        typical: typical values in words.
        unusual: how unusual the value is, in words; empty if it is not.
        place: where the value lies in [0, 1], from the lowest to the highest normal value; None
            for texts and missing values.
        box: the places of the 5 %, 25 %, 50 %, 75 % and 95 % quantiles; empty for texts.
    """

    name: str
    value: str
    typical: str
    unusual: str
    place: float | None = None
    box: Sequence[float] = ()


class TypicalValues:
    """Quantiles of numbers and frequencies of texts among normal rows.

    Args:
        table: normal rows; up to 50,000 of them are used.
    """

    def __init__(self, table: pd.DataFrame):
        if len(table) > _MOST_ROWS:
            table = table.sample(_MOST_ROWS, random_state=0)
        self.n_rows = len(table)
        self._numbers: dict[str, np.ndarray] = {}
        self._shares: dict[str, pd.Series] = {}
        for name in map(str, table):
            column = table[name]
            if is_number(column):
                values = column.to_numpy(np.float64, na_value=np.nan)
                self._numbers[name] = np.sort(values[np.isfinite(values)])
            elif not pd.api.types.is_datetime64_any_dtype(column.dtype):
                texts = pd.Series(column_texts(column))
                self._shares[name] = texts.value_counts(normalize=True)

    def compare(self, row: pd.DataFrame) -> list[Comparison]:
        """Compare the only row of a table, column by column."""
        return [self._of_column(name, row[name]) for name in map(str, row)]

    def _of_column(self, name: str, column: pd.Series) -> Comparison:
        text = column_texts(column)[0]
        if name in self._numbers and len(self._numbers[name]):
            return _of_number(name, text, column.iloc[0], self._numbers[name])
        if name in self._shares:
            return self._of_text(name, text)
        return Comparison(name, text, "", "")

    def _of_text(self, name: str, text: str) -> Comparison:
        shares = self._shares[name]
        top = ", ".join(
            f"{value or '(empty)'} {_percent(share)}"
            for value, share in shares.head(_SHOWN_VALUES).items()
        )
        share = float(shares.get(text, 0.0))
        unusual = "never among normal rows" if share == 0 else ""
        if 0 < share < 0.01:
            unusual = f"rare: {_percent(share)} of normal rows"
        return Comparison(name, text, top, unusual)


def _of_number(name: str, text: str, value: float, values: np.ndarray) -> Comparison:
    q05, q25, median, q75, q95 = np.quantile(values, _QUANTILES)
    typical = f"{median:.4g} (90 % between {q05:.4g} and {q95:.4g})"
    low, high = float(values[0]), float(values[-1])
    width = (high - low) or 1.0
    box = [float((q - low) / width) for q in (q05, q25, median, q75, q95)]
    if text == "":
        return Comparison(name, "", typical, "missing", None, box)
    value = float(value)
    above = float((values >= value).mean())
    below = float((values <= value).mean())
    unusual = ""
    if value > high:
        unusual = "above all normal rows"
    elif value < low:
        unusual = "below all normal rows"
    elif min(above, below) < 0.025:
        side = "higher" if above < below else "lower"
        unusual = f"{side} than {_percent(1 - min(above, below))} of normal rows"
    return Comparison(name, text, typical, unusual, float((value - low) / width), box)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
