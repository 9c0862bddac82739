"""Pipelines of labelled table files larger than memory: statistics first, then encoded samples.

Both passes read the files piece by piece. The first learns what `TableEncoder` learns from a table
in memory; the second encodes. Only a few blocks of each file being read are in memory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from r2ad2.encoders.statistics import TableStatistics
from r2ad2.encoders.tables import TableEncoder
from r2ad2.support.files import make_folder, write_atomically
from r2ad2.support.messages import count
from r2ad2.tables.dates import as_seconds
from r2ad2.tables.file import Piece, TableFile
from r2ad2.tables.source import TableSource

_MAX_LABELS = 1000  # enough for an error message that lists them


@dataclass(frozen=True)
class TablePipeline:
    """Labelled table files, ready to be read as encoded samples; made by `table_pipeline`.

    Attributes:
        files: the files, all with the same columns.
        source: which column is the label, what its values mean, and which columns are left out.
        encoder: turns columns into float32 samples (batch, features).
        types: types that label and features are read as, by column.
        drop_incomplete: whether rows with missing or infinite values are left out.
        n_rows: number of rows in all files; None if the encoder was given, not learnt.
        n_anomalies: number of known anomalies among them.
        n_dropped: number of rows left out.
    """

    files: tuple[TableFile, ...]
    source: TableSource
    encoder: TableEncoder
    types: Mapping[str, pa.DataType]
    drop_incomplete: bool = False
    n_rows: int | None = None
    n_anomalies: int | None = None
    n_dropped: int | None = None

    def as_tf_data(
        self,
        batch_size: int = 512,
        shuffle: int = 0,
        random_state: int = 0,
        n_readers: int = 1,
        shard: tuple[int, int] = (0, 1),
        cache: str | os.PathLike | None = None,
    ) -> tf.data.Dataset:
        """Make a pipeline of batches.

        Args:
            batch_size: samples per batch; the last batch may be smaller.
            shuffle: size of the buffer from which samples are drawn at random; 0 does not shuffle.
            random_state: seed of the draws.
            n_readers: number of pieces of the files that are read at the same time; with 1 the
                samples keep the order of the files. More readers need more memory and help if
                there are many cores.
            shard: (i, n) gives only the i-th of n disjoint parts, for worker i of n.
            cache: file that keeps the encoded samples for all epochs after the first. It must not
                exist yet, or come from the same pipeline.

        Returns:
            Pairs of float32 samples (batch, features) and int64 labels (batch,).

        Raises:
            ValueError: for values out of range.
        """
        index, n_shards = shard
        if batch_size < 1 or n_readers < 1 or shuffle < 0 or not 0 <= index < n_shards:
            raise ValueError(
                f"batch_size={batch_size} and n_readers={n_readers} must be at least 1, "
                f"shuffle={shuffle} not negative, and shard={shard} (i, n) with 0 <= i < n"
            )
        n_pieces = 1 if n_readers == n_shards == 1 else n_readers * n_shards
        pieces = [
            (file, piece)
            for file in self.files
            for piece in file.pieces(-(-n_pieces // len(self.files)))
        ][index::n_shards]
        signature = (
            tf.TensorSpec([None, len(self.encoder.number_names)], tf.float64),
            {name: tf.TensorSpec([None], tf.int32) for name in self.encoder.categories},
            tf.TensorSpec([None], tf.int64),
        )

        def read(number: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.from_generator(
                lambda i: self._prepared(*pieces[i]),
                output_signature=signature,
                args=(number,),
            )

        dataset = (
            tf.data.Dataset.range(len(pieces))
            .interleave(read, cycle_length=n_readers, num_parallel_calls=n_readers)
            .map(
                lambda numbers, codes, y: (self.encoder.encode(numbers, codes), y),
                num_parallel_calls=n_readers,
            )
        )
        if cache is not None:
            make_folder(Path(cache).parent)
            dataset = dataset.cache(os.fspath(cache))
        if shuffle:
            dataset = dataset.unbatch().shuffle(shuffle, seed=random_state).batch(batch_size)
        else:
            dataset = dataset.rebatch(batch_size)
        if self.n_rows is not None and n_shards == 1:
            # This tells Keras the number of steps.
            n_batches = tf.data.experimental.assert_cardinality(-(-self.n_rows // batch_size))
            dataset = dataset.apply(n_batches)
        return dataset.prefetch(2)

    def _prepared(
        self, file: TableFile, piece: Piece
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]]:
        """Read a piece as numbers (rows, columns), categories' codes by column, and labels."""
        for block in _read(file, piece, self.source, self.types, self.drop_incomplete):
            table = block.table
            if not len(table):
                continue
            numbers = table[list(self.encoder.ranges)].to_numpy(dtype=np.float64)
            texts = [block.batch.column(name) for name in self.encoder.categories]
            if not np.isfinite(numbers).all() or any(column.null_count for column in texts):
                with _located(file, piece, table.index):
                    # Raises an error that names the column, unless missing values are allowed.
                    self.encoder.prepare(self.source.features(table))
            if self.encoder.timestamps:
                with _located(file, piece, table.index):
                    seconds = [as_seconds(name, table[name]) for name in self.encoder.timestamps]
                numbers = np.concatenate([numbers, np.stack(seconds, axis=1)], axis=1)
            codes = {
                name: _codes(column, values)
                for column, (name, values) in zip(
                    texts, self.encoder.categories.items(), strict=True
                )
            }
            yield numbers, codes, block.is_anomaly


def table_pipeline(
    files: str | os.PathLike | Sequence[str | os.PathLike],
    label: str,
    *,
    anomalous: Sequence[str] = (),
    normal: Sequence[str] = (),
    drop: Sequence[str] = (),
    texts: Sequence[str] = (),
    drop_incomplete: bool = False,
    missing: str = "error",
    encoder: TableEncoder | None = None,
    spool: str | os.PathLike | None = None,
) -> TablePipeline:
    """Open table files of any size and learn how to encode them.

    Args:
        files: CSV or Parquet files, plain or gzipped, with the same columns in any order.
        label: name of the label column.
        anomalous: label values of known anomalies; all others are normal.
        normal: label values of normal rows; all others are known anomalies. Without `anomalous`
            and `normal`, labels are 0 and 1.
        drop: columns to leave out, if present.
        texts: columns to read as text: categories that are written as numbers.
        drop_incomplete: whether to leave out rows with missing or infinite values, and repeated
            header lines, instead of raising an error.
        missing: "error", or "indicator" to fill missing values and flag them in a slot per column.
        encoder: encoder learnt from other files; these files are then not read yet.
        spool: .parquet file to copy the columns into while they are read; the samples then come
            from there. That is much faster than parsing CSV in each epoch, and unlike a gzipped
            file the copy can be divided. It needs eight bytes of disk space per number.

    Returns:
        The pipeline, whose samples `as_tf_data` gives.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for files that cannot be read or encoded; the message names file and rows.
    """
    paths = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    if not paths:
        raise ValueError("name at least one file")
    tables = tuple(TableFile(Path(path)) for path in paths)
    source = TableSource(label, tuple(anomalous), tuple(normal), tuple(drop))
    types = _common_types(tables, source, texts, repeated_header=drop_incomplete)
    if encoder is not None:
        types = _types_of(encoder, types, source, paths[0])
        return TablePipeline(tables, source, encoder, types, drop_incomplete)
    pipeline = TablePipeline(tables, source, TableEncoder([], {}, {}), types, drop_incomplete)
    if spool is None:
        return _learn(pipeline, missing)
    spool = Path(spool)
    if not TableFile(spool).is_parquet or spool.suffix == ".gz":
        raise ValueError(f"the name of the spool file must end in .parquet, got {str(spool)!r}")
    learnt = []
    write_atomically(spool, lambda path: learnt.append(_learn(pipeline, missing, path)))
    return replace(learnt[0], files=(TableFile(spool),))


def _learn(pipeline: TablePipeline, missing: str, spool: Path | None = None) -> TablePipeline:
    """Read the files once: learn the encoding and, with `spool`, copy the rows that are used."""
    statistics, labels = TableStatistics(missing), _LabelCount()
    source, types = pipeline.source, pipeline.types
    with contextlib.ExitStack() as stack:
        writer = None
        if spool is not None:
            writer = pq.ParquetWriter(
                spool,
                pa.schema(list(types.items())),
                compression="none",
                use_dictionary=[name for name, kind in types.items() if kind == pa.string()],
                write_statistics=False,
            )
            stack.enter_context(writer)
        for file in pipeline.files:
            for piece in file.pieces():
                for block in _read(file, piece, source, types, pipeline.drop_incomplete):
                    labels.add(block, source.label)
                    if not len(block.table):
                        continue
                    with _located(file, piece, block.table.index):
                        statistics.update(source.features(block.table), block.is_anomaly == 0)
                    if writer is not None:
                        writer.write_batch(block.batch)
    labels.check(source)
    return replace(
        pipeline,
        encoder=TableEncoder(**statistics.result()),
        n_rows=labels.n_rows,
        n_anomalies=labels.n_anomalies,
        n_dropped=labels.n_dropped,
    )


@dataclass(frozen=True)
class _Block:
    """Some rows of a file.

    Attributes:
        batch: label and features as an Arrow batch.
        table: the same as a DataFrame, with row numbers as its index.
        is_anomaly: label 0 or 1 of each row (n,).
        n_dropped: number of rows of the block that were left out.
    """

    batch: pa.RecordBatch
    table: pd.DataFrame
    is_anomaly: np.ndarray
    n_dropped: int


class _LabelCount:
    """Counts rows and anomalies, and collects the distinct labels."""

    def __init__(self) -> None:
        self.n_rows = self.n_anomalies = self.n_dropped = 0
        self._values: set = set()

    def add(self, block: _Block, label: str) -> None:
        self.n_rows += len(block.table)
        self.n_anomalies += int(block.is_anomaly.sum())
        self.n_dropped += block.n_dropped
        if len(self._values) < _MAX_LABELS:
            self._values.update(block.table[label].unique().tolist())

    def check(self, source: TableSource) -> None:
        """Raise an error if there are no rows, or none of the label values of the source occurs."""
        if not self.n_rows:
            raise ValueError(f"there are no complete rows ({count(self.n_dropped, 'row')} dropped)")
        source.labels(pd.DataFrame({source.label: list(self._values)}))


def _common_types(
    files: Sequence[TableFile], source: TableSource, texts: Sequence[str], repeated_header: bool
) -> dict[str, pa.DataType]:
    """Return the types of label and features, which all files must have."""
    common: dict[str, pa.DataType] = {}
    for file in files:
        types = file.types(repeated_header)
        found = {name: kind for name, kind in types.items() if name not in source.drop}
        if source.label not in found:
            raise ValueError(
                f"{str(file.path)!r} has no label column {source.label!r}; its columns are "
                f"{', '.join(map(repr, list(found)[:8]))}{', ...' if len(found) > 8 else ''}"
            )
        unshared = sorted(set(found) ^ set(common)) if common else []
        if unshared:
            raise ValueError(
                f"{str(files[0].path)!r} and {str(file.path)!r} differ in column {unshared[0]!r}: "
                "only one of them has it; drop it, or read the files separately"
            )
        # Categories may look like numbers in some of the files.
        is_text = {name for name in found if pa.string() in (found[name], common.get(name))}
        common = {
            name: pa.string() if name in is_text else kind
            for name, kind in (common or found).items()
        }
    absent = [name for name in texts if name not in common]
    if absent:
        raise ValueError(f"there is no column {absent[0]!r} to read as text")
    return {**common, **dict.fromkeys(texts, pa.string())}


def _types_of(
    encoder: TableEncoder, types: Mapping[str, pa.DataType], source: TableSource, path: object
) -> dict[str, pa.DataType]:
    """Return the types of the columns that an encoder expects, and of the label."""
    absent = [name for name in encoder.columns if name not in types]
    if absent:
        raise ValueError(f"{str(path)!r} has no column {absent[0]!r}, which the encoder has")
    special = {
        **dict.fromkeys(encoder.categories, pa.string()),
        **dict.fromkeys(encoder.timestamps, pa.timestamp("us")),
    }
    features = {name: special.get(name, pa.float64()) for name in encoder.columns}
    return {source.label: types[source.label], **features}


def _read(
    file: TableFile,
    piece: Piece,
    source: TableSource,
    types: Mapping[str, pa.DataType],
    drop_incomplete: bool,
) -> Iterator[_Block]:
    """Read a piece block by block."""
    first_row = 0
    # In a number column, a repeated header would be text: it is read as missing.
    repeated = list(types) if drop_incomplete else []
    for batch in file.batches(piece, types, missing=repeated, missing_texts=True):
        table, n_read = batch.to_pandas(), batch.num_rows
        table.index = pd.RangeIndex(first_row, first_row + len(table))
        first_row += len(table)
        if drop_incomplete:
            complete = _is_complete(table)
            if not complete.all():
                table, batch = table[complete], batch.filter(pa.array(complete))
        with _located(file, piece, table.index):
            labels = source.labels(table, partial=True)
        yield _Block(batch, table, labels, n_read - len(table))


def _codes(column: pa.Array, values: Sequence[str]) -> np.ndarray:
    """Return the code of each text for `TableEncoder.encode` (n,)."""
    positions = pc.index_in(column, value_set=pa.array(values, column.type))
    codes = positions.fill_null(-1).to_numpy() + np.int32(1)
    return np.where(column.is_null(), np.int32(-1), codes) if column.null_count else codes


def _is_complete(table: pd.DataFrame) -> np.ndarray:
    complete = np.ones(len(table), dtype=bool)
    for name in table:
        column = table[name]
        is_float = pd.api.types.is_float_dtype(column.dtype)
        complete &= np.isfinite(column.to_numpy()) if is_float else column.notna().to_numpy()
    return complete


@contextlib.contextmanager
def _located(file: TableFile, piece: Piece, index: pd.Index) -> Iterator[None]:
    """Add file and rows to the message of an error."""
    try:
        yield
    except ValueError as error:
        first = file.rows_before(piece)
        rows = f", rows {first + index[0]:,} to {first + index[-1]:,}" if len(index) else ""
        raise ValueError(f"{str(file.path)!r}{rows}: {error}") from error
