"""Sliding windows over images as tables of positions.

ONNX Runtime has no double-precision convolution, and no operator that gives a kernel's gradient for
each sample. With a table of which pixel each element of a window meets, both are a gather and a
matrix product, in any precision. Pixels are numbered row by row; -1 stands for padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from r2ad2.serving.onnx.graph import Tensor


def window_table(
    image: Sequence[int],
    positions: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: str,
) -> np.ndarray:
    """List the pixels that a window meets, as TensorFlow places and pads windows.

    Args:
        image: height and width.
        positions: rows and columns of window positions.
        kernel: height and width of a window.
        strides: distances between positions.
        dilation: distances between a window's elements.
        padding: "same" or "valid".

    Returns:
        Numbers of pixels (positions, elements of a window), -1 outside the image.
    """
    axes = []
    for size, n, extent, stride, step in zip(
        image, positions, kernel, strides, dilation, strict=True
    ):
        covered = (n - 1) * stride + (extent - 1) * step + 1
        before = max(covered - size, 0) // 2 if padding == "same" else 0
        at = np.arange(n)[:, np.newaxis] * stride + np.arange(extent) * step - before
        axes.append(np.where((at < 0) | (at >= size), -1, at))
    rows, columns = axes[0][:, None, :, None], axes[1][None, :, None, :]
    pixels = np.where((rows < 0) | (columns < 0), -1, rows * image[1] + columns)
    return pixels.reshape(math.prod(positions), math.prod(kernel))


def by_element(table: np.ndarray, n_pixels: int) -> np.ndarray:
    """List the position at which each element of the window meets each pixel.

    Returns:
        Numbers of positions (pixels, elements), -1 where there is none.
    """
    found = np.full((n_pixels, table.shape[1]), -1)
    positions, elements = np.nonzero(table >= 0)
    found[table[positions, elements], elements] = positions
    return found


def occurrences(table: np.ndarray, n_pixels: int) -> np.ndarray:
    """List where in the flattened table each pixel occurs.

    Returns:
        Places (pixels, largest number of occurrences), -1 beyond a pixel's last one.
    """
    flat = table.ravel()
    places = np.flatnonzero(flat >= 0)
    places = places[np.argsort(flat[places], kind="stable")]
    pixels = flat[places]
    counts = np.bincount(pixels, minlength=n_pixels)
    found = np.full((n_pixels, max(int(counts.max(initial=0)), 1)), -1)
    starts = np.cumsum(counts) - counts
    found[pixels, np.arange(len(pixels)) - starts[pixels]] = places
    return found


def pixels_of(images: Tensor) -> Tensor:
    """Number the pixels: (..., height, width, channels) becomes (..., pixels, channels)."""
    height, width, channels = images.sample_shape
    return images.reshape((height * width, channels))


def take(pixels: Tensor, table: np.ndarray, padding: float = 0.0) -> Tensor:
    """Gather pixels (..., pixels, channels) by a table: (..., *table.shape, channels)."""
    if (table >= 0).all():
        return pixels.gather(table, -2)
    n_pixels = pixels.sample_shape[-2]
    graph, rank = pixels.graph, len(pixels.shape)
    after = np.array([*[0] * rank, *[0] * (rank - 2), 1, 0], np.int64)
    shape = (*pixels.shape[:-2], n_pixels + 1, pixels.shape[-1])
    operands = (pixels, graph.constant(after), graph.constant(np.asarray(padding, pixels.dtype)))
    padded = graph.add("Pad", operands, shape, pixels.dtype)
    return padded.gather(np.where(table < 0, n_pixels, table), -2)


def windows(pixels: Tensor, table: np.ndarray) -> Tensor:
    """Gather windows: (..., positions, elements * channels)."""
    gathered = take(pixels, table)
    n_positions, n_elements, channels = gathered.sample_shape
    return gathered.reshape((n_positions, n_elements * channels))
