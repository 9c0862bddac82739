"""Types of the columns of a table in several typed files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from r2ad2.support.messages import quoted, reason_of

_REMEDY = "write this column with the same type in all parts"


def common_types(folder: Path, parts: Iterable[tuple[Path, pa.Schema]]) -> dict[str, pa.DataType]:
    """Return the type of each column that holds the values of all parts.

    pandas gives a column of whole numbers another type in parts with gaps, and none where it is
    entirely empty.

    Args:
        folder: the parts' folder, for messages.
        parts: each file and its schema.

    Raises:
        ValueError: if parts differ in their columns, or in types that have nothing in common.
    """
    found: dict[str, pa.DataType] = {}
    decided: dict[str, Path] = {}  # the part that a column's type is from
    for path, schema in parts:
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise ValueError(f"{str(path)!r} has two columns {quoted(twice[0])}: rename one")
        types = {field.name: field.type for field in schema}
        unshared = sorted(set(types) ^ set(found)) if decided else []
        if unshared:
            raise ValueError(
                f"the parts of {str(folder)!r} differ: only some have column {quoted(unshared[0])}"
            )
        for name, type_ in types.items():
            before = found.get(name, type_)
            try:
                found[name] = before if before == type_ else _common(before, type_)
            except pa.ArrowException as error:
                raise ValueError(
                    f"column {quoted(name)} is {before} in {str(decided[name])!r}, but {type_} in "
                    f"{str(path)!r}: {_REMEDY}"
                ) from error
            if name not in decided or found[name] != before:
                decided[name] = path
    return found


def cast_part(name: str, array: pa.Array, type_: pa.DataType, path: Path) -> pa.Array:
    """Return a column of a part in the type of all parts; dictionaries differ between batches.

    Args:
        name: the column.
        array: its values.
        type_: from `common_types`.
        path: the part.

    Raises:
        ValueError: if this type does not hold one of the values.
    """
    wanted = _values(type_)
    try:
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        return array if array.type == wanted else array.cast(wanted)
    except pa.ArrowException as error:
        raise ValueError(
            f"column {quoted(name)} of {str(path)!r} is {array.type} and cannot be read as "
            f"{wanted}, which other parts need ({reason_of(error)}): {_REMEDY}"
        ) from error


def _common(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    schemas = [pa.schema([("x", _values(type_))]) for type_ in (first, second)]
    return pa.unify_schemas(schemas, promote_options="permissive").field("x").type


def _values(type_: pa.DataType) -> pa.DataType:
    """Return the type of a column's values, whether or not they are in a dictionary."""
    return type_.value_type if pa.types.is_dictionary(type_) else type_
