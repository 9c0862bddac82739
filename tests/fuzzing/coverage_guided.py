"""CSV files chosen by the code they reach: python -m tests.fuzzing.coverage_guided -runs=10000.

Further options are those of libFuzzer. The reading of rows and their encoding is tested; the
networks behind see prepared numbers only.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

import atheris
import numpy as np

from r2ad2.support.screen import import_tensorflow_quietly

import_tensorflow_quietly()
with atheris.instrument_imports(
    include=["r2ad2.bulk.rows", "r2ad2.encoders.columns", "r2ad2.tables.reader"]
):
    from r2ad2.bulk.rows import RowReader
    from r2ad2.tables.source import TableSource
    from tests.fuzzing.surfaces import check_refusal, require, table_detector, valid_file

_FOLDER = Path(tempfile.mkdtemp())
_COUNTS: Counter = Counter()
_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".parquet")


def use(content: bytes) -> None:
    """Read a file; its first byte decides its extension and how malformed rows are treated."""
    choice, content = (content[0], content[1:]) if content else (0, b"")
    path = _FOLDER / f"new{_SUFFIXES[choice >> 1 & 3] if choice & 8 else '.csv'}"
    path.write_bytes(content)
    encoder = table_detector().pipeline_.encoder
    try:
        for rows in RowReader(path, encoder, TableSource(""), skip=bool(choice & 1)):
            if not len(rows.table):
                continue
            prepared = encoder.prepare(rows.table[encoder.columns])
            for name in encoder.number_names:
                require(not np.isinf(prepared[name]).any(), f"infinity in {name}")
            require({len(values) for values in prepared.values()} == {len(rows.table)}, "rows lost")
        _COUNTS["result"] += 1
    except ValueError as error:
        check_refusal(error)
        _COUNTS["refused"] += 1


def main() -> None:
    """Let libFuzzer choose files; it stops at the first fault and writes its file."""
    corpus = _FOLDER / "corpus"
    corpus.mkdir()
    for choice in range(2):
        (corpus / f"valid-{choice}").write_bytes(bytes([choice]) + valid_file())
    atheris.Setup([*sys.argv, "-max_len=4096", "-print_final_stats=1", str(corpus)], report)
    atheris.Fuzz()


def report(content: bytes) -> None:
    """Use a file, and print the outcomes now and then."""
    use(content)
    n_files = sum(_COUNTS.values())
    if n_files % 1000 == 0:
        sys.stdout.write(f"{n_files:,} files: {dict(_COUNTS)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
