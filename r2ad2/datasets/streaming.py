"""Pipelines of labelled table files larger than memory: types and statistics first, then samples.

Every pass reads the files in batches. The first decides the columns' types, the second learns what
`TableEncoder` learns from a table in memory; from then on rows are encoded.
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

from r2ad2.datasets.typed_files import TypedFile, common_columns, with_common_kinds
from r2ad2.encoders.statistics import TableStatistics
from r2ad2.encoders.tables import TableEncoder
from r2ad2.support.files import make_folder, write_atomically
from r2ad2.support.messages import count
from r2ad2.tables.dates import as_seconds
from r2ad2.tables.reader import TableReader
from r2ad2.tables.source import LabelReader, TableSource

_KINDS = {"number": "number", "text": "category", "timestamp": "date"}
_SPOOLED = {"category": pa.string(), "date": pa.timestamp("us")}  # others: float64


@dataclass(frozen=True)
class TablePipeline:
    """Labelled table files, ready to be read as encoded samples; made by `table_pipeline`.

    Attributes:
        files: the files, all with the same columns, and how they are read.
        source: which column is the label, what its values mean, and which columns are left out.
        encoder: turns columns into float32 samples (batch, features).
        drop_incomplete: whether rows with missing or infinite values are left out.
        n_rows: number of rows in all files; None if the encoder was given, not learnt.
        n_anomalies: number of known anomalies among them.
        n_dropped: number of rows left out.
    """

    files: tuple[TypedFile, ...]
    source: TableSource
    encoder: TableEncoder
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
            n_readers: number of files that are read at the same time; with 1 the samples keep the
                order of the files. More readers need more memory and help if there are many cores.
            shard: (i, n) gives only the i-th of n disjoint parts, for worker i of n: every n-th
                row of each file.
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
        signature = (
            tf.TensorSpec([None, len(self.encoder.number_names)], tf.float64),
            {name: tf.TensorSpec([None], tf.int32) for name in self.encoder.categories},
            tf.TensorSpec([None], tf.int64),
        )

        def read(number: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.from_generator(
                lambda i: self._prepared(self.files[i], shard),
                output_signature=signature,
                args=(number,),
            )

        dataset = (
            tf.data.Dataset.range(len(self.files))
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
        self, file: TypedFile, shard: tuple[int, int]
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]]:
        """Read a file as numbers (rows, columns), categories' codes by column, and labels."""
        encoder = self.encoder
        for block in file.read(LabelReader(self.source), self.drop_incomplete, shard):
            table = block.table
            if not len(table):
                continue
            numbers = table[list(encoder.ranges)].to_numpy(np.float64)
            if not np.isfinite(numbers).all() or any(table[n].hasnans for n in encoder.categories):
                with file.located(table):
                    # Raises an error that names the column, unless missing values are allowed.
                    encoder.prepare(table)
            seconds = [as_seconds(name, table[name])[:, np.newaxis] for name in encoder.timestamps]
            numbers = np.concatenate([numbers, *seconds], axis=1) if seconds else numbers
            codes = {name: _codes(table[name], known) for name, known in encoder.codes.items()}
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
        files: table files with the same columns in any order; see `TableReader` for what can be
            read. The types of their columns are decided over all rows, as by `r2ad2 fit`.
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
            from there. That is much faster than parsing CSV in each epoch. It needs eight bytes of
            disk space per number.

    Returns:
        The pipeline, whose samples `as_tf_data` gives.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for files that cannot be read or encoded; the message names file and rows.
    """
    paths = [files] if isinstance(files, (str, os.PathLike)) else list(files)
    if not paths:
        raise ValueError("name at least one file")
    if spool is not None and Path(spool).suffix not in (".parquet", ".pq"):
        raise ValueError(f"the name of the spool file must end in .parquet, got {str(spool)!r}")
    source = TableSource(label, tuple(anomalous), tuple(normal), tuple(drop))
    readers = [TableReader(Path(path)) for path in paths]
    names = common_columns(readers, source, texts if encoder is None else encoder.columns)
    if encoder is not None:
        kinds = {name: _KINDS[encoder.kinds[name]] for name in encoder.columns}
        kinds |= {name: "boolean" for name, kind in encoder.types.items() if kind == "bool"}
        typed = tuple(TypedFile(reader, kinds, skip=drop_incomplete) for reader in readers)
        return TablePipeline(typed, source, encoder, drop_incomplete)
    kinds = {name: "category" if name in texts else "" for name in names}
    typed = with_common_kinds([TypedFile(r, kinds, skip=drop_incomplete) for r in readers])
    pipeline = TablePipeline(typed, source, TableEncoder([], {}, {}), drop_incomplete)
    if spool is None:
        return _learn(pipeline, missing)
    learnt: list[TablePipeline] = []
    write_atomically(spool, lambda path: learnt.append(_learn(pipeline, missing, path)))
    # The copy has labels 0 and 1.
    copy = TypedFile(TableReader(Path(spool)), typed[0].kinds)
    return replace(learnt[0], files=(copy,), source=TableSource(label))


def _learn(pipeline: TablePipeline, missing: str, spool: Path | None = None) -> TablePipeline:
    """Read the files once: learn the encoding and, with `spool`, copy the rows that are used."""
    statistics, labels = TableStatistics(missing), LabelReader(pipeline.source)
    n_rows = n_anomalies = n_dropped = 0
    kinds, label = pipeline.files[0].kinds, pipeline.source.label
    copied = {name: _SPOOLED.get(kind, pa.float64()) for name, kind in kinds.items()}
    schema = pa.schema({label: pa.int64(), **copied})
    with contextlib.ExitStack() as stack:
        writer = None
        if spool is not None:
            writer = pq.ParquetWriter(
                spool,
                schema,
                compression="none",
                use_dictionary=[name for name, kind in copied.items() if kind == pa.string()],
                write_statistics=False,
            )
            stack.enter_context(writer)
        for file in pipeline.files:
            for block in file.read(labels, pipeline.drop_incomplete):
                n_rows += len(block.table)
                n_anomalies += int(block.is_anomaly.sum())
                n_dropped += block.n_dropped
                if not len(block.table):
                    continue
                with file.located(block.table):
                    statistics.update(_in_training_types(block.table, kinds), block.is_anomaly == 0)
                if writer is not None:
                    table = block.table.assign(**{label: block.is_anomaly})
                    writer.write_batch(pa.RecordBatch.from_pandas(table, schema, False))
    if not n_rows:
        raise ValueError(f"there are no complete rows ({count(n_dropped, 'row')} dropped)")
    labels.check()
    return replace(
        pipeline,
        encoder=TableEncoder(**statistics.result()),
        n_rows=n_rows,
        n_anomalies=n_anomalies,
        n_dropped=n_dropped,
    )


def _in_training_types(table: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Give columns the types that the encoder learns from; which texts are categories is known."""
    converted: dict[str, pd.Series] = {}
    for name, kind in kinds.items():
        if kind == "category":
            converted[name] = table[name].astype("category")
        elif kind == "boolean" and table[name].isin([0, 1]).all():
            converted[name] = table[name].astype(bool)
    return table.assign(**converted)[list(kinds)]


def _codes(column: pd.Series, known: Mapping[str, int]) -> np.ndarray:
    """Return the code of each text for `TableEncoder.encode` (n,)."""
    texts = pa.array(column, from_pandas=True)
    positions = pc.index_in(texts, value_set=pa.array(list(known), texts.type))
    numbers = np.array([0, *known.values()], dtype=np.int32)
    codes = numbers[positions.fill_null(-1).to_numpy() + 1]
    return np.where(texts.is_null(), np.int32(-1), codes) if texts.null_count else codes
