"""Damaged idx files are refused with the name of the file and the reason."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from r2ad2.datasets import load_dataset
from tests.datasets.sets.cases import idx, scrambled, write_images

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, gzip.compress(b"no idx"), "is not an idx file"),
        (IMAGES, b"no gzip", "Not a gzipped file.*download it again"),
        (IMAGES, gzip.compress(idx(np.ones((6, 28, 28))))[:-20], "ended before.*download it again"),
        (IMAGES, scrambled(gzip.compress(idx(np.ones((6, 28, 28))))), "Error -3.*again"),
        (IMAGES, gzip.compress(idx(np.ones((6, 28, 28)))[:-9]), "truncated or damaged"),
        (IMAGES, gzip.compress(idx(np.ones((6, 8, 8)))), "expected images of 28x28 pixels"),
        (LABELS, gzip.compress(idx(np.arange(5))), "one label for each"),
        (LABELS, gzip.compress(idx(np.array([1, 2, 3, 77]))), "row 3: label 77 is not one of 0-9"),
    ],
    # Names without the contents: what gzip writes has the time in it.
    ids=[
        "not idx",
        "not gzip",
        "truncated gzip",
        "scrambled gzip",
        "truncated idx",
        "other size",
        "too few labels",
        "unknown label",
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    write_images(tmp_path / "mnist")
    (tmp_path / "mnist" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        load_dataset("mnist", tmp_path)
    assert name in str(raised.value)
