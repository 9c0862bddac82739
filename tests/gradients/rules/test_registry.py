"""Rules are found, belong to one layer type, and may come from anywhere."""

from __future__ import annotations

import keras
import pytest

from r2ad2.gradients import GradientRule, register_rule
from r2ad2.gradients.rules import find_rule, registry
from tests.conftest import PROJECT
from tests.gradients.rules.common import assert_equals_reference

layers = keras.layers


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Restore the registry after each test."""
    rules = dict(registry._RULES)
    monkeypatch.setattr(registry, "_RULES", rules)
    return rules


class Scale(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=shape[1:])

    def call(self, x):
        return x * self.factor


class ScaleRule(GradientRule):
    def weights(self, layer):
        return [layer.factor]

    def pre_activation(self, layer, inputs):
        return inputs * layer.factor

    def gradients(self, layer, inputs, delta):
        return [inputs * delta]


def test_a_rule_from_outside_the_package_is_used():
    register_rule(Scale)(ScaleRule)
    assert_equals_reference(Scale(), (3,))


def test_a_wrong_rule_fails_the_comparison():
    class WrongRule(ScaleRule):
        def gradients(self, layer, inputs, delta):
            return [inputs * delta * 1.000001]

    register_rule(Scale)(WrongRule)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_equals_reference(Scale(), (3,))


def test_a_later_rule_replaces_an_earlier_one_and_covers_no_subclass():
    class OwnDense(layers.Dense):
        pass

    register_rule(layers.Dense)(ScaleRule)
    assert isinstance(find_rule(layers.Dense(2)), ScaleRule)
    assert find_rule(OwnDense(2)) is None


def test_every_file_of_rules_is_imported_and_has_a_test(registered):
    folder = PROJECT / "r2ad2" / "gradients" / "rules"
    with_rules = {
        path.stem
        for path in folder.glob("*.py")
        if "\n@register_rule(" in path.read_text() and path.stem != "registry"
    }
    assert with_rules == {type(rule).__module__.rpartition(".")[2] for rule in registered.values()}
    for name in with_rules:
        assert (PROJECT / "tests" / "gradients" / "rules" / f"test_{name}.py").exists()
