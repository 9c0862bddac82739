"""Per-sample correlation of an image's sliding windows with a second image.

This is the gradient with respect to a convolution's kernel. TensorFlow has no operation that
computes it for each sample: `tf.image.extract_patches` copies pixel by pixel, and strided slices
are also slow. Here every offset of the kernel is one contiguous slice and one batched matrix
product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

# Below this number of channels the windows are gathered into one matrix product with the positions
# last: matrix products with so few rows are slow, and the windows are small.
_FEW_CHANNELS = 4


def _padding_before(size: int, n: int, extent: int, stride: int, padding: str) -> int:
    """Zeros before the first element along one axis, as TensorFlow pads convolutions.

    Args:
        size: length of the axis.
        n: number of window positions along it.
        extent: length that a window covers, from its first to its last element.
        stride: distance between positions.
        padding: "same" or "valid".
    """
    if padding == "valid":
        return 0
    return max((n - 1) * stride + extent - size, 0) // 2


def _phases(
    images: tf.Tensor, pads: Sequence[tuple[int, int]], strides: Sequence[int]
) -> tf.Tensor:
    """Pad, and sort pixels by their position modulo the strides, so that windows are contiguous.

    Returns:
        Tensor (stride, stride, batch, height / stride, width / stride, channels).
    """
    padded = tf.pad(images, [(0, 0), *pads, (0, 0)])
    height, width, channels = padded.shape[1:]
    (down, across), batch = strides, tf.shape(images)[0]
    if down == across == 1:
        return padded[tf.newaxis, tf.newaxis]
    grid = (batch, height // down, down, width // across, across, channels)
    return tf.transpose(tf.reshape(padded, grid), (2, 4, 0, 1, 3, 5))


def shifted_pixels(
    images: tf.Tensor,
    positions: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: str,
) -> list[tf.Tensor]:
    """List, for each offset in the kernel, the pixels that it meets at all positions.

    Args:
        images: (batch, height, width, channels), over which a kernel slides.
        positions: number of rows and columns of kernel positions.
        kernel: the kernel's height and width.
        strides: distances between positions.
        dilation: distances between the kernel's elements.
        padding: "same" or "valid".

    Returns:
        One tensor (batch, positions, channels) per element of the kernel, row by row.
    """
    pads, covered = [], []
    for axis, n in enumerate(positions):
        size, stride = images.shape[1 + axis], strides[axis]
        extent = (kernel[axis] - 1) * dilation[axis] + 1
        before = _padding_before(size, n, extent, stride, padding)
        needed = math.ceil(((n - 1) * stride + extent) / stride) * stride
        pads.append((before, max(needed - before - size, 0)))
        covered.append(min(size, needed - before))
    phases = _phases(images[:, : covered[0], : covered[1]], pads, strides)
    flat = (tf.shape(images)[0], math.prod(positions), images.shape[-1])
    shifted = []
    for row in range(0, kernel[0] * dilation[0], dilation[0]):
        for column in range(0, kernel[1] * dilation[1], dilation[1]):
            (top, down), (left, across) = divmod(row, strides[0]), divmod(column, strides[1])
            pixels = phases[down, across, :, top : top + positions[0], left : left + positions[1]]
            shifted.append(tf.reshape(pixels, flat))
    return shifted


def correlate_windows(
    images: tf.Tensor,
    responses: tf.Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: str,
) -> tf.Tensor:
    """Sum window(images) (outer) responses over positions, for each sample.

    Args:
        images: (batch, height, width, channels), over which a kernel slides.
        responses: (batch, rows, columns, filters), one vector for each position of the kernel.
        kernel: the kernel's height and width.
        strides: distances between positions.
        dilation: distances between the kernel's elements.
        padding: "same" or "valid".

    Returns:
        Tensor (batch, kernel height, kernel width, channels, filters): the gradient of each
        sample's ``sum(responses * convolution(images, kernel))`` with respect to the kernel.
    """
    rows, columns, filters = responses.shape[1:]
    batch, channels = tf.shape(images)[0], images.shape[-1]
    right = tf.reshape(responses, (batch, rows * columns, filters))
    shifted = shifted_pixels(images, (rows, columns), kernel, strides, dilation, padding)
    if channels < _FEW_CHANNELS:
        windows = tf.concat([tf.transpose(pixels, (0, 2, 1)) for pixels in shifted], axis=1)
        product = tf.matmul(windows, right)
    else:
        product = tf.concat(
            [tf.matmul(pixels, right, transpose_a=True) for pixels in shifted], axis=1
        )
    return tf.reshape(product, (batch, *kernel, channels, filters))
