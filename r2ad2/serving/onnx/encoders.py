"""The inputs of an ONNX file and their encoding, for each kind of encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.columns import MISSING_TEXT
from r2ad2.encoders.tables import PERIODS, TableEncoder
from r2ad2.serving.onnx.graph import ML_DOMAIN, Graph, Tensor
from r2ad2.serving.onnx.scalings import scaled, write_scaling

OUTPUTS = ("score", "is_anomaly", "p_value")
_MICROSECONDS = 1e6
_NO_TIME = np.iinfo(np.int64).min  # NaT of NumPy and pandas


@dataclass(frozen=True)
class EncodedInputs:
    """What an encoder's converter adds to a graph.

    Attributes:
        encoded: float32 (batch, ...), what the scorer takes.
        columns: the column of each input, by the input's name; empty for arrays and images.
        fault: float64 (batch, 1): 0 or, for samples with values that cannot be scored, NaN.
    """

    encoded: Tensor
    columns: dict[str, str]
    fault: Tensor | None


def input_names(columns: Sequence[str]) -> dict[str, str]:
    """Name the input of each column: its own name, unless an output or the graph has it.

    Names inside the graph end in "/" and a number; an empty name is none for ONNX.
    """
    taken = {name for name in columns if _is_free(name)}
    names = {}
    for column in columns:
        name = column
        while name != column or not _is_free(column):
            name = f"{name or 'column'}_"
            if name not in taken:
                taken.add(name)
                break
        names[column] = name
    return names


def _is_free(name: str) -> bool:
    _, slash, number = name.rpartition("/")
    return bool(name) and name not in OUTPUTS and not (slash and number.isdecimal())


def _fault_of(values: Tensor) -> Tensor:
    """Write 0 or, for samples (batch, n) with NaN or infinity, NaN: infinity times 0 is NaN."""
    return (values * 0.0).sum(-1, keep=True)


def _without_missing(values: Tensor, fills: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Replace NaN by one number per column; also return where there was NaN."""
    graph = values.graph
    missing = graph.add("IsNaN", (values,), values.shape, np.dtype(bool))
    return graph.where(missing, np.asarray(fills), values, np.float64), missing


def _vectors(encoder: VectorEncoder, graph: Graph) -> EncodedInputs:
    x = graph.input("x", np.float64, (None, len(encoder.minimum)))
    if encoder.fills is None:
        return EncodedInputs(write_scaling(encoder.scaling, x), {}, _fault_of(x))
    filled, missing = _without_missing(x, encoder.fills)
    parts = [write_scaling(encoder.scaling, filled), missing.cast(np.float32)]
    return EncodedInputs(graph.concat(parts), {}, _fault_of(filled))


def _images(encoder: ImageEncoder, graph: Graph) -> EncodedInputs:
    shape = (None, *encoder.image_shape)
    x = graph.input("x", np.uint8 if encoder.is_bytes else np.float32, shape)
    flat = x.reshape((int(np.prod(encoder.image_shape)),))
    fault = None if encoder.is_bytes else _fault_of(flat.cast(np.float64))
    encoded = scaled(flat, encoder.minimum, encoder.maximum)
    return EncodedInputs(encoded.reshape(encoder.image_shape), {}, fault)


class _TableGraph:
    """Writes the encoding of a table, column by column where types differ."""

    def __init__(self, encoder: TableEncoder, graph: Graph):
        self.encoder, self.graph = encoder, graph
        names = input_names(encoder.columns)
        self.columns = {name: column for column, name in names.items()}
        self.inputs = {
            column: graph.input(name, self._type(column), (None, 1))
            for column, name in names.items()
        }

    def _type(self, column: str) -> type:
        encoder = self.encoder
        if column in encoder.categories:
            return object
        if column in encoder.timestamps:
            return np.int64
        if encoder.fills is not None:
            return np.float64
        return {"int64": np.int64, "bool": np.bool_}.get(encoder.types.get(column, ""), np.float64)

    def write(self) -> EncodedInputs:
        """Write the encoded table, in the order of `TableEncoder.encode`."""
        encoder, graph = self.encoder, self.graph
        parts: list[Tensor] = []
        flags: list[Tensor] = []
        fault = None
        numbers = self._stacked(list(encoder.ranges))
        times = self._seconds()
        present = [values for values in (numbers, times) if values is not None]
        if present:
            together = graph.concat(present)
            if encoder.fills is not None:
                fills = [encoder.fills.get(name, 0.0) for name in encoder.number_names]
                together, missing = _without_missing(together, fills)
                flags.append(missing.cast(np.float32))
            fault = _fault_of(together)
            n_numbers = len(encoder.ranges)
            if n_numbers:
                numbers = self._some(together, 0, n_numbers)
                parts.append(write_scaling(encoder.scaling, numbers))
            if encoder.timestamps:
                n_all = len(encoder.number_names)
                parts.append(self._cycles(self._some(together, n_numbers, n_all)))
        if encoder.categories:
            slots, missing = self._slots()
            parts.append(slots)
            flags.append(missing)
        if encoder.fills is not None:
            parts += flags
        return EncodedInputs(graph.concat(parts), self.columns, fault)

    def _stacked(self, names: Sequence[str]) -> Tensor | None:
        """Stack number columns in double precision, those of one type at once."""
        if not names:
            return None
        types = sorted({self._type(name) for name in names}, key=str)
        groups = [[name for name in names if self._type(name) is kind] for kind in types]
        stacked = [
            self.graph.concat([self.inputs[name] for name in group]).cast(np.float64)
            for group in groups
        ]
        order = [name for group in groups for name in group]
        together = self.graph.concat(stacked)
        if order == list(names):
            return together
        return together.gather(np.array([order.index(name) for name in names]), -1)

    def _seconds(self) -> Tensor | None:
        """Write timestamps in seconds, NaN where they are missing."""
        if not self.encoder.timestamps:
            return None
        stamps = self.graph.concat([self.inputs[name] for name in self.encoder.timestamps])
        # Whole microseconds are exact in double precision, and what `as_seconds` takes.
        seconds = (stamps / 1000).cast(np.float64) / _MICROSECONDS
        missing = stamps.compare("Equal", _NO_TIME)
        return self.graph.where(missing, np.nan, seconds, np.float64)

    def _some(self, values: Tensor, start: int, end: int) -> Tensor:
        if values.shape[-1] == end - start:
            return values
        return values.gather(np.arange(start, end), -1)

    def _cycles(self, seconds: Tensor) -> Tensor:
        """Write the position of timestamps in each period, as on a clock face."""
        n_times = seconds.sample_shape[0]
        angles = [seconds * (2 * np.pi / period) for period in PERIODS.values()]
        waves = [angle.unary(wave) for angle in angles for wave in ("Sin", "Cos")]
        each = self.graph.concat([(wave + 1.0) * 0.5 for wave in waves])
        # All values of one timestamp are next to each other.
        order = np.arange(len(waves) * n_times).reshape(len(waves), n_times).T.ravel()
        return each.gather(order, -1).cast(np.float32)

    def _slots(self) -> tuple[Tensor, Tensor]:
        """Write the one-hot slots of all text columns, and where texts are missing."""
        codes = self.graph.concat(
            [self._codes(name, codes) for name, codes in self.encoder.codes.items()]
        )
        sizes = [len(values) + 1 for values in self.encoder.categories.values()]
        slots = np.concatenate([np.arange(size) for size in sizes])
        column = np.repeat(np.arange(len(sizes)), sizes)
        spread = codes.gather(column, -1) if len(sizes) > 1 else codes
        missing = codes.compare("Equal", -1).cast(np.float32)
        return spread.compare("Equal", slots).cast(np.float32), missing

    def _codes(self, name: str, known: Mapping[str, int]) -> Tensor:
        """Number the texts of a column: 0 for unknown ones, -1 for missing ones."""
        codes = {MISSING_TEXT: -1}
        if self.encoder.fills is not None:
            codes[""] = -1
        codes |= known
        return self.graph.add(
            "LabelEncoder",
            (self.inputs[name],),
            (None, 1),
            np.dtype(np.int64),
            domain=ML_DOMAIN,
            keys_strings=list(codes),
            values_int64s=list(codes.values()),
            default_int64=0,
        )


_KINDS: dict[type, Callable[[Any, Graph], EncodedInputs]] = {
    TableEncoder: lambda encoder, graph: _TableGraph(encoder, graph).write(),
    VectorEncoder: _vectors,
    ImageEncoder: _images,
}


def write_encoder(encoder: InputEncoder, graph: Graph) -> EncodedInputs:
    """Add an encoder's inputs and its encoding to a graph."""
    return _KINDS[type(encoder)](encoder, graph)
