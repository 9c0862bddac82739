"""Opens a review of a table file."""

from __future__ import annotations

import contextlib
import hashlib
import html
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from r2ad2.bulk.rejects import RejectsFile, check_on_error
from r2ad2.bulk.training_table import require_no_feature, training_source
from r2ad2.detectors.persistence import load
from r2ad2.review.files import read_rows, read_training
from r2ad2.review.session import ReviewSession
from r2ad2.support.files import require_model_name
from r2ad2.tables.source import TableSource
from r2ad2.tables.write import require_other_file

if TYPE_CHECKING:
    from r2ad2.review.server import ReviewServer

_NOTE = "reviewed_model"  # what the note in a model file is called


@dataclass
class Review:
    """A review that is ready to be served.

    Attributes:
        session: rows, labels and detector.
        server: serves the page.
        output: model file that learning writes.
        continues: whether the detector comes from `output`, where an earlier review left it.
    """

    session: ReviewSession
    server: ReviewServer
    output: Path
    continues: bool


def default_output(model: Path) -> Path:
    """Return the model file that learning writes: "model-reviewed.keras" for "model.keras"."""
    return model.with_name(f"{model.stem}-reviewed{model.suffix}")


@contextlib.contextmanager
def address_file(url: str, folder: Path) -> Iterator[Path]:
    """Write a page that leads to an address, readable for this user only; removed at the end.

    A browser is started with it rather than with the address: all users of a machine can see the
    arguments of its processes, and the address has the token.
    """
    descriptor, name = tempfile.mkstemp(".html", ".review-", folder)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(
                '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Review</title>'
                f'<meta http-equiv="refresh" content="0; url={html.escape(url)}"></html>'
            )
        yield path
    finally:
        path.unlink(missing_ok=True)


def open_review(
    table: Path,
    model: Path,
    labels: Path,
    *,
    train: Path | None = None,
    label: str = "",
    anomalous: Sequence[str] = (),
    normal: Sequence[str] = (),
    ids: Sequence[str] = (),
    output: Path | None = None,
    port: int = 0,
    host: str = "127.0.0.1",
    reading: Callable[[TableSource], TableSource] = lambda source: source,
    on_error: str = "raise",
    note: Callable[[str], None] = lambda text: None,
) -> Review:
    """Read the files, score the rows, and prepare the page; `Review.server` then serves it.

    An earlier review of the same model continues: with its labels, and with the model that it
    wrote.

    Args:
        table: rows to review.
        model: model file. It is not changed, unless `output` names it.
        labels: labels file (.csv).
        train: the training table; without it, rows can be labelled, but nothing is learnt.
        label: its label column; by default as in training.
        anomalous: label values of anomalies; by default as in training.
        normal: label values of normal rows; by default as in training.
        ids: columns that identify a row; by default its content does.
        output: model file that learning writes; by default NAME-reviewed.keras next to the model.
        port: port of the page; 0 chooses a free one.
        host: address to listen on.
        reading: changes how the files are read, if not as the training table was.
        on_error: "raise", or "skip" to leave malformed rows out.
        note: called with a line about what happens.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for files that cannot be read or do not fit each other.
        OSError: if the port is taken, or files cannot be written.
    """
    from r2ad2.review.server import ReviewServer

    if output is not None:
        require_model_name(output)
    for read in (table, train):
        if read is not None:
            require_other_file(labels, read)
    output = output or default_output(model)
    detector = load(model)
    base = hashlib.sha256(model.read_bytes()).hexdigest()
    continues = False
    if output.exists() and output.resolve() != model.resolve():
        reviewed = load(output)
        continues = reviewed.notes_.get(_NOTE) == base
        if continues:
            detector = reviewed
            note(f"continuing with {output}, which an earlier review of {model} wrote")
        else:
            note(f"learning will replace {output}, which comes from another model than {model}")
    detector.notes_ = {**detector.notes_, _NOTE: base}
    source = reading(training_source(detector)).relabelled(label, anomalous, normal)
    if source.label:
        require_no_feature(detector, source.label)
    skip = check_on_error(on_error, None, table)
    aside, training, known = RejectsFile(None), None, None
    samples, id_columns = read_rows(detector, table, ids, source, skip=skip, rejects=aside)
    for text in aside.notes:
        note(f"{table}: {text}")
    if train is not None:
        training, known = read_training(detector, train, source, skip=skip)
    session = ReviewSession(
        detector,
        samples.reset_index(drop=True),
        training,
        None if known is None else detector.classes_[known],
        labels=labels,
        ids=id_columns if len(ids) else None,
        numbers=samples.index.tolist(),
        output=output,
    )
    if session.training is not None:
        for text in session.training.notes:
            note(text)
    server = ReviewServer(session, table.name, port=port, host=host)
    return Review(session, server, output, continues)
