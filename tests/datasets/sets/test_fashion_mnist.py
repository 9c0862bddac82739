"""Fashion-MNIST, from idx files."""

from __future__ import annotations

import pytest

from r2ad2.datasets import load_dataset
from tests.datasets.sets.cases import assert_published, assert_reads_images


@pytest.mark.parametrize("packed", [True, False], ids=["gzipped", "plain"])
def test_images_are_read_from_idx_files(tmp_path, packed):
    assert_reads_images("fashion_mnist", tmp_path, packed)


def test_the_published_files(real_data):
    dataset = load_dataset("fashion_mnist", real_data)
    assert_published(dataset, real_data / "fashion_mnist", (70_000, 28, 28, 1))
    assert dataset.test_mask.sum() == 10_000
