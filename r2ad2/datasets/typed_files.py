"""Table files whose columns' types are known: decided over all rows, or those of an encoder."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from r2ad2.datasets.rows import read_batches, read_values
from r2ad2.support.messages import did_you_mean, quoted
from r2ad2.tables.reader import TableReader, index_note
from r2ad2.tables.schema import Schema, Told, read_schema
from r2ad2.tables.source import LabelReader, TableSource
from r2ad2.tables.types import Batch
from r2ad2.tables.values import ColumnType, as_texts, cast_all, missing_texts

logger = logging.getLogger(__name__)

_REMEDY = "correct or remove it; categories that are written as numbers belong in texts"
_OPTIONS = (
    "in table_pipeline, use texts= instead of --category, drop= instead of --drop, and missing= "
    "instead of --set missing; drop_incomplete=True leaves out rows with missing or infinite "
    "values; files that need other options: r2ad2 fit reads them, or write them as Parquet"
)


@dataclass(frozen=True)
class Block:
    """Some rows of a file.

    Attributes:
        table: features, with row numbers as its index.
        is_anomaly: label 0 or 1 of each row (n,).
        n_dropped: number of rows of the block that were left out.
    """

    table: pd.DataFrame
    is_anomaly: np.ndarray
    n_dropped: int


class _NumberReader(TableReader):
    """Reads columns that begin with numbers as numbers, which is faster, or not at all."""

    @functools.cached_property
    def _numbers(self) -> set[str]:
        first = next(super().batches(self.columns, chunk_rows=1_000), None)
        return {
            name
            for name, array in (first.arrays.items() if first and self.is_text else ())
            if cast_all(array.filter(pc.invert(missing_texts(array))), pa.float64()) is not None
        }

    def batches(self, columns: Sequence[str], **options: Any) -> Iterator[Batch]:
        """Read columns in batches.

        Raises:
            ValueError: if a column that begins with numbers holds something else.
        """
        for batch in super().batches(columns, **options, numbers=self._numbers):
            if any(
                pa.types.is_string(array.type) and name in self._numbers
                for name, array in batch.arrays.items()
            ):
                raise ValueError("not all values are numbers")
            yield batch


@dataclass
class TypedFile:
    """A table file and how its columns are read.

    Attributes:
        reader: the file.
        kinds: kind of each feature by name; see `ColumnType`.
        schema: how its texts are written; None if that has not been looked at yet.
        skip: whether the schema passes over values that do not suit their column.
    """

    reader: TableReader
    kinds: Mapping[str, str]
    schema: Schema | None = None
    skip: bool = False

    def learn_schema(self) -> Schema:
        """Look at all values of the file, unless that has been done.

        Raises:
            ValueError: if a column's type or the way it is written is not clear.
        """
        if self.schema is None:
            names = list(self.kinds)
            told = Told({name: kind for name, kind in self.kinds.items() if kind})
            quick = _NumberReader(self.reader.path)
            with contextlib.suppress(ValueError):  # reading all as texts shows what is wrong
                self.schema = read_schema(quick, names, told, skip=self.skip)
            if self.schema is None or self.schema.decimal != ".":
                self.schema = self._schema_of_texts(names, told)
        return self.schema

    def _schema_of_texts(self, names: list[str], told: Told) -> Schema:
        try:
            return read_schema(self.reader, names, told, skip=self.skip)
        except ValueError as error:
            hint = f" ({_OPTIONS})" if "--" in str(error) else ""
            raise ValueError(f"{error}{hint}") from error

    def read(
        self, labels: LabelReader, drop_incomplete: bool, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[Block]:
        """Read the rows of the file.

        Args:
            labels: knows the label column.
            drop_incomplete: whether to leave out rows with missing or infinite values, and repeated
                header lines.
            shard: (i, n) gives every n-th row, beginning with row i.

        Raises:
            ValueError: for a row that is malformed, or a value that does not suit its column.
        """
        source, (index, n_shards) = labels.source, shard
        numbers = [name for name, kind in self.kinds.items() if kind == "number"]
        wanted = [source.label, *self.kinds]
        for batch in read_batches(self.reader, wanted, numbers, _REMEDY, drop_incomplete):
            n_read = len(batch.numbers) + len(batch.rejects)
            if n_shards > 1:
                chosen = batch.numbers % n_shards == index
                batch.numbers = batch.numbers[chosen]
                batch.arrays = {n: a.filter(pa.array(chosen)) for n, a in batch.arrays.items()}
            table, complete = self._table(batch)
            label = batch.arrays[source.label] if batch.arrays else pa.array([], pa.string())
            if drop_incomplete:
                complete &= source.label_column(label).notna().to_numpy(dtype=bool)
                if not complete.all():
                    table, label = table[complete], label.filter(pa.array(complete))
            with self.located(table):
                is_anomaly = labels.read(label)
            yield Block(table, is_anomaly, n_read - len(table))

    def _table(self, batch: Batch) -> tuple[pd.DataFrame, np.ndarray]:
        """Return the features, numbers first, and whether each row is complete (n,)."""
        n_rows = len(batch.numbers)
        numbers = [name for name, kind in self.kinds.items() if kind in ("number", "boolean")]
        block = np.empty((len(numbers), n_rows))  # much faster than column by column
        complete, others = np.ones(n_rows, dtype=bool), {}
        for name in self.kinds if batch.arrays else ():
            values = read_values(self.reader, batch, name, *self._type_of(name, batch), _REMEDY)
            if name in numbers:
                block[numbers.index(name)] = values
            else:
                others[name] = values.set_axis(batch.numbers)
                complete &= values.notna().to_numpy(dtype=bool)
        complete &= np.isfinite(block).all(axis=0)
        table = pd.DataFrame(block.T, batch.numbers, numbers, copy=False)
        return table.assign(**others), complete

    def _type_of(self, name: str, batch: Batch) -> tuple[ColumnType, str]:
        """Return how to read the values of a column, and the decimal sign."""
        kind = self.kinds[name]
        if kind in ("category", "boolean") or as_texts(batch.arrays[name]) is None:
            return ColumnType(kind), "."
        schema = self.learn_schema()
        column = schema.columns[name]
        return (column if column.kind == kind else ColumnType(kind)), schema.decimal

    @contextlib.contextmanager
    def located(self, table: pd.DataFrame) -> Iterator[None]:
        """Add the file and the rows of a block's table to the message of an error."""
        try:
            yield
        except ValueError as error:
            index = table.index
            rows = f", rows {index[0]:,} to {index[-1]:,}" if len(index) else ""
            raise ValueError(f"{str(self.reader.path)!r}{rows}: {error}") from error


def common_columns(
    readers: Sequence[TableReader], source: TableSource, needed: Sequence[str]
) -> list[str]:
    """Return the names of the features.

    Args:
        readers: the files.
        source: their label column, and columns that are left out.
        needed: columns that must be there.

    Raises:
        ValueError: if only some files have a column, or all lack one that is needed.
    """
    common: list[str] = []
    for reader in readers:
        found = [name for name in reader.columns if name not in source.drop]
        if source.label not in found:
            raise ValueError(
                f"{str(reader.path)!r} has no label column {source.label!r}; its columns are "
                f"{', '.join(map(repr, found[:8]))}{', ...' if len(found) > 8 else ''}"
            )
        left_out = reader.index_columns((source.label, *source.drop, *needed))
        if left_out:
            logger.warning("%s: %s", quoted(str(reader.path)), index_note(left_out))
        found = [name for name in found if name not in left_out]
        unshared = sorted(set(found) ^ set(common)) if common else []
        if unshared:
            raise ValueError(
                f"{str(readers[0].path)!r} and {str(reader.path)!r} differ in column "
                f"{unshared[0]!r}: only one of them has it; drop it, or read the files separately"
            )
        common = common or found
    absent = [name for name in needed if name not in common]
    if absent:
        hint = did_you_mean(absent[0], common)
        raise ValueError(f"{str(readers[0].path)!r} has no column {absent[0]!r}{hint}")
    return [name for name in common if name != source.label]


def with_common_kinds(files: Sequence[TypedFile]) -> tuple[TypedFile, ...]:
    """Look at all values of the files, and give each column the same kind in all of them.

    Raises:
        ValueError: if a column's type is not clear, or differs between files.
    """
    schemas = {file.reader.path: file.learn_schema() for file in files}
    kinds = {}
    for name, column in schemas[files[0].reader.path].columns.items():
        found = {s.columns[name].kind: p for p, s in schemas.items() if s.profiles[name].n_present}
        if len(found) < 2:
            kinds[name] = next(iter(found), column.kind)
        elif "category" in found:  # its texts look like numbers in some of the files
            kinds[name] = "category"
        elif set(found) == {"number", "boolean"}:
            kinds[name] = "boolean"
        else:
            (kind, path), (other, other_path) = list(found.items())[:2]
            raise ValueError(
                f"column {quoted(name)} holds a {kind} in {str(path)!r}, but a {other} in "
                f"{str(other_path)!r}: read it as text (texts), drop it, or read the files "
                "separately"
            )
    return tuple(replace(file, kinds=kinds) for file in files)
