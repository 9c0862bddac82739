"""The digits that come with scikit-learn."""

from __future__ import annotations

from r2ad2.datasets import load_dataset


def test_pixels_are_scaled_and_no_files_are_needed():
    dataset = load_dataset("digits", "nowhere")
    assert dataset.x.shape == (1797, 8, 8, 1)
    assert (dataset.x.min(), dataset.x.max()) == (0, 1)
    assert dataset.is_whole
    assert dataset.class_counts == dict(dataset.card.class_counts)
