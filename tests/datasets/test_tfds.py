"""Anomaly detection tasks from tensorflow-datasets, on mock data."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.datasets import from_tfds, load_dataset

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def mocked():
    with tfds.testing.mock_data(num_examples=60):
        yield


@pytest.mark.usefixtures("mocked")
def test_images_become_a_task_with_their_test_split():
    dataset = from_tfds("mnist", normal=[0, 1, 2, 3], anomalous=["4", 5], test_split="test")
    assert dataset.x.shape[1:] == (28, 28, 1)
    assert dataset.x.dtype == np.float32
    assert dataset.x.min() >= 0
    assert 0.9 < dataset.x.max() <= 1
    assert set(dataset.classes) <= set("012345")
    assert dataset.card.normal == ("0", "1", "2", "3")
    assert dataset.card.anomalous == ("4", "5")
    assert 0 < dataset.test_mask.sum() < len(dataset.x)
    split = dataset.split(n_known_anomalies=2)
    assert set(split.classes_test) <= set("012345")


@pytest.mark.usefixtures("mocked")
def test_all_other_classes_are_anomalous_by_default():
    dataset = from_tfds("fashion_mnist", normal=["Sneaker", "Bag"])
    assert len(dataset.card.anomalous) == 8
    assert len(dataset.x) == 60
    assert dataset.test_mask is None


@pytest.mark.usefixtures("mocked")
def test_tables_are_encoded():
    titanic = from_tfds("titanic", normal=["survived"])
    assert titanic.x.shape == (60, len(titanic.feature_names))
    slots = [i for i, name in enumerate(titanic.feature_names) if name.startswith("sex_")]
    np.testing.assert_array_equal(titanic.x[:, slots].sum(axis=1), 1)
    assert "age" in titanic.feature_names
    credit = from_tfds("german_credit_numeric", normal=["Good"])
    assert credit.x.shape == (60, 24)


@pytest.mark.usefixtures("mocked")
def test_without_files_image_sets_are_read_from_tensorflow_datasets(tmp_path):
    for name in ("mnist", "fashion_mnist"):
        dataset = load_dataset(name, tmp_path)
        assert dataset.card.name == name
        assert set(dataset.classes) <= set("0123456789")
        assert dataset.x.shape == (120, 28, 28, 1)
        assert dataset.test_mask.sum() == 60


@pytest.mark.usefixtures("mocked")
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mnistt", {"normal": [0]}, "no data set 'mnistt'"),
        ("mnist", {"normal": [10]}, "no class 10: choose among 0, 1"),
        ("mnist", {"normal": ["zero"]}, "no class 'zero'"),
        ("mnist", {"normal": [0], "anomalous": ["0"]}, "'0' cannot be both"),
        ("mnist", {"normal": []}, "at least one normal"),
        ("kddcup99", {"normal": ["normal"]}, "no pair of input and label"),
        ("cats_vs_dogs", {"normal": ["cat"]}, "different sizes"),
    ],
)
def test_unsuitable_sets_and_classes_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        from_tfds(name, **arguments)


def test_without_files_and_download_the_source_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="download=True"):
        from_tfds("mnist", normal=[0], data_dir=tmp_path, download=False)


def test_missing_image_files_are_named_with_the_command(tmp_path, monkeypatch):
    def nothing(*args, **kwargs):
        raise FileNotFoundError("not prepared")

    monkeypatch.setattr("r2ad2.datasets.images.from_tfds", nothing)
    with pytest.raises(FileNotFoundError, match=r"train-images.*r2ad2 data fetch mnist"):
        load_dataset("mnist", tmp_path)
