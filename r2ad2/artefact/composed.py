"""Keras models that are composed of built models and layers."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from r2ad2.support.precision import in_single_precision


class ComposedModel(keras.Model):
    """Base of models whose constructor takes built models or layers, and plain values.

    A subclass keeps its constructor's arguments as attributes of the same names, lists them in
    `PARTS` (models, layers) and `SETTINGS` (plain values), and calls ``self.build(None)`` last.
    """

    PARTS: ClassVar[tuple[str, ...]] = ()
    SETTINGS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str | None = None):
        # The parts cast inputs to their own type.
        super().__init__(name=name, dtype="float32", autocast=False)

    def build(self, input_shape: Any) -> None:
        """Mark the model as built: its parts are."""
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; parts are serialised."""
        parts = {
            name: keras.saving.serialize_keras_object(getattr(self, name)) for name in self.PARTS
        }
        return {**parts, **{name: getattr(self, name) for name in self.SETTINGS}, "name": self.name}

    @classmethod
    @in_single_precision()
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ComposedModel:
        """Build the model from `get_config`'s result; weights are loaded afterwards."""
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects=custom_objects)
            for name in cls.PARTS
        }
        return cls(**{**config, **parts})
