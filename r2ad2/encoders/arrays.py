"""Encoders of numeric arrays: feature vectors and images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf
from sklearn.utils import check_array

from r2ad2.encoders.base import (
    InputEncoder,
    InputTypeError,
    fill_missing,
    mean_of_present,
    require_finite_numbers,
    scale,
)
from r2ad2.encoders.column_sample import ColumnSample
from r2ad2.encoders.scaling import SCALINGS, scaling_from
from r2ad2.encoders.sparse import (
    SparseRows,
    column_means,
    column_ranges,
    dense_columns,
    places,
    summed,
)
from r2ad2.support.messages import count, reason_of, shortened

logger = logging.getLogger(__name__)

_PATCHES = 7  # maximum number along each side of an image
_FEWEST_STEPS = 16  # of single precision between the darkest and the brightest pixel
_CHANNELS = (1, 2, 3, 4)  # grey, with transparency, RGB, RGBA


def _require_finite(array: np.ndarray, missing: str = "error") -> None:
    """Check for missing or infinite values; the error names the first columns or images."""
    finite = np.isfinite(array) if missing == "error" else ~np.isinf(array)
    if finite.all():
        return
    if array.ndim == 2:
        _refuse(np.flatnonzero(~finite.all(axis=1)), np.flatnonzero(~finite.all(axis=0)))
    images = np.flatnonzero(~finite.reshape(len(array), -1).all(axis=1))
    raise ValueError(
        f"Input X contains NaN or infinity in {count(len(images), 'image')}, first in image "
        f"{images[0]}: fill or drop these first"
    )


def _require_finite_stored(matrix: Any, missing: str) -> None:
    """Check the values of a CSR matrix like `_require_finite`."""
    finite = np.isfinite(matrix.data) if missing == "error" else ~np.isinf(matrix.data)
    if not finite.all():
        _refuse(*places(matrix, ~finite))


def _refuse(rows: np.ndarray, columns: np.ndarray) -> None:
    named = ", ".join(str(column) for column in columns[:5])
    raise ValueError(
        f"Input X contains NaN or infinity in {count(len(rows), 'row')} (column {named}"
        f"{', ...' if len(columns) > 5 else ''}): fill or drop these values first, or train "
        'with missing="indicator" if they are NaN'
    )


@keras.saving.register_keras_serializable("r2ad2")
class VectorEncoder(InputEncoder):
    """Scaling of feature vectors (n, features), learnt from the normal training rows.

    Args:
        minimum: one number per column.
        maximum: one number per column.
        fills: numbers that replace missing values, one per column; a missing-value flag per
            column is then appended. None if missing values are not allowed.
        scaling: how to scale, as returned by `Scaling.get_config`; None: by the range.
    """

    def __init__(
        self,
        minimum: Sequence[float],
        maximum: Sequence[float],
        fills: Sequence[float] | None = None,
        scaling: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.minimum = [float(value) for value in minimum]
        self.maximum = [float(value) for value in maximum]
        self.fills = None if fills is None else [float(value) for value in fills]
        require_finite_numbers(minimum=self.minimum, maximum=self.maximum, fills=self.fills or ())
        self.scaling = scaling_from(scaling, self.minimum, self.maximum)

    @staticmethod
    def check(samples: Any, missing: str = "error") -> Any:
        """Return float64 samples (n, features), finite except for allowed NaN.

        Sparse ones stay sparse, as a CSR matrix.
        """
        try:
            array = check_array(
                samples, accept_sparse="csr", dtype=np.float64, ensure_all_finite=False
            )
        except (TypeError, OverflowError) as error:
            raise InputTypeError(
                f"Input X holds a value that is not a number: {reason_of(error)}"
            ) from error
        except ValueError as error:
            if np.iscomplexobj(samples):
                message = "Complex data not supported: split or drop complex numbers in X"
                raise ValueError(message) from error
            raise ValueError(shortened(str(error))) from error
        if scipy.sparse.issparse(array):
            array = summed(array)
            _require_finite_stored(array, missing)
        else:
            _require_finite(array, missing)
        return array

    @classmethod
    def learn(
        cls,
        samples: Any,
        is_normal: np.ndarray,
        in_use: np.ndarray | None = None,
        missing: str = "error",
        scaling: str = "minmax",
    ) -> VectorEncoder:
        """Learn each column's range, and what else the scaling needs, from the normal rows."""
        normal = cls.check(samples, missing)[is_normal]
        is_sparse = scipy.sparse.issparse(normal)
        # These skip NaN; a column without a single normal value is constant.
        low, high = (
            column_ranges(normal)
            if is_sparse
            else (f.reduce(normal, axis=0) for f in (np.fmin, np.fmax))
        )
        low, high = np.nan_to_num(low), np.nan_to_num(high)
        scaling_type, sampled = SCALINGS[scaling], []
        if scaling_type.needs_sample:
            columns = dense_columns(normal) if is_sparse else normal.T
            sampled = ColumnSample.of_columns(columns, np.flatnonzero(is_normal))
        learnt = scaling_type.learn(low, high, sampled).get_config()
        if missing == "error":
            return cls(low, high, scaling=learnt)
        means = column_means(normal) if is_sparse else mean_of_present(normal)[0]
        return cls(low, high, means.tolist(), learnt)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(features,); twice as many with missing-value flags."""
        return (len(self.minimum) * (1 if self.fills is None else 2),)

    @property
    def feature_groups(self) -> dict[str, np.ndarray]:
        """Positions of the columns "x0", "x1", ..."""
        n_columns = len(self.minimum)
        return {f"x{i}": np.arange(i, self.sample_shape[0], n_columns) for i in range(n_columns)}

    def prepare(self, samples: Any) -> np.ndarray | SparseRows:
        """Check the number of columns and that all values are finite."""
        array = self.check(samples, "error" if self.fills is None else "indicator")
        if array.shape[1] != len(self.minimum):
            raise ValueError(
                f"X has {array.shape[1]} features, but {type(self).__name__} is expecting "
                f"{len(self.minimum)} features as input"
            )
        return SparseRows(array) if scipy.sparse.issparse(array) else array

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Scale (batch, features)."""
        if self.fills is None:
            return self.scaling(inputs)
        filled, flags = fill_missing(tf.cast(inputs, tf.float64), self.fills)
        return tf.concat([self.scaling(filled), flags], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Return the learnt ranges, fills and scaling."""
        return {
            "name": self.name,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "fills": self.fills,
            "scaling": self.scaling.get_config(),
        }


def _are_bytes(images: np.ndarray) -> bool:
    """Whether whole numbers, which must not be booleans, lie in 0, ..., 255."""
    if images.dtype in (np.uint8, bool):  # bytes need not be looked at
        return images.dtype == np.uint8
    return images.min() >= 0 and images.max() <= 255


def _warn_of_channels_first(shape: tuple[int, ...]) -> None:
    """Warn of images (n, channels, height, width), which would count as very low and wide."""
    if len(shape) == 4 and shape[1] in _CHANNELS and min(shape[2:]) > max(_CHANNELS):
        logger.warning(
            "images of shape %s count as %d x %d pixels with %d channels; they look like "
            "(channels, height, width): if so, pass X.transpose(0, 2, 3, 1)",
            shape[1:],
            *shape[1:],
        )


@keras.saving.register_keras_serializable("r2ad2")
class ImageEncoder(InputEncoder):
    """Scaling of images (n, height, width[, channels]) with one range for all pixels.

    Bytes are divided by 255. Other images stay unchanged if all normal training pixels lie in
    [0, 1]; otherwise they are scaled by the range of the normal pixels.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        minimum: float,
        maximum: float,
        integer: bool,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_shape = tuple(int(size) for size in image_shape)
        self.minimum = float(minimum)
        self.maximum = float(maximum)
        self.integer = bool(integer)
        require_finite_numbers(minimum=self.minimum, maximum=self.maximum)

    @staticmethod
    def check(samples: Any) -> np.ndarray:
        """Return the samples as a finite array (n, height, width, channels)."""
        if scipy.sparse.issparse(samples):
            raise InputTypeError("images must be an array, got a sparse matrix: pass X.toarray()")
        array = np.asarray(samples)
        if array.dtype.kind not in "uifb" or array.ndim not in (3, 4) or 0 in array.shape:
            raise ValueError(
                "images must be a numeric array (n, height, width) or (n, height, width, channels) "
                f"with at least one image; got shape {array.shape} of type {array.dtype}"
            )
        if array.dtype.kind == "f":
            _require_finite(array)
        return array if array.ndim == 4 else array[..., np.newaxis]

    @classmethod
    def learn(
        cls,
        samples: Any,
        is_normal: np.ndarray,
        in_use: np.ndarray | None = None,
        missing: str = "error",
        scaling: str = "minmax",
    ) -> ImageEncoder:
        """Learn the pixels' range from the normal images.

        Missing pixels are always an error, and the range is what images are always scaled by.
        """
        images = cls.check(samples)
        _warn_of_channels_first(np.shape(samples))
        normal = images[is_normal]
        minimum, maximum = float(normal.min()), float(normal.max())
        if images.dtype == np.uint8:
            minimum, maximum = 0.0, 255.0
        elif minimum >= 0 and maximum <= 1:
            minimum, maximum = 0.0, 1.0
        if 0 < (maximum - minimum) < _FEWEST_STEPS * np.spacing(np.float32(abs(normal).max())):
            raise ValueError(
                f"pixels from {minimum:.9g} to {maximum:.9g} are hardly different in single "
                f"precision, in which images are read: subtract {minimum:.9g} from all images"
            )
        return cls(images.shape[1:], minimum, maximum, integer=images.dtype.kind in "uib")

    @property
    def is_bytes(self) -> bool:
        """Whether pixels are bytes: whole numbers from 0 to 255."""
        return self.integer and (self.minimum, self.maximum) == (0, 255)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(height, width, channels)."""
        return self.image_shape

    @property
    def feature_groups(self) -> dict[str, np.ndarray]:
        """Positions of square patches: up to seven by seven, all channels together."""
        height, width, _ = self.image_shape
        side = -(-max(height, width) // _PATCHES)
        positions = np.arange(np.prod(self.image_shape)).reshape(self.image_shape)
        return {
            f"row {row}, column {column}": positions[
                row : row + side, column : column + side
            ].ravel()
            for row in range(0, height, side)
            for column in range(0, width, side)
        }

    def prepare(self, samples: Any) -> np.ndarray:
        """Check the images' size, and that they are integers or floats as in training."""
        images = self.check(samples)
        if images.shape[1:] != self.image_shape:
            raise ValueError(
                f"images of shape {images.shape[1:]} given, but the detector was trained on "
                f"{self.image_shape} (height, width, channels)"
            )
        integer = images.dtype.kind in "uib"
        if self.is_bytes and integer and not _are_bytes(images):
            raise ValueError(
                f"images of type {images.dtype} from {images.min()} to {images.max()} given, but "
                "the detector was trained on bytes: convert them to 0, ..., 255"
            )
        if integer != self.integer:
            raise ValueError(
                f"images of type {images.dtype} given, but the detector was trained on "
                f"{'integers' if self.integer else 'floats'} in "
                f"[{self.minimum:g}, {self.maximum:g}]: convert them the same way"
            )
        return images.astype(np.float32)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Scale (batch, height, width, channels)."""
        return scale(inputs, self.minimum, self.maximum)

    def get_config(self) -> dict[str, Any]:
        """Return the learnt range and the images' shape."""
        return {
            "name": self.name,
            "image_shape": list(self.image_shape),
            "minimum": self.minimum,
            "maximum": self.maximum,
            "integer": self.integer,
        }
