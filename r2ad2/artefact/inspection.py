"""Checks a model file before Keras builds a model from it.

A checksum reveals damage, but not whether a file was made to do harm. Only what this package's
own files contain is allowed: plain members, classes that only compute, arrays stored in the file
itself.
"""

from __future__ import annotations

import contextlib
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from r2ad2.support.keras_internals import FUNCTIONAL_MODULE, SOURCE_PACKAGE

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {"metadata.json", _CONFIG, _WEIGHTS}
_MAX_CONFIG_BYTES = 1 << 28  # parsing a larger one could exhaust memory
# A configuration may name classes from these modules of Keras, if they are of these kinds.
_MODULES = (
    "keras",
    "keras.layers",
    "keras.models",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.losses",
    "keras.metrics",
    "keras.optimizers",
    "keras.optimizers.schedules",
)
_KINDS = (
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.DTypePolicy,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.optimizers.Optimizer,
    keras.optimizers.schedules.LearningRateSchedule,
)
# Layers in other modules run code, load other models, or read vocabularies from files.
_LAYER_FAMILIES = tuple(
    f"{SOURCE_PACKAGE}.{family}."
    for family in (
        "layers.activations",
        "layers.attention",
        "layers.convolutional",
        "layers.core",
        "layers.merging",
        "layers.normalization",
        "layers.pooling",
        "layers.regularization",
        "layers.reshaping",
        "layers.rnn",
        "models",
    )
)
_FORBIDDEN = (keras.layers.Lambda,)
_FUNCTIONAL = (FUNCTIONAL_MODULE, "Functional")
# Keras' own markers for plain values.
_VALUES = {"__keras_tensor__", "__numpy__", "__tensor__"}
# While a model is built, weights exist several times: snapshots, for instance, are copied.
_COPIES = 8
_ALLOWANCE_BYTES = 1 << 24


def inspect_archive(path: Path) -> None:
    """Check a .keras file's members, the classes it names, and where its weights are stored.

    Raises:
        ValueError: for anything that a file of this package does not contain.
    """
    with zipfile.ZipFile(path) as archive:
        _check_members(archive, path.stat().st_size)
        # Keras reads the same text; deep nesting leads to an error, not a crash.
        _check_classes(json.loads(archive.read(_CONFIG)))
        with archive.open(_WEIGHTS) as member, h5py.File(member, "r") as weights:
            _check_group(weights, archive.getinfo(_WEIGHTS).file_size)


def _check_members(archive: zipfile.ZipFile, n_bytes: int) -> None:
    members = archive.infolist()
    names = sorted(member.filename for member in members)
    if names != sorted(_MEMBERS):
        expected = ", ".join(sorted(_MEMBERS))
        unexpected = sorted({*names} ^ _MEMBERS) or ["a member that occurs twice"]
        raise ValueError(f"its members are not exactly {expected}: {unexpected[0][:200]!r}")
    for member in members:
        # Keras does not compress, so the stored size is the size in memory.
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"its member {member.filename!r} is compressed")
        if member.flag_bits & 1:
            raise ValueError(f"its member {member.filename!r} is encrypted")
    if sum(member.file_size for member in members) > n_bytes:
        raise ValueError("its members overlap")
    if archive.getinfo(_CONFIG).file_size > _MAX_CONFIG_BYTES:
        raise ValueError(f"its {_CONFIG} is too large")


def _check_classes(root: Any) -> None:
    """Check every class that a configuration names, at any depth."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            if "class_name" in node and "config" in node and not _is_data(node):
                _check_class(node)


def _is_data(node: dict[str, Any]) -> bool:
    """Whether it names no class, as counts of categories that happen to have these names."""
    return not isinstance(node["class_name"], str) and not {"module", "registered_name"} & {*node}


def _check_class(node: dict[str, Any]) -> None:
    name, module = node["class_name"], node.get("module")
    if name in _VALUES:
        return
    # Look it up as Keras does: registered classes first, functions by their own name.
    is_function = name == "function"
    registered = node["config"] if is_function else node.get("registered_name", name)
    if isinstance(registered, str) and keras.saving.get_registered_object(registered) is not None:
        return
    if not is_function and (module, name) == _FUNCTIONAL:
        return
    if is_function or not _is_harmless(_class_of(module, name)):
        described = f"{module}.{name}" if not is_function else f"the function {node['config']}"
        raise ValueError(
            f"it names {described[:200]!r}, which is neither registered nor one of Keras' plain "
            "layers: import the package that defines it first, if you trust the file"
        )


def _class_of(module: Any, name: Any) -> Any:
    if module not in _MODULES or not isinstance(name, str):
        return None
    home: Any = keras
    for part in module.split(".")[1:]:
        home = getattr(home, part)
    return getattr(home, name, None)


def _is_harmless(found: Any) -> bool:
    if not isinstance(found, type) or issubclass(found, _FORBIDDEN):
        return False
    if issubclass(found, keras.layers.Layer):
        return found.__module__.startswith(_LAYER_FAMILIES)
    return issubclass(found, _KINDS)


def _check_group(root: h5py.Group, n_bytes: int) -> None:
    """Check that every array of an HDF5 file is stored in it, once and uncompressed."""
    waiting, seen, declared = [root], set(), 0
    while waiting:
        group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            raise ValueError(f"its weights contain a circle of links at {group.name!r}")
        seen.add(address)
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"its weights contain a link instead of an array: {name[:200]!r}")
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append(item)
                continue
            _check_dataset(name, item)
            declared += math.prod(item.shape) * item.dtype.itemsize
            if declared > n_bytes:
                raise ValueError("its weights are declared to be larger than the file")


def _check_dataset(name: str, item: Any) -> None:
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise ValueError(f"its weights contain {name[:200]!r}, which is not an array")
    if item.is_virtual or item.external:
        raise ValueError(f"its weights contain an array {name[:200]!r} of another file")
    if item.id.get_create_plist().get_nfilters():
        raise ValueError(f"its weights contain a compressed array {name[:200]!r}")


@contextlib.contextmanager
def bounded_variables(n_bytes: int) -> Iterator[None]:
    """Refuse to create variables that need far more than n_bytes in total.

    A configuration of a few bytes can request layers of any size.

    Raises:
        ValueError: before the memory is allocated.
    """
    left = _COPIES * n_bytes + _ALLOWANCE_BYTES
    graph = tf.Graph()

    def make(next_creator: Any, **kwargs: Any) -> tf.Variable:
        nonlocal left
        value = kwargs.get("initial_value")
        if callable(value):  # any other value is already in memory
            # In a graph the initial value has a shape but takes no memory.
            with graph.as_default():
                made = tf.convert_to_tensor(value())
            left -= (made.shape.num_elements() or 0) * made.dtype.size
        if left < 0:
            raise ValueError("its model would be far larger than the weights in the file")
        return next_creator(**kwargs)

    with tf.variable_creator_scope(make):
        yield
