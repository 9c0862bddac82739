"""An ONNX graph under construction: tensors with operators, so that converters read as formulas.

Nothing here needs the package onnx until the graph is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

ML_DOMAIN = "ai.onnx.ml"
Shape: TypeAlias = "tuple[int | None, ...]"
Operand: TypeAlias = "Tensor | np.ndarray | float"


@dataclass(frozen=True)
class Node:
    """One operation; `outputs` are the names of what it computes."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    domain: str
    attributes: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph.

    Shapes are (batch, ...) or, for several copies of a network side by side, (copies, batch, ...).
    The batch is the only axis of unknown length.

    Attributes:
        graph: the graph that computes it.
        name: unique name.
        dtype: NumPy's type; object for strings.
        shape: length of each axis, None for the batch.
        logits: what a sigmoid was taken of to get this tensor, if it was.
    """

    graph: Graph
    name: str
    dtype: np.dtype
    shape: Shape
    logits: Tensor | None = None

    @property
    def n_leading(self) -> int:
        """Number of axes up to the batch: 1, or 2 with copies."""
        return self.shape.index(None) + 1

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample of one copy."""
        return tuple(int(size or 0) for size in self.shape[self.n_leading :])

    def _with(self, operator: str, other: Operand, reverse: bool = False) -> Tensor:
        operand = self.graph.as_tensor(other, self.dtype)
        pair = (operand, self) if reverse else (self, operand)
        return self.graph.add(operator, pair, broadcast(self.shape, operand.shape), self.dtype)

    def __add__(self, other: Operand) -> Tensor:
        return self._with("Add", other)

    def __radd__(self, other: Operand) -> Tensor:
        return self._with("Add", other)

    def __sub__(self, other: Operand) -> Tensor:
        return self._with("Sub", other)

    def __rsub__(self, other: Operand) -> Tensor:
        return self._with("Sub", other, reverse=True)

    def __mul__(self, other: Operand) -> Tensor:
        return self._with("Mul", other)

    def __rmul__(self, other: Operand) -> Tensor:
        return self._with("Mul", other)

    def __truediv__(self, other: Operand) -> Tensor:
        return self._with("Div", other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return self._with("Div", other, reverse=True)

    def __matmul__(self, other: Tensor | np.ndarray) -> Tensor:
        operand = self.graph.as_tensor(other, self.dtype)
        shape = (
            *broadcast(self.shape[:-2], operand.shape[:-2]),
            self.shape[-2],
            operand.shape[-1],
        )
        return self.graph.add("MatMul", (self, operand), shape, self.dtype)

    def __neg__(self) -> Tensor:
        return self.unary("Neg")

    def unary(self, operator: str, **attributes: Any) -> Tensor:
        """Apply an operator of one operand that keeps shape and type."""
        return self.graph.add(operator, (self,), self.shape, self.dtype, **attributes)

    def compare(self, operator: str, other: Operand) -> Tensor:
        """Compare with "Greater", "Less" or "Equal": a boolean tensor."""
        operand = self.graph.as_tensor(other, self.dtype)
        shape = broadcast(self.shape, operand.shape)
        return self.graph.add(operator, (self, operand), shape, np.dtype(bool))

    def cast(self, dtype: Any) -> Tensor:
        """Convert to another type; the tensor itself if it has this type."""
        wanted = np.dtype(dtype)
        if wanted == self.dtype:
            return self
        code = TYPES[wanted.name]
        return self.graph.add("Cast", (self,), self.shape, wanted, to=code)

    def reshape(self, sample_shape: Sequence[int]) -> Tensor:
        """Give each sample another shape."""
        if self.sample_shape == tuple(sample_shape):
            return self
        lengths = np.array([*[0] * self.n_leading, *sample_shape], np.int64)  # 0 keeps an axis
        shape = (*self.shape[: self.n_leading], *(int(size) for size in sample_shape))
        operands = (self, self.graph.constant(lengths))
        return self.graph.add("Reshape", operands, shape, self.dtype)

    def transpose(self, order: Sequence[int]) -> Tensor:
        """Put the axes into another order."""
        shape = tuple(self.shape[axis] for axis in order)
        return self.graph.add("Transpose", (self,), shape, self.dtype, perm=list(order))

    def swap_last(self) -> Tensor:
        """Swap the last two axes."""
        rank = len(self.shape)
        return self.transpose([*range(rank - 2), rank - 1, rank - 2])

    def gather(self, indices: np.ndarray, axis: int) -> Tensor:
        """Take the elements at constant positions along an axis."""
        axis %= len(self.shape)
        shape = (*self.shape[:axis], *indices.shape, *self.shape[axis + 1 :])
        operands = (self, self.graph.constant(indices.astype(np.int64)))
        return self.graph.add("Gather", operands, shape, self.dtype, axis=axis)

    def sum_squares(self) -> Tensor:
        """Sum the squares along the last axis, which keeps the length 1."""
        shape = (*self.shape[:-1], 1)
        return self.graph.add("ReduceSumSquare", (self,), shape, self.dtype, axes=[-1])

    def sum(self, axis: int, keep: bool = False) -> Tensor:
        """Sum along one axis."""
        operands = (self, self.graph.constant(np.array([axis], np.int64)))
        shape = _without(self.shape, axis, keep)
        return self.graph.add("ReduceSum", operands, shape, self.dtype, keepdims=int(keep))

    def maximum(self, axis: int) -> Tensor:
        """Take the maximum along one axis, which vanishes."""
        shape = _without(self.shape, axis, keep=False)
        return self.graph.add("ReduceMax", (self,), shape, self.dtype, axes=[axis], keepdims=0)

    def clip(self, low: float, high: float) -> Tensor:
        """Limit the values."""
        limits = [self.graph.constant(np.asarray(value, self.dtype)) for value in (low, high)]
        return self.graph.add("Clip", (self, *limits), self.shape, self.dtype)

    def flat(self) -> Tensor:
        """Return a tensor (batch, 1) as (batch,)."""
        operands = (self, self.graph.constant(np.array([-1], np.int64)))
        return self.graph.add("Reshape", operands, (None,), self.dtype)


# NumPy's types by the numbers that ONNX has for them (TensorProto.DataType).
TYPES = {"float32": 1, "uint8": 2, "int64": 7, "object": 8, "bool": 9, "float64": 11}


def broadcast(first: Shape, second: Shape) -> Shape:
    """Return the shape of an elementwise result; a known length goes with 1 or itself."""
    rank = max(len(first), len(second))
    pairs = zip(
        (1,) * (rank - len(first)) + first, (1,) * (rank - len(second)) + second, strict=True
    )
    return tuple(b if a == 1 else a for a, b in pairs)


def _without(shape: Shape, axis: int, keep: bool) -> Shape:
    axis %= len(shape)
    return (*shape[:axis], *((1,) if keep else ()), *shape[axis + 1 :])


@dataclass
class Graph:
    """Collects the nodes, constants, inputs and outputs of a model."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    _known: dict[Any, Tensor] = field(default_factory=dict)
    _count: int = 0

    def _new_name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}/{self._count}"  # never the name of a column's input: see `input_names`

    def input(self, name: str, dtype: Any, shape: Shape) -> Tensor:
        """Add an input of the model."""
        tensor = Tensor(self, name, np.dtype(dtype), shape)
        self.inputs.append(tensor)
        return tensor

    def output(self, name: str, tensor: Tensor) -> None:
        """Add an output of the model."""
        renamed = Tensor(self, name, tensor.dtype, tensor.shape)
        self.nodes.append(Node("Identity", (tensor.name,), (name,), "", {}))
        self.outputs.append(renamed)

    def constant(self, value: np.ndarray) -> Tensor:
        """Add a constant; equal small ones are stored once."""
        array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 1024 else None
        if key in self._known:
            return self._known[key]
        name = self._new_name("constant")
        self.constants[name] = array
        tensor = Tensor(self, name, array.dtype, array.shape)
        if key is not None:
            self._known[key] = tensor
        return tensor

    def as_tensor(self, value: Operand, dtype: np.dtype) -> Tensor:
        """Return a tensor, or a constant of the given type."""
        return value if isinstance(value, Tensor) else self.constant(np.asarray(value, dtype))

    def add(
        self,
        operator: str,
        operands: Sequence[Tensor],
        shape: Shape,
        dtype: np.dtype,
        domain: str = "",
        **attributes: Any,
    ) -> Tensor:
        """Add a node with one output of known shape and type."""
        name = self._new_name(operator)
        inputs = tuple(operand.name for operand in operands)
        self.nodes.append(Node(operator, inputs, (name,), domain, attributes))
        return Tensor(self, name, np.dtype(dtype), shape)

    def concat(self, tensors: Sequence[Tensor], axis: int = -1) -> Tensor:
        """Concatenate along an axis of known length; a single tensor stays as it is."""
        if len(tensors) == 1:
            return tensors[0]
        first = tensors[0]
        at = axis % len(first.shape)
        total = sum(int(tensor.shape[at] or 0) for tensor in tensors)
        shape = (*first.shape[:at], total, *first.shape[at + 1 :])
        return self.add("Concat", tensors, shape, first.dtype, axis=axis)

    def where(self, condition: Tensor, yes: Operand, no: Operand, dtype: Any) -> Tensor:
        """Choose between two operands elementwise."""
        pair = [self.as_tensor(value, np.dtype(dtype)) for value in (yes, no)]
        shape = broadcast(broadcast(condition.shape, pair[0].shape), pair[1].shape)
        return self.add("Where", (condition, *pair), shape, np.dtype(dtype))

    def used_nodes(self) -> list[Node]:
        """List the nodes that an output depends on, in order."""
        needed = {tensor.name for tensor in self.outputs}
        used = []
        for node in reversed(self.nodes):
            if needed & set(node.outputs):
                needed |= set(node.inputs)
                used.append(node)
        return used[::-1]
