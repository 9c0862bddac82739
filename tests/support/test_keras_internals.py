"""The private names of Keras are there, do what they are used for, and are used in one module."""

from __future__ import annotations

import ast
from pathlib import Path

import keras
import numpy as np
import pytest

import baselines
import r2ad2
from r2ad2.support import keras_internals
from r2ad2.support.keras_internals import PRIVATE_NAMES

layers = keras.layers


def functional():
    inputs = keras.Input((3,))
    hidden = layers.Dense(2, "relu")(inputs)
    return keras.Model(inputs, layers.Dense(3, "sigmoid")(layers.Dropout(0.5)(hidden)))


@pytest.fixture(scope="module")
def owners():
    """Make an object of each kind that private names are taken from."""
    model = functional()
    model.compile(keras.optimizers.Adam(), "mse")
    model.optimizer.build(model.trainable_variables)
    return [model, model.layers[1], model.optimizer]


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_private_name_exists(name, owners):
    assert any(hasattr(owner, name) for owner in owners), (
        f"Keras {keras.__version__} has no {name} any more ({PRIVATE_NAMES[name]}): "
        "adapt r2ad2/support/keras_internals.py"
    )


def test_keras_classes_live_where_model_files_say():
    where = type(functional()).__module__
    assert where == keras_internals.FUNCTIONAL_MODULE, f"moved in Keras {keras.__version__}"
    assert layers.Dense.__module__.startswith(f"{keras_internals.SOURCE_PACKAGE}.")


def test_operations_of_a_graph_can_be_replaced():
    model, x = functional(), np.ones((4, 3), np.float32)
    seen = []

    def recorded(operation):
        seen.append(operation)
        return operation

    outputs = keras_internals.run_graph(model, x, recorded)
    np.testing.assert_array_equal(outputs, model(x))
    assert seen == model.layers[1:]


def test_only_functional_models_have_a_graph():
    class Subclassed(keras.Model):
        pass

    assert keras_internals.has_graph(functional())
    assert not keras_internals.has_graph(Subclassed())


def test_the_outputs_of_every_call_of_a_layer_are_listed():
    shared = layers.Dense(3)
    inputs = keras.Input((3,))
    outputs = [shared(inputs)]
    outputs.append(shared(outputs[0]))
    assert list(keras_internals.output_tensors(shared)) == outputs


def test_the_loss_tracker_is_the_epochs_loss():
    model = functional()
    model.compile("sgd", "mse")
    x = np.ones((4, 3), np.float32)
    loss = model.evaluate(x, x, verbose=0)
    assert float(keras_internals.loss_tracker(model).result()) == pytest.approx(loss)


def test_adams_moments_belong_to_the_variable():
    optimizer = keras.optimizers.Adam(beta_1=0.75, beta_2=0.5)
    variables = [keras.Variable(np.zeros(2, np.float32)) for _ in range(2)]
    optimizer.apply([np.float32([1, 2]), np.float32([3, 4])], variables)
    first, second = keras_internals.adam_moments(optimizer, variables[1])
    np.testing.assert_allclose(first, [0.75, 1.0])
    np.testing.assert_allclose(second, [4.5, 8.0])


HOME = Path(keras_internals.__file__)
MODULES = [
    path
    for package in (r2ad2, baselines)
    for path in Path(package.__file__).parent.rglob("*.py")
    if path != HOME
]


def private_names(path: Path) -> tuple[set[str], set[str]]:
    """Collect the private attributes and functions of a module: what it defines, what it reads."""
    defined, read = set(), set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            (defined if isinstance(node.ctx, ast.Store) else read).add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
    return tuple(
        {name for name in names if name.startswith("_") and not name.startswith("__")}
        for names in (defined, read)
    )


def test_the_list_of_private_names_is_complete():
    defined, read = private_names(HOME)
    assert defined | read == set(PRIVATE_NAMES)


def test_no_other_module_uses_private_names_of_keras(owners):
    of_keras = {name for owner in owners for name in dir(owner)}
    names = {path: private_names(path) for path in MODULES}
    ours = set().union(*(defined for defined, _ in names.values())) - set(PRIVATE_NAMES)
    uses = {
        f"{path.name}: {name}"
        for path, (defined, read) in names.items()
        for name in (read & of_keras - ours) | (defined & set(PRIVATE_NAMES))
    }
    assert not uses, "use r2ad2.support.keras_internals instead"
