"""Keeps an analyst's labels: a SQLite database, and a CSV file that is written from it."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import logging
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from r2ad2.support.files import make_folder, write_atomically
from r2ad2.support.messages import quoted

logger = logging.getLogger(__name__)

LABELS = ("anomaly", "normal", "unsure")
_FIELDS = ("label", "note", "time")
_PATIENCE = 30.0  # seconds to wait for another process that writes
_FROM_FILE = "labels file"  # where labels come from that were edited in the CSV file
# A spreadsheet takes a cell that begins with one of these for a formula or swallows it; the
# last four are full-width forms of = + - @. The apostrophe is our own mark.
_FORMULA_STARTS = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    label TEXT,
    note TEXT NOT NULL DEFAULT '',
    time TEXT NOT NULL,
    window TEXT NOT NULL DEFAULT '',
    undone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS events_of_key ON events (key, undone, id);
CREATE TABLE IF NOT EXISTS contents (key TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rounds (id INTEGER PRIMARY KEY AUTOINCREMENT, figures TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_CURRENT = """
SELECT key, label, note, time FROM events
WHERE id IN (SELECT MAX(id) FROM events WHERE undone = 0 AND id <= ? GROUP BY key)
ORDER BY id
"""
_CURRENT_OF_KEY = """
SELECT label, note FROM events WHERE key = ? AND undone = 0 ORDER BY id DESC LIMIT 1
"""
_LATEST = 2**63 - 1


@dataclass(frozen=True)
class Label:
    """What an analyst said about a row.

    Attributes:
        label: "anomaly", "normal" or "unsure"; None if there is only a note.
        note: free text.
        time: when, in ISO 8601 (UTC).
    """

    label: str | None
    note: str
    time: str


def safe_cell(text: str) -> str:
    """Mark a text that a spreadsheet would take for a formula with a leading apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def joined_key(values: Sequence[str]) -> str:
    """Make one key of the texts of all key columns."""
    return values[0] if len(values) == 1 else json.dumps(list(values), ensure_ascii=False)


def plain_cell(text: str) -> str:
    """Return the text that `safe_cell` was given."""
    return text.removeprefix("'")


class LabelStore:
    """Labels by the key of their row.

    Every change is a transaction on disk before the call returns: a killed process loses nothing,
    and neither threads nor processes that use the same file lose each other's labels. The database
    is NAME.sqlite next to NAME.csv. The CSV file is rewritten after every change; what someone
    changes in it is read when the store is next opened.

    Args:
        path: the CSV file.
        key_columns: its columns that together are the key, such as an id column.

    Attributes:
        notice: why the CSV file lacks the latest change, which the database has; mostly empty.

    Raises:
        ValueError: if the CSV file or the database holds something else.
        OSError: if they cannot be read or written.
    """

    def __init__(self, path: str | Path, key_columns: Sequence[str] = ("key",)):
        self.path = Path(path)
        if self.path.suffix != ".csv":
            raise ValueError(f"a labels file's name must end in .csv, got {str(self.path)!r}")
        taken = sorted(set(key_columns) & set(_FIELDS))
        if taken:
            raise ValueError(f"{taken[0]!r} cannot be an id: the labels file has such a column")
        self._columns = tuple(key_columns)
        self._database = self.path.with_suffix(".sqlite")
        self.notice = ""
        self._is_open = False
        make_folder(self.path.parent)
        try:
            with contextlib.closing(self._connect()) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
            with self._transaction() as connection:
                self._check_columns(connection)
                self._read_csv(connection)
                self._write_csv(connection)
            self._is_open = True
        except sqlite3.OperationalError as error:
            raise OSError(f"{str(self._database)!r} cannot be used now: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{str(self._database)!r} is not a database of labels ({error}): move it away, the "
                "labels are then read from the CSV file"
            ) from error

    # ---- keys -----------------------------------------------------------------------------

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns of the CSV file that together are the key."""
        return self._columns

    def _values(self, key: str) -> list[str]:
        return [key] if len(self._columns) == 1 else json.loads(key)

    # ---- reading --------------------------------------------------------------------------

    def current(self, until: int = _LATEST) -> dict[str, Label]:
        """Return the labels that hold, by key, in the order they were given.

        Args:
            until: number of an event (`last_event`); later ones do not count.
        """
        with contextlib.closing(self._connect()) as connection:
            return self._current(connection, until)

    def last_event(self) -> int:
        """Return the number of the latest label or note; 0 if there is none."""
        with contextlib.closing(self._connect()) as connection:
            return int(connection.execute("SELECT MAX(id) FROM events").fetchone()[0] or 0)

    def version(self) -> int:
        """Return a number that grows with every change, made by this process or another one."""
        with contextlib.closing(self._connect()) as connection:
            return int(self._state(connection, "changes") or 0)

    def contents(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the values of labelled rows, by key, as they were given with the labels."""
        wanted = set(keys)
        with contextlib.closing(self._connect()) as connection:
            found = connection.execute("SELECT key, content FROM contents").fetchall()
        return {key: json.loads(content) for key, content in found if key in wanted}

    def rounds(self) -> list[dict[str, Any]]:
        """Return the figures of all rounds of learning."""
        with contextlib.closing(self._connect()) as connection:
            found = connection.execute("SELECT figures FROM rounds ORDER BY id").fetchall()
        return [json.loads(figures) for (figures,) in found]

    # ---- writing --------------------------------------------------------------------------

    def add(
        self,
        key: str,
        label: str | None = None,
        note: str | None = None,
        *,
        window: str = "",
        content: Mapping[str, Any] | None = None,
    ) -> None:
        """Label a row or change its label, its note, or both.

        Args:
            key: the row's key.
            label: "anomaly", "normal" or "unsure"; None leaves it as it is.
            note: free text, which replaces an earlier note; None leaves it as it is.
            window: who labels; `undo` takes back the latest label of the same window.
            content: values of the row, so that later files need not hold it for training.

        Raises:
            ValueError: for any other label.
        """
        if label is not None and label not in LABELS:
            raise ValueError(f"a label is one of {', '.join(LABELS)}, got {quoted(label)}")
        with self._transaction() as connection:
            before = connection.execute(_CURRENT_OF_KEY, (key,)).fetchone() or (None, "")
            label = before[0] if label is None else label
            note = before[1] if note is None else note
            self._insert(connection, key, Label(label, note, _now()), window)
            if content is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO contents VALUES (?, ?)", (key, json.dumps(content))
                )
        self._update_csv()

    def undo(self, window: str = "", keys: Collection[str] | None = None) -> str | None:
        """Take back the latest label or note of a window; return its key, None if there is none.

        The row gets back what it had before, unless another window has changed it since.

        Args:
            window: whose change to take back; see `add`.
            keys: the rows to choose from, such as those of one table; None: all.
        """
        with self._transaction() as connection:
            events = connection.execute(
                "SELECT id, key FROM events WHERE window = ? AND undone = 0 ORDER BY id DESC",
                (window,),
            )
            found = next((event for event in events if keys is None or event[1] in keys), None)
            if found is None:
                return None
            connection.execute("UPDATE events SET undone = 1 WHERE id = ?", (found[0],))
            self._count_change(connection)
        self._update_csv()
        return str(found[1])

    def add_round(self, figures: Mapping[str, Any]) -> None:
        """Keep the figures of a round of learning."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO rounds (figures) VALUES (?)", (json.dumps(figures),))
            self._count_change(connection)

    def write_csv(self) -> None:
        """Write the CSV file again.

        Writers take turns, so that a file is never replaced by one with earlier labels.
        """
        with self._transaction() as connection:
            self._write_csv(connection)

    def _update_csv(self) -> None:
        """Write the CSV file after a change that is in the database, whatever happens here."""
        try:
            self.write_csv()
        except OSError as error:
            self.notice = (
                f"the change is kept in {str(self._database)!r}, but {str(self.path)!r} could not "
                f"be written ({error.strerror or error}): close it in other programs; the next "
                "label is written together with this one"
            )
            logger.warning(self.notice)
        else:
            self.notice = ""

    # ---- the database ---------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        if self._is_open and not self._database.exists():  # SQLite would begin an empty one
            raise FileNotFoundError(
                f"{str(self._database)!r}, where the labels are kept, has been moved or deleted: "
                "put it back, or start the review again"
            )
        connection = sqlite3.connect(self._database, timeout=_PATIENCE, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @staticmethod
    def _state(connection: sqlite3.Connection, name: str) -> str | None:
        found = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    @staticmethod
    def _set_state(connection: sqlite3.Connection, name: str, value: str) -> None:
        connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def _count_change(self, connection: sqlite3.Connection) -> None:
        changes = int(self._state(connection, "changes") or 0)
        self._set_state(connection, "changes", str(changes + 1))

    def _insert(self, connection: sqlite3.Connection, key: str, label: Label, window: str) -> None:
        connection.execute(
            "INSERT INTO events (key, label, note, time, window) VALUES (?, ?, ?, ?, ?)",
            (key, label.label, label.note, label.time, window),
        )
        self._count_change(connection)

    @staticmethod
    def _current(connection: sqlite3.Connection, until: int = _LATEST) -> dict[str, Label]:
        rows = connection.execute(_CURRENT, (until,)).fetchall()
        found = {key: Label(label, note, time) for key, label, note, time in rows}
        return {key: label for key, label in found.items() if label.label or label.note}

    def _check_columns(self, connection: sqlite3.Connection) -> None:
        stored = self._state(connection, "columns")
        columns = json.dumps(self._columns)
        if stored is not None and stored != columns:
            named = ", ".join(json.loads(stored))
            raise ValueError(
                f"the labels in {str(self.path)!r} are keyed by {named}, not by "
                f"{', '.join(self._columns)}: use the same --id as before, or another labels file"
            )
        self._set_state(connection, "columns", columns)

    # ---- the CSV file ---------------------------------------------------------------------

    def _write_csv(self, connection: sqlite3.Connection) -> None:
        labels = self._current(connection)

        def write(temporary: Path) -> None:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow([safe_cell(name) for name in (*self._columns, *_FIELDS)])
                for key, label in labels.items():
                    cells = [*self._values(key), label.label or "", label.note, label.time]
                    writer.writerow([safe_cell(cell) for cell in cells])

        write_atomically(self.path, write)
        self._set_state(connection, "csv", _digest(self.path))

    def _read_csv(self, connection: sqlite3.Connection) -> None:
        """Take over what was changed in the CSV file since it was last written."""
        if not self.path.exists() or _digest(self.path) == self._state(connection, "csv"):
            return
        current = self._current(connection)
        for key, given in self._parsed_csv().items():
            known = current.get(key)
            if known is None or (known.label, known.note) != (given.label, given.note):
                self._insert(connection, key, given, _FROM_FILE)

    def _parsed_csv(self) -> dict[str, Label]:
        labels = {}
        try:
            text = self.path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{str(self.path)!r} is not in UTF-8 ({error.reason}): save it as CSV in UTF-8"
            ) from error
        with io.StringIO(text, newline="") as file:
            reader = csv.DictReader(file)
            names = {name: plain_cell(name) for name in reader.fieldnames or ()}
            absent = [name for name in (*self._columns, "label") if name not in names.values()]
            if absent:
                raise ValueError(
                    f"{str(self.path)!r} is not a file of labels: it has no column {absent[0]!r}"
                )
            # They would be lost when the file is written.
            foreign = [name for name in names.values() if name not in (*self._columns, *_FIELDS)]
            if foreign:
                raise ValueError(
                    f"{str(self.path)!r} is not a file of labels: it has a column "
                    f"{quoted(foreign[0])}; name another file for the labels"
                )
            for line, record in enumerate(reader, start=2):
                row = {plain: plain_cell(record[name] or "") for name, plain in names.items()}
                label = row["label"].strip().lower() or None
                if label is not None and label not in LABELS:
                    raise ValueError(
                        f"{str(self.path)!r}, line {line}: the label is {quoted(label)} instead of "
                        f"one of {', '.join(LABELS)}"
                    )
                key = joined_key([row[name] for name in self._columns])
                labels[key] = Label(label, row.get("note", ""), row.get("time", "") or _now())
        return labels


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
