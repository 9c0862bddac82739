"""Labelled tables of numbers as publishers distribute them: formats are data, with one reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from r2ad2.support.messages import count

if TYPE_CHECKING:  # these import pandas, which whoever only needs the cards does not wait for
    from r2ad2.tables.reader import TableReader
    from r2ad2.tables.types import Batch

_REMEDY = "the published file has no such row: download it again"


@dataclass(frozen=True)
class TableFormat:
    """How a publisher lays out a labelled table.

    Attributes:
        labels: possible names of the label column; the first one found is used.
        classes: class of each label, spelled in lower case; labels are compared case-insensitively.
        drop: columns that are not features, such as identifiers and time stamps, if present.
        one_hot: category columns, with all their values: numbers or texts.
        columns: names of all columns if the file has no header.
        n_optional: number of trailing columns that may be absent.
    """

    labels: Sequence[str]
    classes: Mapping[str, str]
    drop: Sequence[str] = ()
    one_hot: Mapping[str, Sequence[int] | Sequence[str]] = field(default_factory=dict)
    columns: Sequence[str] = ()
    n_optional: int = 0

    @property
    def header(self) -> bool:
        """Whether the file names its columns."""
        return not self.columns

    def read_names(self, reader: TableReader) -> dict[str, str]:
        """Return the reader's name of each column of a file.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it cannot be read, or does not have the columns of this format.
        """
        found, names = reader.columns, self.columns
        if self.header:
            return {name: name for name in found}
        if not len(names) - self.n_optional <= len(found) <= len(names):
            raise ValueError(
                f"{str(reader.path)!r} has {len(found)} columns; expected {len(names)}: "
                f"{', '.join(names[:3])}, ..., {names[-1]}"
                f"{' (optional)' if self.n_optional else ''}"
            )
        return dict(zip(names, found, strict=False))

    def is_number(self, feature: str) -> bool:
        """Whether a feature is read as a number; otherwise it is text."""
        return not any(isinstance(value, str) for value in self.one_hot.get(feature, ()))


@dataclass(frozen=True)
class Rows:
    """Some rows of a labelled table.

    Attributes:
        x: float32 features (n, features); NaN or infinite where the value in the file is.
        classes: class of each row (n,).
    """

    x: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @property
    def is_complete(self) -> np.ndarray:
        """Whether each row has finite values only (n,)."""
        return np.isfinite(self.x).all(axis=1)

    def __getitem__(self, which: np.ndarray) -> Rows:
        return Rows(self.x[which], self.classes[which])

    @classmethod
    def concatenate(cls, pieces: Iterable[Rows]) -> Rows:
        """Put pieces one below the other."""
        pieces = list(pieces)
        return cls(
            np.concatenate([piece.x for piece in pieces]),
            np.concatenate([piece.classes for piece in pieces]),
        )


class LabelledTable:
    """One or several files of a `TableFormat` with the same features, read piece by piece.

    Args:
        paths: the files, in reading order.
        layout: their format.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if the label column is missing, or the files differ in their features.
    """

    def __init__(self, paths: Sequence[Path], layout: TableFormat):
        from r2ad2.tables.reader import TableReader

        self._files = [TableReader(path, header=layout.header) for path in paths]
        self._layout = layout
        self._names: list[dict[str, str]] = []  # of each file's columns in its reader
        self._labels: list[str] = []
        self.columns: list[str] = []
        for i, file in enumerate(self._files):
            names = layout.read_names(file)
            label = next((name for name in layout.labels if name in names), None)
            if label is None:
                raise ValueError(
                    f"{str(file.path)!r} has no label column "
                    f"{' or '.join(map(repr, layout.labels))} among its {len(names)} columns"
                )
            # Other label columns are not features; nor are the row numbers in some copies.
            no_feature = {*layout.drop, *layout.labels, *(f"{name}.1" for name in layout.labels)}
            numbers = file.index_columns([names[name] for name in no_feature & names.keys()])
            features = [n for n in names if n not in no_feature and names[n] not in numbers]
            if i == 0:
                self.columns = features
            self._require_same(features, file.path)
            self._names.append(names)
            self._labels.append(label)

    def _require_same(self, features: list[str], path: Path) -> None:
        if not features:
            raise ValueError(f"{str(path)!r} has no feature columns")
        unshared = sorted(set(features) ^ set(self.columns))
        if unshared:
            where = path if unshared[0] in features else self._files[0].path
            raise ValueError(
                f"{str(path)!r} and {str(self._files[0].path)!r} differ in their columns: "
                f"{unshared[0]!r} is only in {str(where)!r}"
            )

    @property
    def feature_names(self) -> list[str]:
        """Names of the features: number columns, then "column_value" for each one-hot slot."""
        one_hot = self._layout.one_hot
        slots = [f"{name}_{value}" for name, values in one_hot.items() for value in values]
        return [*(name for name in self.columns if name not in one_hot), *slots]

    def read(self) -> Iterator[Rows]:
        """Read all files piece by piece.

        Rows that repeat the header are left out; rows with missing values are kept.

        Raises:
            ValueError: for a label or category that the publisher does not use, for text in a
                number column, or a file without rows.
        """
        from r2ad2.datasets.rows import read_batches

        numbers = [name for name in self.columns if self._layout.is_number(name)]
        for file, names, label in zip(self._files, self._names, self._labels, strict=True):
            wanted = [names[name] for name in (*self.columns, label)]
            n_read = 0
            for batch in read_batches(file, wanted, [names[name] for name in numbers], _REMEDY):
                n_read += len(batch.numbers)
                if len(batch.numbers):
                    batch.arrays = {n: batch.arrays[names[n]] for n in (*self.columns, label)}
                    yield self._rows(file, label, batch)
            if not n_read:
                raise ValueError(f"{str(file.path)!r} contains no rows")

    def _rows(self, file: TableReader, label: str, batch: Batch) -> Rows:
        from r2ad2.datasets.rows import read_values
        from r2ad2.tables.values import ColumnType

        def numbers(name: str) -> np.ndarray:
            return read_values(file, batch, name, ColumnType("number"), ".", _REMEDY).to_numpy()

        one_hot = self._layout.one_hot
        plain = [name for name in self.columns if name not in one_hot]
        x = np.zeros((len(batch.numbers), len(self.feature_names)), dtype=np.float32)
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite
            for i, name in enumerate(plain):
                x[:, i] = numbers(name)
        i = len(plain)
        for name, values in one_hot.items():
            array = batch.arrays[name]
            if self._layout.is_number(name):
                array = pa.array(numbers(name), from_pandas=True)
            self._fill_slots(file, name, batch.numbers, array, x[:, i : i + len(values)])
            i += len(values)
        return Rows(x, self._classes(file, label, batch.numbers, batch.arrays[label]))

    def _fill_slots(
        self,
        file: TableReader,
        name: str,
        numbers: np.ndarray,
        column: pa.Array,
        slots: np.ndarray,
    ) -> None:
        """Set the slot of each row's category to 1; all slots to NaN if the category is missing."""
        encoded = column.dictionary_encode()
        values = list(self._layout.one_hot[name])
        indices = encoded.indices.fill_null(-1).to_numpy()
        slot_of = np.zeros(len(encoded.dictionary), dtype=np.int64)
        for i, value in enumerate(encoded.dictionary.to_pylist()):
            if value not in values:
                row = numbers[np.flatnonzero(indices == i)[0]]
                text = repr(value) if isinstance(value, str) else f"{value:g}"
                raise ValueError(
                    f"{str(file.path)!r}, row {row}: {text} is not a published value of {name}"
                )
            slot_of[i] = values.index(value)
        present = np.flatnonzero(indices >= 0)
        slots[present, slot_of[indices[present]]] = 1
        slots[indices < 0] = np.nan

    def _classes(
        self, file: TableReader, label: str, numbers: np.ndarray, column: pa.Array
    ) -> np.ndarray:
        """Return the class of each row (n,)."""
        encoded = column.dictionary_encode()
        indices = encoded.indices.to_numpy()
        classes = []
        for i, text in enumerate(map(str.strip, encoded.dictionary.to_pylist())):
            if text.lower() not in self._layout.classes:
                row = numbers[np.flatnonzero(indices == i)[0]]
                raise ValueError(
                    f"{str(file.path)!r}, row {row}: {text!r} is not a known {label}; the "
                    f"published ones are {', '.join(self._layout.classes)}"
                )
            classes.append(self._layout.classes[text.lower()])
        all_classes = np.asarray(list(self._layout.classes.values()))
        return np.asarray(classes, dtype=all_classes.dtype)[indices]


def read_complete(path: Path, layout: TableFormat) -> tuple[Rows, list[str]]:
    """Read a table that must not have missing values.

    Returns:
        Its rows, and the names of its features.

    Raises:
        ValueError: if a value is missing or infinite.
    """
    table = LabelledTable([path], layout)
    rows = Rows.concatenate(table.read())
    bad = np.flatnonzero(~rows.is_complete)
    if len(bad):
        column = int(np.flatnonzero(~np.isfinite(rows.x[bad[0]]))[0])
        raise ValueError(
            f"{str(path)!r}, row {bad[0]}: the value of column {table.feature_names[column]!r} is "
            f"missing or infinite ({count(len(bad), 'such row')}); the published file has none: "
            "download it again"
        )
    return rows, table.feature_names


def complete_rows(pieces: Iterable[Rows]) -> tuple[Rows, int]:
    """Drop the rows with missing or infinite values.

    Returns:
        The complete rows, and the number of dropped ones.

    Raises:
        ValueError: if no row is left.
    """
    kept, n_dropped = [], 0
    for rows in pieces:
        complete = rows.is_complete
        n_dropped += int((~complete).sum())
        kept.append(rows[complete])
    rows = Rows.concatenate(kept)
    if not len(rows):
        raise ValueError(f"all of {count(n_dropped, 'row')} have missing or infinite values")
    return rows, n_dropped
