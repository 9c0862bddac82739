"""How numeric columns are scaled: by their range, by their quantiles, or robustly."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from scipy.special import ndtr, ndtri

from r2ad2.encoders.base import LARGEST, TINY, require_finite_numbers, scale
from r2ad2.encoders.column_sample import ColumnSample, center_and_spread, limited_range
from r2ad2.support.messages import require_known

_MAX_KNOTS = 256  # of a column
_MAX_ALL_KNOTS = 1 << 20  # of all columns: they are part of the model file


class Scaling(abc.ABC):
    """Scales numeric columns to [0, 1] on the normal training rows.

    Args:
        minimum: smallest normal value of each column.
        maximum: greatest normal value of each column.
    """

    kind: ClassVar[str]  # the name that users and model files call it by
    needs_sample: ClassVar[bool] = True  # whether `learn` looks at more than minimum and maximum

    def __init__(self, minimum: Sequence[float], maximum: Sequence[float]):
        self.minimum = np.asarray(minimum, dtype=np.float64)
        self.maximum = np.asarray(maximum, dtype=np.float64)

    @classmethod
    @abc.abstractmethod
    def learn(
        cls, minimum: Sequence[float], maximum: Sequence[float], samples: Sequence[ColumnSample]
    ) -> Scaling:
        """Learn the scaling from the normal rows.

        Args:
            minimum: smallest normal value of each column.
            maximum: greatest normal value of each column.
            samples: one per column; none if they are not needed.
        """

    @abc.abstractmethod
    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Scale finite numbers (batch, columns) in double precision to a float32 tensor."""

    def get_config(self) -> dict[str, Any]:
        """Return plain values from which `scaling_from` makes the scaling again."""
        return {"kind": self.kind}

    def _numbers(self, **learnt: Sequence[float]) -> list[np.ndarray]:
        """Return learnt numbers, one per column, as arrays (columns,).

        Raises:
            ValueError: for another number of them, or if one is not finite; the message names the
                argument.
        """
        self._require_columns(**learnt)
        require_finite_numbers(**learnt)
        return [np.asarray(numbers, dtype=np.float64) for numbers in learnt.values()]

    def _require_columns(self, **learnt: Sequence[Any]) -> None:
        """Check that there is one value per column.

        Raises:
            ValueError: if there is not; the message names the argument.
        """
        for name, values in learnt.items():
            if len(values) != len(self.minimum):
                raise ValueError(
                    f"{name} of the scaling {self.kind!r} has {len(values)} entries for "
                    f"{len(self.minimum)} columns"
                )


class MinMaxScaling(Scaling):
    """The minimum becomes 0 and the maximum 1, as published; see `scale`."""

    kind = "minmax"
    needs_sample = False

    def __init__(self, minimum: Sequence[float], maximum: Sequence[float]):
        super().__init__(minimum, maximum)
        self.lowest, self.highest = self.minimum, self.maximum

    @classmethod
    def learn(
        cls, minimum: Sequence[float], maximum: Sequence[float], samples: Sequence[ColumnSample]
    ) -> MinMaxScaling:
        """Keep the ranges."""
        return cls(minimum, maximum)

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Scale finite numbers (batch, columns)."""
        return scale(values, self.lowest, self.highest)


class LimitedScaling(MinMaxScaling):
    """Scales by the range of the normal values without extreme outliers.

    The result is single precision, in which a column that holds a -1e9, say as a code for a
    missing value, has no room for its usual values: all of them would become 1. Outliers still have
    values of their own, below 0 or above 1. Most columns need no limit and are scaled as by
    `MinMaxScaling`; see `limited_range`.

    Args:
        minimum: smallest normal value of each column.
        maximum: greatest normal value of each column.
        lowest: for each column, what becomes 0.
        highest: for each column, what becomes 1.

    Raises:
        ValueError: for numbers that cannot be used.
    """

    kind = "limited"
    needs_sample = True

    def __init__(
        self,
        minimum: Sequence[float],
        maximum: Sequence[float],
        lowest: Sequence[float],
        highest: Sequence[float],
    ):
        super().__init__(minimum, maximum)
        self.lowest, self.highest = self._numbers(lowest=lowest, highest=highest)
        if (self.lowest > self.highest).any():
            raise ValueError("lowest of the scaling 'limited' must not exceed highest")

    @classmethod
    def learn(
        cls, minimum: Sequence[float], maximum: Sequence[float], samples: Sequence[ColumnSample]
    ) -> MinMaxScaling:
        """Limit the ranges where the sampled values are a tiny part of them."""
        limits = [
            limited_range(sample.values, low, high)
            for sample, low, high in zip(samples, minimum, maximum, strict=True)
        ]
        if limits == list(zip(minimum, maximum, strict=True)):
            return MinMaxScaling(minimum, maximum)
        return cls(minimum, maximum, *zip(*limits, strict=True))

    def get_config(self) -> dict[str, Any]:
        """Return the limits."""
        learnt = {"lowest": self.lowest.tolist(), "highest": self.highest.tolist()}
        return {"kind": self.kind, **learnt}


@dataclass(frozen=True)
class Curve:
    """The piecewise linear curves of all columns as arrays, for graphs.

    Attributes:
        unit: (columns,) factor of the values, one half for ranges beyond the largest double.
        knots: (columns, n) in this unit; the last one is repeated where a column has fewer.
        segments: (columns, n - 1, 4) start, width (infinite where it is 0), level and rise.
        span: (columns,) distance in this unit by which values beyond the range are measured.
    """

    unit: np.ndarray
    knots: np.ndarray
    segments: np.ndarray
    span: np.ndarray


class QuantileScaling(Scaling):
    """Scales by ranks: heavy tails cannot dominate a column.

    A value becomes its normal score, the quantile of the standard normal distribution that belongs
    to the share of normal rows with lower values. The scores are shifted and scaled so that the
    minimum becomes 0 and the maximum 1; a column of two values is scaled as by `MinMaxScaling`.
    Shares themselves would squeeze the tails, where anomalies are, into a few percent of the range.

    The curve is piecewise linear between up to 256 knots (fewer with over 4,096 columns); a value
    that occurs many times lies in the middle of its step. Beyond the range it grows with the
    logarithm of the distance, by log(1 + distance / (maximum - minimum)). Far outliers thus remain
    distinguishable and even the largest double stays below 800.

    Args:
        minimum: smallest normal value of each column.
        maximum: greatest normal value of each column.
        knots: for each column, ascending values from minimum to maximum.
        levels: for each column, the results at its knots, ascending from 0 to 1; a constant column
            has a single knot with level 0.

    Raises:
        ValueError: for knots and levels of another form.
    """

    kind = "quantile"

    def __init__(
        self,
        minimum: Sequence[float],
        maximum: Sequence[float],
        knots: Sequence[Sequence[float]],
        levels: Sequence[Sequence[float]],
    ):
        super().__init__(minimum, maximum)
        self.knots = [np.asarray(column, dtype=np.float64) for column in knots]
        self.levels = [np.asarray(column, dtype=np.float64) for column in levels]
        self._require_columns(knots=self.knots, levels=self.levels)
        for values, results in zip(self.knots, self.levels, strict=True):
            require_finite_numbers(knots=values, levels=results)
            _require_ascending(values, results)
        # Repeated last knots fill columns up to a common number of at least two.
        n_knots = max([2, *map(len, self.knots)])
        unit = np.where(_too_wide(self.minimum, self.maximum), 0.5, 1.0)
        all_knots = _filled(self.knots, n_knots) * unit[:, np.newaxis]
        all_levels = _filled(self.levels, n_knots)
        span = (self.maximum * unit) - (self.minimum * unit)
        widths = np.diff(all_knots)
        widths = np.where(widths < TINY, np.inf, widths)
        rises = np.diff(all_levels)
        self.curve = Curve(
            unit,
            all_knots,
            np.stack([all_knots[:, :-1], widths, all_levels[:, :-1], rises], 2),
            np.where(span < TINY, 1.0, span),
        )

    @classmethod
    def learn(
        cls, minimum: Sequence[float], maximum: Sequence[float], samples: Sequence[ColumnSample]
    ) -> QuantileScaling:
        """Place knots where the sampled values are."""
        n_knots = int(np.clip(_MAX_ALL_KNOTS // max(len(minimum), 1), 8, _MAX_KNOTS))
        curves = [
            _distribution(sample.values, low, high, n_knots)
            for sample, low, high in zip(samples, minimum, maximum, strict=True)
        ]
        knots, levels = ([curve[i].tolist() for curve in curves] for i in (0, 1))
        return cls(minimum, maximum, knots, levels)

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Scale finite numbers (batch, columns)."""
        values = tf.ensure_shape(values, (None, len(self.minimum)))  # not known in some exports
        curve = self.curve
        columns = tf.transpose(tf.cast(values, tf.float64) * curve.unit)
        lowest, highest = curve.knots[:, :1], curve.knots[:, -1:]
        inside = tf.clip_by_value(columns, lowest, highest)
        after = tf.searchsorted(curve.knots, inside, side="right")
        segment = tf.clip_by_value(after - 1, 0, curve.knots.shape[1] - 2)
        found = tf.gather(tf.constant(curve.segments), segment, batch_dims=1)
        start, width, level, rise = tf.unstack(found, axis=2)
        results = level + (inside - start) / width * rise
        span = curve.span[:, np.newaxis]
        above, below = (
            tf.math.log1p(tf.clip_by_value(distance / span, 0.0, LARGEST))
            for distance in (columns - highest, lowest - columns)
        )
        return tf.cast(tf.transpose(results + above - below), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Return knots and levels."""
        return {
            "kind": self.kind,
            "knots": [column.tolist() for column in self.knots],
            "levels": [column.tolist() for column in self.levels],
        }


class RobustScaling(Scaling):
    """Squashes a column to (0, 1): sigmoid((value - center) / spread).

    The center is the median of the normal rows, the spread their interquartile range or, where
    that is 0, their standard deviation or, for constant columns, 1.

    Args:
        minimum: smallest normal value of each column.
        maximum: greatest normal value of each column.
        center: one number per column.
        spread: one positive number per column.

    Raises:
        ValueError: for numbers that cannot be used.
    """

    kind = "robust"

    def __init__(
        self,
        minimum: Sequence[float],
        maximum: Sequence[float],
        center: Sequence[float],
        spread: Sequence[float],
    ):
        super().__init__(minimum, maximum)
        self.center, self.spread = self._numbers(center=center, spread=spread)
        if (self.spread < TINY).any():
            raise ValueError("spread of the scaling 'robust' must be positive")

    @classmethod
    def learn(
        cls, minimum: Sequence[float], maximum: Sequence[float], samples: Sequence[ColumnSample]
    ) -> RobustScaling:
        """Compute medians and spreads of the sampled values."""
        columns = [center_and_spread(sample.values) for sample in samples]
        return cls(minimum, maximum, [c[0] for c in columns], [c[1] for c in columns])

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Scale finite numbers (batch, columns)."""
        # Halves, because a difference may exceed the largest double.
        distance = tf.cast(values, tf.float64) / 2 - self.center / 2
        limited = tf.clip_by_value(distance / (self.spread / 2), -LARGEST, LARGEST)
        return tf.cast(tf.sigmoid(limited), tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Return centers and spreads."""
        learnt = {"center": self.center.tolist(), "spread": self.spread.tolist()}
        return {"kind": self.kind, **learnt}


SCALINGS: dict[str, type[Scaling]] = {
    scaling.kind: scaling
    for scaling in (MinMaxScaling, LimitedScaling, QuantileScaling, RobustScaling)
}


def scaling_from(
    config: Mapping[str, Any] | None, minimum: Sequence[float], maximum: Sequence[float]
) -> Scaling:
    """Make a scaling from the result of `Scaling.get_config`.

    Args:
        config: None, as in files of version 0.1.0, means min-max scaling.
        minimum: smallest normal value of each column.
        maximum: greatest normal value of each column.

    Raises:
        ValueError: for an unknown kind, or numbers that cannot be used.
    """
    learnt = dict(config or {"kind": MinMaxScaling.kind})
    kind = learnt.pop("kind", None)
    require_known([kind], SCALINGS, "scaling")
    return SCALINGS[kind](minimum, maximum, **learnt)


def _too_wide(minimum: np.ndarray, maximum: np.ndarray) -> np.ndarray:
    """Find the columns whose range exceeds the largest double."""
    with np.errstate(over="ignore"):
        return np.isinf(maximum - minimum)


def _filled(columns: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Repeat the last value of columns up to a common length: (columns, length)."""
    rows = [np.pad(column, (0, length - len(column)), mode="edge") for column in columns]
    return np.reshape(rows, (len(columns), length))


def _require_ascending(knots: np.ndarray, levels: np.ndarray) -> None:
    is_curve = knots.ndim == 1 and knots.shape == levels.shape and 0 < len(knots) <= _MAX_KNOTS
    if not is_curve or (knots[1:] <= knots[:-1]).any() or (levels[1:] < levels[:-1]).any():
        raise ValueError(
            f"knots and levels of the scaling 'quantile' must be 1 to {_MAX_KNOTS} ascending pairs "
            "per column"
        )


def _distribution(
    values: np.ndarray, low: float, high: float, n_knots: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose up to n_knots knots of a column's normal scores.

    Args:
        values: sampled values (n,), ascending.
        low: minimum of the whole column.
        high: maximum of the whole column.
        n_knots: maximum number of knots.

    Returns:
        Knots and levels.
    """
    if low == high:
        return np.array([low]), np.zeros(1)
    n = len(values) + 2  # the minimum and the maximum once more: nothing else has their levels
    end = -ndtri(0.5 / n)
    inner = np.unique(values)
    if len(inner) > n_knots - 2:
        shares = ndtr(np.linspace(-end, end, n_knots - 2))
        inner = np.unique(values[(shares * (len(values) - 1)).round().astype(int)])
    inner = inner[(inner > low) & (inner < high)]
    before, after = (np.searchsorted(values, inner, side=side) for side in ("left", "right"))
    shares = ((before + after) / 2 + 1) / n
    return np.array([low, *inner, high]), np.array([0.0, *(ndtri(shares) / end + 1) / 2, 1.0])
