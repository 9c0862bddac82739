"""The breast cancer table that comes with scikit-learn."""

from __future__ import annotations

from r2ad2.datasets import load_dataset


def test_no_files_are_needed():
    dataset = load_dataset("breast_cancer", "nowhere")
    assert dataset.x.shape == (569, 30)
    assert dataset.class_counts == {"benign": 357, "malignant": 212}
    assert dataset.feature_names[:2] == ["mean radius", "mean texture"]
