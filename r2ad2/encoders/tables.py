"""Encoder of mixed tables: scaled numbers, one-hot slots for categories, times of day and week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from r2ad2.encoders.base import InputEncoder, fill_missing, require_finite_numbers
from r2ad2.encoders.columns import (
    MISSING_TEXT,
    UNKNOWN_TEXT,
    as_known_texts,
    category_codes,
    check_table,
    column_names,
    stack_numbers,
)
from r2ad2.encoders.scaling import scaling_from
from r2ad2.encoders.statistics import TableStatistics
from r2ad2.support.messages import quoted, suggestion
from r2ad2.tables.dates import as_seconds

# A timestamp becomes its position in each of these periods (seconds). The date itself is left out:
# rows to score come later than all training rows.
PERIODS = {"time of day": 86_400, "day of the week": 7 * 86_400}
# Keras' lookups take neither an empty text nor an empty vocabulary.
_EMPTY_TEXT = "\x1a<empty>"
# Prepared numbers are one array rather than one per column; not a name that a column may have.
NUMBERS = "\x1a<numbers>"
_WAVES = {"sine": tf.sin, "cosine": tf.cos}


@keras.saving.register_keras_serializable("r2ad2")
class TableEncoder(InputEncoder):
    """Encoding of a table with numeric, boolean, text, category and timestamp columns.

    Ranges are learnt from the normal training rows, categories from all training rows. The encoded
    sample holds the scaled numbers; sine and cosine of the time of day and of the week of each
    timestamp column; the slots of each category column (the first slot is for values that did not
    occur in training); and, if missing values are allowed, a flag for each column.

    Args:
        columns: all column names in the order of training.
        ranges: (minimum, maximum) of each numeric column, by name.
        categories: texts of each category column, by name.
        timestamps: names of the timestamp columns.
        fills: numbers that replace missing ones, by name; None if missing values are not allowed.
            With fills, an empty text that did not occur in training counts as missing.
        types: "int64" or "bool" for numeric columns that had such a type in training, by name.
        scaling: how to scale the numeric columns, as returned by `Scaling.get_config`; None: by
            their ranges.
    """

    def __init__(
        self,
        columns: Sequence[str],
        ranges: Mapping[str, Sequence[float]],
        categories: Mapping[str, Sequence[str]],
        timestamps: Sequence[str] = (),
        fills: Mapping[str, float] | None = None,
        types: Mapping[str, str] | None = None,
        scaling: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.types = dict(types or {})
        self.columns = list(columns)
        self.ranges = {name: (float(low), float(high)) for name, (low, high) in ranges.items()}
        self.categories = {name: list(values) for name, values in categories.items()}
        self.timestamps = list(timestamps)
        self.fills = None if fills is None else {name: float(v) for name, v in fills.items()}
        require_finite_numbers(
            ranges=list(self.ranges.values()), fills=list((self.fills or {}).values())
        )
        low, high = zip(*self.ranges.values(), strict=True) if self.ranges else ((), ())
        self.scaling = scaling_from(scaling, low, high)
        self.codes = {name: category_codes(values) for name, values in self.categories.items()}
        self._lookups = [
            keras.layers.StringLookup(
                vocabulary=[text or _EMPTY_TEXT for text in codes] or [MISSING_TEXT],
                num_oov_indices=1,
                oov_token=UNKNOWN_TEXT,
                output_mode="int",
            )
            for codes in self.codes.values()
        ]
        for layer in self._lookups:
            layer.build(None)

    @classmethod
    def learn(
        cls,
        samples: pd.DataFrame,
        is_normal: np.ndarray,
        in_use: np.ndarray | None = None,
        missing: str = "error",
        scaling: str = "minmax",
    ) -> TableEncoder:
        """Learn the scaling from the normal rows and categories from all rows in use."""
        statistics = TableStatistics(missing, scaling)
        statistics.update(samples, is_normal, in_use)
        return cls(**statistics.result())

    @property
    def lookup_layers(self) -> list[keras.layers.Layer]:
        """One layer per category column."""
        return self._lookups

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of each column: "number", "timestamp" or "text"."""
        return {
            **dict.fromkeys(self.ranges, "number"),
            **dict.fromkeys(self.timestamps, "timestamp"),
            **dict.fromkeys(self.categories, "text"),
        }

    @property
    def number_names(self) -> list[str]:
        """Columns that `encode` takes as numbers: the numeric ones, then the timestamps."""
        return [*self.ranges, *self.timestamps]

    @property
    def missing(self) -> str:
        """How missing values are treated: "error" or "indicator"."""
        return "error" if self.fills is None else "indicator"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(encoded features,)."""
        return (len(self.feature_names),)

    @property
    def feature_names(self) -> list[tuple[str, str | None]]:
        """Source column of each encoded feature, and what the feature is (None: the number itself).

        The slot of unknown values has the category "".
        """
        times = [
            (name, f"{period} ({wave})")
            for name in self.timestamps
            for period in PERIODS
            for wave in _WAVES
        ]
        slots = [
            (name, value) for name, values in self.categories.items() for value in ["", *values]
        ]
        flags = [] if self.fills is None else [(name, "missing") for name in self._flagged]
        return [*((name, None) for name in self.ranges), *times, *slots, *flags]

    @property
    def _flagged(self) -> list[str]:
        return [*self.number_names, *self.categories]

    @property
    def feature_groups(self) -> dict[str, np.ndarray]:
        """Positions of each column's features, in the order of the columns."""
        positions: dict[str, list[int]] = {name: [] for name in self.columns}
        for position, (source, _) in enumerate(self.feature_names):
            positions[source].append(position)
        return {name: np.array(found, dtype=np.int64) for name, found in positions.items()}

    def typical(self, encoded: np.ndarray) -> np.ndarray:
        """Return a typical sample: medians, and the most frequent slot of each category column."""
        typical, groups = super().typical(encoded), self.feature_groups
        for name, values in self.categories.items():
            slots = groups[name][: len(values) + 1]
            typical[slots] = np.arange(len(slots)) == encoded[:, slots].mean(axis=0).argmax()
        return typical

    def prepare(self, samples: Any) -> dict[str, np.ndarray]:
        """Check the columns, in any order.

        Returns:
            All numbers and timestamps (n, columns), in the order of `number_names`, under the name
            `NUMBERS`; and the texts (n,) of each category column, under its own name.
        """
        if not isinstance(samples, pd.DataFrame):
            raise ValueError(
                f"the detector was trained on a table with {len(self.columns)} columns, got "
                f"{type(samples).__name__}: pass a DataFrame with the same columns"
            )
        names = column_names(samples)
        given, expected = set(names), set(self.columns)
        absent = [name for name in self.columns if name not in given]
        extra = [name for name in names if name not in expected]
        if absent or extra:
            problems = [
                f"{kind} column {', '.join(map(quoted, which[:5]))}{', ...' if which[5:] else ''}"
                for kind, which in (("missing", absent), ("unexpected", extra))
                if which
            ]
            raise ValueError(
                f"columns differ from those of training: {'; '.join(problems)}"
                f"{suggestion(absent, extra, names)}"
            )
        table = check_table(samples, self.missing)
        prepared = {
            name: as_known_texts(name, table[name], known)
            for name, known in self.categories.items()
        }
        if self.number_names:
            numbers = stack_numbers(table, list(self.ranges))
            seconds = [as_seconds(name, table[name])[:, np.newaxis] for name in self.timestamps]
            prepared[NUMBERS] = np.concatenate([numbers, *seconds], axis=1) if seconds else numbers
        return prepared

    def call(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Encode what `prepare` returns, or a dict of column tensors (batch,).

        Numbers and seconds since 1970 are stacked under the name `NUMBERS`, or one tensor per
        column, as a server receives them.
        """
        numbers = None
        if NUMBERS in inputs:
            numbers = inputs[NUMBERS]
        elif self.number_names:
            columns = [tf.reshape(inputs[name], [-1]) for name in self.number_names]
            numbers = tf.stack([tf.cast(column, tf.float64) for column in columns], axis=1)
        codes = {}
        for (name, values), lookup in zip(self.categories.items(), self._lookups, strict=True):
            empty = MISSING_TEXT if self.fills is not None and "" not in values else _EMPTY_TEXT
            texts = tf.reshape(inputs[name], [-1])
            texts = tf.where(texts == "", empty, texts)
            found = lookup(texts)
            numbered = self.codes[name]
            if len(numbered) > len(values):  # some categories have two spellings
                found = tf.gather(tf.constant([0, *numbered.values()], tf.int64), found)
            codes[name] = tf.where(texts == MISSING_TEXT, tf.constant(-1, tf.int64), found)
        return self.encode(numbers, codes)

    def encode(self, numbers: tf.Tensor | None, codes: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Encode stacked number columns and numbered categories.

        Args:
            numbers: float64 tensor (batch, columns), in the order of `number_names`; NaN where
                missing.
            codes: integer tensor (batch,) of each category column: 0 for unknown texts, else one
                more than the text's position in `categories`; negative where missing.
        """
        parts, flags = [], []
        n_numbers = len(self.ranges)
        if numbers is not None and self.number_names:
            if self.fills is not None:
                fills = [self.fills.get(name, 0.0) for name in self.number_names]
                numbers, missing = fill_missing(numbers, fills)
                flags.append(missing)
            if n_numbers:
                parts.append(self.scaling(numbers[:, :n_numbers]))
            if self.timestamps:
                parts.append(_cycles(numbers[:, n_numbers:]))
        for name, values in self.categories.items():
            parts.append(tf.one_hot(codes[name], len(values) + 1, dtype=tf.float32))
            flags.append(tf.cast(codes[name] < 0, tf.float32)[:, tf.newaxis])
        return tf.concat(parts + (flags if self.fills is not None else []), axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return columns, ranges, categories, timestamps, fills, types and scaling."""
        return {
            "name": self.name,
            "columns": self.columns,
            "ranges": {name: list(limits) for name, limits in self.ranges.items()},
            "categories": self.categories,
            "timestamps": self.timestamps,
            "fills": self.fills,
            "types": self.types,
            "scaling": self.scaling.get_config(),
        }


def _cycles(seconds: tf.Tensor) -> tf.Tensor:
    """Compute the position of timestamps (batch, columns) in each period: (batch, 4 * columns).

    The values lie in [0, 1]. As on a clock face, late at night is close to early in the morning.
    """
    waves = [
        (wave(2 * np.pi / period * seconds) + 1) / 2
        for period in PERIODS.values()
        for wave in _WAVES.values()
    ]
    stacked = tf.stack(waves, axis=2)
    return tf.cast(tf.reshape(stacked, [-1, seconds.shape[1] * len(waves)]), tf.float32)
