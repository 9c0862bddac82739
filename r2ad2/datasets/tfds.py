"""Anomaly detection tasks from the classification sets of tensorflow-datasets.

tensorflow-datasets is imported on first use: importing it takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from r2ad2.datasets.cards import DatasetCard
from r2ad2.datasets.dataset import Dataset
from r2ad2.support.extras import from_extra

_BATCH = 1024


def from_tfds(
    name: str,
    normal: Sequence[str | int],
    anomalous: Sequence[str | int] | None = None,
    *,
    train_split: str = "train",
    test_split: str | None = None,
    data_dir: str | os.PathLike | None = None,
    download: bool = True,
) -> Dataset:
    """Make an anomaly detection task from a classification set of tensorflow-datasets.

    Args:
        name: name of the set in tensorflow-datasets, such as "mnist" or "titanic:4.0.0".
        normal: classes that are normal, by name or number.
        anomalous: classes that are anomalous; None means all others.
        train_split: split to train and validate on; slices such as "train[:10%]" are allowed.
        test_split: split to test on; None uses "test" if the set has it, else 20 % of the
            training split.
        data_dir: folder of tensorflow-datasets; None uses its default.
        download: whether to download and prepare the set if that has not been done yet.

    Returns:
        Images with pixels in [0, 1], or a table: numbers unchanged, categories one-hot. Samples
        of classes that are neither normal nor anomalous are left out.

    Raises:
        ValueError: for an unknown set or class, or a set that does not classify table rows or
            images of one size.
        FileNotFoundError: if the set is not prepared and `download` is False.
    """
    with from_extra("datasets", "tensorflow_datasets"):
        import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(
            f"tensorflow-datasets has no data set {name!r}: see tfds.list_builders()"
        ) from error
    if download:
        builder.download_and_prepare()
    input_key, label_key = _supervised_keys(builder)
    splits = [train_split]
    if test_split is None and "test" in builder.info.splits:
        test_split = "test"
    if test_split is not None:
        splits.append(test_split)
    parts = [_read_split(builder, split) for split in splits]
    inputs = [piece for pieces, _ in parts for piece in pieces]
    x, feature_names = _encoded(tfds, name, _feature(builder, input_key), inputs)
    labels = _Labels(builder.info.features[label_key], np.concatenate([part for _, part in parts]))
    card = _card(name, builder, labels, normal, anomalous, is_image=x.ndim == 4)
    used = np.isin(labels.classes, [*card.normal, *card.anomalous])
    in_test = np.repeat([i > 0 for i in range(len(parts))], [len(part) for _, part in parts])
    return Dataset(
        card,
        x[used],
        labels.classes[used],
        feature_names,
        in_test[used] if test_split is not None else None,
    )


class _Labels:
    """The classes of all samples, and the names of all classes.

    Args:
        feature: the description of the label in tensorflow-datasets.
        values: label of each sample (n,).
    """

    def __init__(self, feature: Any, values: np.ndarray):
        self._numbered = list(getattr(feature, "names", None) or [])
        self.classes = np.asarray(self._numbered)[values] if self._numbered else _as_text(values)
        self.names = self._numbered or np.unique(self.classes).tolist()

    def named(self, wanted: Sequence[str | int]) -> tuple[str, ...]:
        """Return the names of classes that are given by name or number.

        Raises:
            ValueError: if a class does not exist.
        """
        by_number = dict(enumerate(self._numbered))
        names = [by_number.get(v, str(v)) if isinstance(v, int) else v for v in wanted]
        for value, name in zip(wanted, names, strict=True):
            if name not in self.names:
                raise ValueError(
                    f"there is no class {value!r}: choose among {', '.join(self.names[:20])}"
                    f"{', ...' if len(self.names) > 20 else ''}"
                )
        return tuple(names)


def _as_text(values: np.ndarray) -> np.ndarray:
    return np.asarray([v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()])


def _feature(builder: Any, key: str | Mapping[str, str]) -> Any:
    """Return the description of an input, or one for each of its parts."""
    if isinstance(key, str):
        return builder.info.features[key]
    return {part: builder.info.features[source] for part, source in key.items()}


def _supervised_keys(builder: Any) -> tuple[Any, str]:
    """Return the keys of input and label."""
    keys = builder.info.supervised_keys
    if keys is None or len(keys) != 2 or not isinstance(keys[1], str):
        raise ValueError(
            f"{builder.name!r} of tensorflow-datasets has no pair of input and label: it cannot "
            "become an anomaly detection task"
        )
    label = builder.info.features[keys[1]]
    if label.shape != () or np.dtype(label.np_dtype).kind not in "biuOSU":
        raise ValueError(f"label {keys[1]!r} of {builder.name!r} is not a class: {label!r}")
    return keys


def _read_split(builder: Any, split: str) -> tuple[list[Any], np.ndarray]:
    """Read a split; return its inputs as a list of batches, and its labels (n,)."""
    import tensorflow as tf

    try:
        dataset = builder.as_dataset(split=split, as_supervised=True, shuffle_files=False)
    except AssertionError as error:
        raise FileNotFoundError(
            f"tensorflow-datasets has not prepared {builder.name!r} in "
            f"{str(builder.data_dir)!r}: use download=True"
        ) from error
    pieces, labels = [], []
    try:
        for inputs, label in dataset.batch(_BATCH).as_numpy_iterator():
            pieces.append(inputs)
            labels.append(label)
    except tf.errors.InvalidArgumentError as error:
        if all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(dataset.element_spec)):
            raise
        raise ValueError(
            f"the images of {builder.name!r} have different sizes: an autoencoder needs one size"
        ) from error
    if not labels:
        raise ValueError(f"split {split!r} of {builder.name!r} contains no samples")
    return pieces, np.concatenate(labels)


def _encoded(
    tfds: Any, name: str, inputs: Any, pieces: list[Any]
) -> tuple[np.ndarray, list[str] | None]:
    """Return float32 samples and the names of a table's columns."""
    if isinstance(inputs, tfds.features.Image):
        images = np.concatenate(pieces)
        largest = np.iinfo(images.dtype).max if images.dtype.kind == "u" else 1
        return (images / np.float32(largest)).astype(np.float32), None
    if isinstance(inputs, (dict, tfds.features.FeaturesDict)):
        import pandas as pd

        columns = {
            key: _column(tfds, name, key, inputs[key], np.concatenate([p[key] for p in pieces]))
            for key in sorted(inputs)
        }
        encoded = pd.get_dummies(pd.DataFrame(columns), dtype=np.float32)
        return encoded.to_numpy(dtype=np.float32), list(encoded.columns)
    if inputs.shape is not None and len(inputs.shape) == 1:
        rows = np.concatenate(pieces).astype(np.float32)
        return rows, [f"feature_{i}" for i in range(rows.shape[1])]
    raise ValueError(f"the inputs of {name!r} are neither images nor table rows: {inputs!r}")


def _column(tfds: Any, name: str, key: str, feature: Any, values: np.ndarray) -> Any:
    import pandas as pd

    if feature.shape != ():
        raise ValueError(f"input {key!r} of {name!r} is not one number or category per sample")
    if isinstance(feature, tfds.features.ClassLabel) and feature.names:
        return pd.Categorical.from_codes(values, categories=feature.names)
    if values.dtype.kind in "OS":
        return pd.Categorical(_as_text(values))
    return values


def _card(
    name: str,
    builder: Any,
    labels: _Labels,
    normal: Sequence[str | int],
    anomalous: Sequence[str | int] | None,
    is_image: bool,
) -> DatasetCard:
    normal_names = labels.named(normal)
    if anomalous is None:
        anomalous_names = tuple(other for other in labels.names if other not in normal_names)
    else:
        anomalous_names = labels.named(anomalous)
    both = set(normal_names) & set(anomalous_names)
    if both:
        raise ValueError(f"class {min(both)!r} cannot be both normal and anomalous")
    if not normal_names or not anomalous_names:
        raise ValueError("name at least one normal and one anomalous class")
    return DatasetCard(
        name=name,
        title=f"{builder.name} of tensorflow-datasets",
        publisher="see the citation in tensorflow-datasets",
        url=str(builder.info.homepage or "https://www.tensorflow.org/datasets"),
        files={},
        normal=normal_names,
        anomalous=anomalous_names,
        known_transfer=anomalous_names,
        architecture="8C3-8C3-8" if is_image else "auto",
        alarm_units=(1000, 500, 200, 75),
        batch_size=512,
    )
