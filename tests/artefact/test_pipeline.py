"""Model files: those of earlier versions load; damaged, foreign and malicious ones are refused."""

from __future__ import annotations

import base64
import io
import json
import marshal
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pandas as pd
import pytest

import r2ad2
from r2ad2 import load
from r2ad2.artefact.checksum import seal
from r2ad2.artefact.pipeline import FORMAT
from tests.conftest import PROJECT
from tests.helpers.detectors import DistanceDetector, DistanceScorer

FIXTURES = PROJECT / "tests" / "fixtures"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.keras")), ids=lambda p: p.stem)
def test_files_of_released_versions_give_their_scores(path):
    recorded = json.loads(path.with_suffix(".json").read_text("utf-8"))
    rows = pd.DataFrame(recorded["rows"]["data"], columns=recorded["rows"]["columns"])
    detector = load(path)
    # Single precision, summed in another order on other machines.
    scores = detector.predict_proba(rows)[:, 1]
    np.testing.assert_allclose(scores, recorded["scores"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(detector.p_values(rows), recorded["p_values"], rtol=0, atol=1e-6)
    assert detector.threshold_ == pytest.approx(recorded["threshold"], abs=1e-7)
    assert scores.max() - scores.min() > 0.2  # otherwise the comparison would prove little


def test_names_of_keras_in_the_data_do_not_matter(tmp_path):
    names = ["class_name", "config"]
    X = pd.DataFrame({name: np.arange(40.0) for name in names} | {"kind": names * 20})
    detector = DistanceDetector().fit(X)
    loaded = load(detector.save(tmp_path / "model.keras"))
    np.testing.assert_array_equal(loaded.predict_proba(X), detector.predict_proba(X))


def test_a_class_that_is_not_registered_is_named_before_a_file_is_replaced(tmp_path):
    class Unknown(DistanceScorer):
        pass

    class UnknownDetector(DistanceDetector):
        def _fit_scorer(self, x, y, random, training):
            return Unknown(), super()._fit_scorer(x, y, random, training)[1]

    X = np.random.default_rng(0).random((30, 3))
    path = DistanceDetector().fit(X).save(tmp_path / "model.keras")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"Unknown.*register_keras_serializable"):
        UnknownDetector().fit(X).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["detector", "forest"])
def test_this_version_has_files_of_its_own(name):
    assert (FIXTURES / f"{name}-{r2ad2.__version__}.keras").is_file()


@pytest.fixture
def model(tmp_path) -> Path:
    """Return a copy of this version's file."""
    name = f"detector-{r2ad2.__version__}.keras"
    return Path(shutil.copy(FIXTURES / name, tmp_path / "model.keras"))


def refusal(path) -> str:
    """Load a file that must be refused; return the message, which names it and is one line."""
    with pytest.raises(ValueError, match=r"model\.keras") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- damage --------------------------------------------------------------------------------


def test_damaged_bits_are_noticed(model):
    content = model.read_bytes()
    for position in np.random.default_rng(0).integers(8 * len(content), size=100).tolist():
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        model.write_bytes(damaged)
        assert re.search("damaged|complete|newer version", refusal(model))


def test_truncated_and_lengthened_files_are_noticed(model):
    content = model.read_bytes()
    for length in [0, 1, 100, *np.linspace(1000, len(content) - 1, 30).astype(int).tolist()]:
        model.write_bytes(content[:length])
        assert "complete" in refusal(model)
    model.write_bytes(content + b"\0")
    assert "checksum at its end is missing" in refusal(model)


def test_a_newer_format_asks_for_an_upgrade(model):
    seal(model, FORMAT + 1)
    assert "upgrade r2ad2" in refusal(model)


# ---- malice: all files from here on have the right checksum ----------------------------------


def forge(path, *, config=None, weights=None, members=None):
    """Change a file's parts and give it a new checksum.

    Args:
        path: the file.
        config: changes the parsed configuration.
        weights: changes the opened HDF5 file.
        members: writes a new archive, given the parts of the old one.
    """
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if config is not None:
        tree = json.loads(parts[CONFIG])
        parts[CONFIG] = json.dumps(config(tree) or tree).encode()
    if weights is not None:
        memory = io.BytesIO(parts[WEIGHTS])
        with h5py.File(memory, "a") as file:
            weights(file)
        parts[WEIGHTS] = memory.getvalue()
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # of members that occur twice
        if members is not None:
            members(archive, parts)
        else:
            for name, content in parts.items():
                archive.writestr(name, content)
    seal(path, FORMAT)


def test_an_unchanged_forgery_loads(model):
    forge(model)
    assert load(model).n_features_in_ == 5


def layer_node(module, name, config, **more):
    return {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": None,
        "name": "odd",
        "inbound_nodes": [],
        **more,
    }


def function_node(module, name, registered_name=None):
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": registered_name or name,
    }


def lambda_node(canary):
    code = compile(f"open({str(canary)!r}, 'w')", "<attack>", "eval")
    value = base64.b64encode(marshal.dumps(code)).decode()
    return {"class_name": "__lambda__", "config": {"value": [value, None, None]}}


ATTACKS = {
    "lambda": lambda canary: layer_node(
        "keras.layers", "Lambda", {"name": "odd", "function": lambda_node(canary)}
    ),
    "lambda by its private module": lambda canary: layer_node(
        "keras.src.layers.core.lambda_layer", "Lambda", {"function": lambda_node(canary)}
    ),
    "lambda in the old way, without a module": lambda canary: {
        "class_name": "Lambda",
        "config": {"name": "odd", "function": [lambda_node(canary), None, None]},
    },
    "lambda with a function's name": lambda canary: layer_node(
        "keras.layers",
        "Lambda",
        {
            "function": function_node("os", "system"),
            "arguments": {"command": f"touch {canary}"},
        },
    ),
    "activation that is a shell": lambda canary: layer_node(
        "keras.layers", "Activation", {"activation": function_node("os", "system")}
    ),
    "activation that switches the safe mode off": lambda canary: layer_node(
        "keras.layers",
        "Activation",
        {"activation": function_node("keras.config", "enable_unsafe_deserialization")},
    ),
    "activation that fetches a file": lambda canary: layer_node(
        "keras.layers", "Activation", {"activation": function_node("keras.utils", "get_file")}
    ),
    "evaluation": lambda canary: function_node("builtins", "eval"),
    "evaluation under a registered name": lambda canary: function_node(
        "builtins", "eval", "r2ad2>R2AD2"
    ),
    "process under an unregistered name": lambda canary: layer_node(
        "subprocess", "Popen", {"args": ["touch", str(canary)]}, registered_name="r2ad2>Popen"
    ),
    "process under a Keras name": lambda canary: layer_node(
        "subprocess", "Popen", {"args": ["touch", str(canary)]}, registered_name="Dense"
    ),
    "class of NumPy": lambda canary: layer_node("numpy", "memmap", {"filename": str(canary)}),
    "model of another folder": lambda canary: layer_node(
        "keras.layers", "TFSMLayer", {"filepath": str(canary.parent), "name": "odd"}
    ),
    "module of PyTorch": lambda canary: layer_node(
        "keras.layers", "TorchModuleWrapper", {"module": {"class_name": "__bytes__"}}
    ),
    "vocabulary of another file": lambda canary: layer_node(
        "keras.layers", "StringLookup", {"vocabulary": "/etc/passwd", "name": "odd"}
    ),
    "vectorization of another file": lambda canary: layer_node(
        "keras.layers", "TextVectorization", {"vocabulary": "/etc/passwd", "name": "odd"}
    ),
    "type specification": lambda canary: {
        "class_name": "__typespec__",
        "spec_name": "TensorSpec",
        "module": "tensorflow",
        "registered_name": None,
        "config": [],
    },
}


def put_anywhere(place, node):
    """Return a function that puts a node somewhere in a configuration."""

    def change(tree):
        config = tree["config"]
        layers = config["scorer"]["config"]["snapshots"][0]["config"]["layers"]
        if place == "root":
            return node
        if place == "layer":
            layers.append(node)
        elif place == "activation":
            layers[1]["config"]["activation"] = node
        else:
            config["settings"]["parameters"]["architecture"] = node
        return tree

    return change


@pytest.mark.parametrize("place", ["root", "layer", "activation", "setting"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_code_is_never_run(model, tmp_path, attack, place):
    canary = tmp_path / "canary"
    forge(model, config=put_anywhere(place, ATTACKS[attack](canary)))
    assert "names" in refusal(model)
    assert not canary.exists()


def test_code_is_not_run_where_keras_safe_mode_is_off(model, tmp_path):
    canary = tmp_path / "canary"
    forge(model, config=put_anywhere("layer", ATTACKS["lambda"](canary)))
    scope = keras.src.saving.serialization_lib.SafeModeScope
    with scope(True):
        keras.config.enable_unsafe_deserialization()
        assert "names 'keras.layers.Lambda'" in refusal(model)
    assert not canary.exists()


ODD_CONFIGURATIONS = {
    "encoder alone": (lambda tree: tree["config"]["encoder"], "could not be loaded"),
    "no model": (lambda tree: [1, 2], "does not describe a detector"),
    "another detector": (
        lambda tree: tree["config"]["settings"].update(detector="Pickle"),
        "'Pickle': import the package that defines it first",
    ),
    "no settings": (
        lambda tree: tree["config"].update(settings={}),
        "does not describe a detector (KeyError: 'detector')",
    ),
    "odd settings": (
        lambda tree: tree["config"]["settings"].update(parameters=[3]),
        "does not describe a detector",
    ),
    "unknown parameter": (
        lambda tree: tree["config"]["settings"]["parameters"].update(evil=1),
        "unexpected keyword argument 'evil'",
    ),
    "no part": (lambda tree: tree["config"].pop("scorer"), "could not be loaded"),
    "ranges that are not numbers": (
        lambda tree: tree["config"]["encoder"]["config"].update(ranges={"amount": ["a", "b"]}),
        "could not be deserialized",
    ),
    "endless range": (
        lambda tree: tree["config"]["encoder"]["config"]["ranges"].update(
            amount=[float("nan"), float("inf")]
        ),
        "could not be deserialized",
    ),
}


@pytest.mark.parametrize("name", ODD_CONFIGURATIONS)
def test_odd_configurations_are_refused(model, name):
    change, reason = ODD_CONFIGURATIONS[name]
    forge(model, config=change)
    assert reason in refusal(model)


def test_other_keras_models_are_refused(model):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(model)
    seal(model, FORMAT)
    assert "contains a Sequential, not a detector" in refusal(model)


def test_deep_configurations_are_refused(model):
    def write(archive, parts):
        for name, content in (parts | {CONFIG: b"[" * 100_000 + b"]" * 100_000}).items():
            archive.writestr(name, content)

    forge(model, members=write)
    assert "RecursionError" in refusal(model)


def test_a_small_file_cannot_request_much_memory(model):
    def enlarge(tree):
        layers = tree["config"]["scorer"]["config"]["snapshots"][0]["config"]["layers"]
        layers[1]["config"]["units"] = 10**10

    forge(model, config=enlarge)
    assert "larger than the weights" in refusal(model)


def test_a_small_file_cannot_request_a_large_network_as_a_parameter(model):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    described = keras.saving.serialize_keras_object(network)
    described["config"]["layers"][1]["config"]["units"] = 10**10

    def replace(tree):
        tree["config"]["settings"]["parameters"]["architecture"] = described

    forge(model, config=replace)
    assert "larger than the weights" in refusal(model)


def extra_member(name, content=b"evil"):
    def write(archive, parts):
        for part in parts:
            archive.writestr(part, parts[part])
        archive.writestr(name, content)

    return write


def packed(archive, parts):
    for name, content in parts.items():
        padded = content + b" " * 10**7 if name == CONFIG else content
        archive.writestr(name, padded, zipfile.ZIP_DEFLATED)


def without_weights(archive, parts):
    archive.writestr(CONFIG, parts[CONFIG])


def overlapping(archive, parts):
    for name, content in parts.items():
        archive.writestr(name, content)
    # One member's content is that of all that follow.
    member = archive.getinfo("metadata.json")
    member.file_size = member.compress_size = sum(map(len, parts.values()))


def encrypted(archive, parts):
    for name, content in parts.items():
        archive.writestr(name, content)
    archive.getinfo("metadata.json").flag_bits |= 1


def oversized(archive, parts):
    for name, content in parts.items():
        archive.writestr(name, content)
    member = archive.getinfo(WEIGHTS)
    member.file_size = member.compress_size = 10**12


ODD_ARCHIVES = {
    "path upwards": (extra_member("../../canary"), "'../../canary'"),
    "absolute path": (extra_member("/tmp/canary"), "'/tmp/canary'"),
    "asset": (extra_member("assets/_lookup/vocabulary.txt"), "'assets/_lookup/vocabulary.txt'"),
    "other weights": (extra_member("model.weights.npz"), "'model.weights.npz'"),
    "twice": (extra_member(CONFIG, b"{}"), "a member that occurs twice"),
    "packed": (packed, "'metadata.json' is compressed"),
    "encrypted": (encrypted, "its member 'metadata.json' is encrypted"),
    "none": (without_weights, "'metadata.json'"),
    "overlapping": (overlapping, "its members overlap"),
    "oversized": (oversized, "its members overlap"),
}


@pytest.mark.parametrize("name", ODD_ARCHIVES)
def test_odd_archives_are_refused(model, tmp_path, name):
    members, reason = ODD_ARCHIVES[name]
    forge(model, members=members)
    before = {path.name for path in tmp_path.rglob("*")}
    assert reason in refusal(model)
    assert {path.name for path in tmp_path.rglob("*")} == before


def first_array(file):
    """Return the first array of an HDF5 file that holds floats."""
    found = []

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" and item.size > 1:
            found.append(item)

    file.visititems(visit)
    return found[0]


def replaced(make):
    """Return a function that replaces an array by something else."""

    def change(file):
        array = first_array(file)
        group, name, values = array.parent, array.name.rsplit("/", 1)[1], array[()]
        del group[name]
        make(group, name, values)

    return change


def virtual(group, name, values):
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[...] = h5py.VirtualSource("/etc/other.h5", "secret", values.shape)
    group.create_virtual_dataset(name, layout)


def link(target):
    def make(group, name, values):
        group[name] = target

    return replaced(make)


def array(**options):
    return replaced(lambda group, name, values: group.create_dataset(name, **options))


HDF5_ATTACKS = {
    "external link": (
        link(h5py.ExternalLink("/etc/other.h5", "/secret")),
        "a link instead of an array",
    ),
    "soft link": (link(h5py.SoftLink("/")), "a link instead of an array"),
    "external storage": (
        array(shape=(8,), dtype="f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        "of another file",
    ),
    "virtual data set": (replaced(virtual), "of another file"),
    "packed zeros": (array(data=np.zeros(10**6), compression="gzip"), "a compressed array"),
    "shape without content": (
        array(shape=(10**6, 10**6), dtype="f8", chunks=(1000, 1000)),
        "declared to be larger than the file",
    ),
    "circle": (
        lambda file: file.create_group("odd").__setitem__("again", file["/"]),
        "a circle of links",
    ),
    "group instead of an array": (
        replaced(lambda group, name, values: group.create_group(name)),
        "could not be loaded",
    ),
    "no shape": (array(data=h5py.Empty("f4")), "which is not an array"),
    "text": (array(data="text"), "could not be loaded"),
    "other shape": (
        replaced(lambda g, n, values: g.create_dataset(n, data=values[..., :-1])),
        "could not be loaded",
    ),
    "array missing": (replaced(lambda group, name, values: None), "could not be loaded"),
    "NaN": (
        replaced(lambda g, n, values: g.create_dataset(n, data=values * np.nan)),
        "is not finite",
    ),
}


@pytest.mark.parametrize("attack", HDF5_ATTACKS)
def test_odd_weights_are_refused(model, attack):
    change, reason = HDF5_ATTACKS[attack]
    forge(model, weights=change)
    assert reason in refusal(model)
