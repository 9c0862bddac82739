"""Decides the type of every column of a table file over the whole file, or says what is unclear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import pyarrow as pa

from r2ad2.support.messages import count, quoted
from r2ad2.tables.profile import DATES, SWAPPED, ColumnProfile, Tally
from r2ad2.tables.reader import CHUNK_ROWS, TableReader
from r2ad2.tables.text import describe_separator
from r2ad2.tables.types import Reject
from r2ad2.tables.values import ColumnType

# A text column with more different values than this, most of them unique, is an identifier.
_MANY_TEXTS = 1000
# In small tables, a text column is an identifier if nearly all of its texts differ.
_SMALL_TABLE = 20
_IDENTIFIER_SHARE = 0.95
_CHUNK_VALUES = 2_000_000  # looked at together
_SIGNS = {".": "a decimal point", ",": "a decimal comma"}


@dataclass(frozen=True)
class Schema:
    """The columns of a table file.

    Attributes:
        columns: type of each column.
        decimal: decimal sign of numbers.
        profiles: what was found in each column.
        notes: lines that say what was found out about the file.
        n_rows: rows of the file that could be divided into columns.
        rejects: the first of those that could not.
    """

    columns: Mapping[str, ColumnType]
    decimal: str
    profiles: Mapping[str, ColumnProfile]
    notes: Sequence[str]
    n_rows: int
    rejects: Sequence[Reject]


@dataclass(frozen=True)
class Told:
    """What the user said of the columns.

    Attributes:
        types: kind of columns by name: "number", "boolean", "category" or "date".
        formats: format of date columns by name.
        decimal: decimal sign of numbers; empty if not known.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    decimal: str = ""


def read_schema(
    reader: TableReader, columns: Sequence[str], told: Told, *, skip: bool, verbose: int = 0
) -> Schema:
    """Read a file once and decide the type of its columns, whatever the order of its rows.

    Args:
        reader: the file.
        columns: names of the columns to look at.
        told: what the user said of them.
        skip: whether values that do not fit most others of their column are to be set aside;
            otherwise they are an error.
        verbose: 1 shows progress.

    Raises:
        ValueError: if the file cannot be read, has no rows, or a type is not clear; the message
            names the column, a value, its row and the remedy.
    """
    counted = {name for name in columns if told.types.get(name) == "category"}
    explicit = not reader.is_text

    def profile(names: Sequence[str], counted: set[str]) -> tuple[dict, int, list[Reject]]:
        profiles = {n: ColumnProfile(n, counted=n in counted, explicit=explicit) for n in names}
        n_rows = 0
        rejects: list[Reject] = []
        chunk_rows = max(CHUNK_ROWS, _CHUNK_VALUES // max(1, len(names)))
        batches = reader.batches(names, skip=skip, chunk_rows=chunk_rows)
        for batch in reader.shown(batches, "types of columns", verbose):
            for name, array in batch.arrays.items():
                profiles[name].update(array, batch.numbers)
            n_rows += len(batch.numbers)
            rejects += batch.rejects[: max(0, 10 - len(rejects))]
            if batch.rejects and not skip:
                break
        return profiles, n_rows, rejects

    profiles, n_rows, rejects = profile(columns, counted)
    decider = _Decider(reader, told, skip, profiles)
    if rejects and not skip:
        raise decider.malformed(rejects[0])
    if not n_rows:
        malformed = f" except {count(len(rejects), 'malformed row')}" if rejects else ""
        raise ValueError(f"{str(reader.path)!r} holds no rows{malformed}")
    found = decider.decide()
    # Texts among numbers were not all counted: once more, for columns that turn out as categories.
    again = [n for n, c in found.items() if c.kind == "category" and not profiles[n].complete]
    if again:
        profiles |= profile(again, set(again))[0]
    decider.check_categories(found)
    return Schema(found, decider.decimal, profiles, decider.notes(), n_rows, rejects)


@dataclass
class _Decider:
    reader: TableReader
    told: Told
    skip: bool
    profiles: dict[str, ColumnProfile]
    decimal: str = ""

    # ---- messages -------------------------------------------------------------------------

    def _where(self, tally: Tally) -> str:
        line = next((line for row, line in self.reader.numbered_lines() if row == tally.row), None)
        place = f"row {tally.row:,}" if line is None else f"line {line:,}"
        return f"{quoted(tally.value)} ({place})"

    def _fail(self, name: str, message: str) -> NoReturn:
        raise ValueError(f"{str(self.reader.path)!r}: column {quoted(name)} {message}")

    def malformed(self, reject: Reject) -> ValueError:
        """Build the error for a row that cannot be divided into columns."""
        return malformed_error(self.reader, reject)

    # ---- decisions ------------------------------------------------------------------------

    def decide(self) -> dict[str, ColumnType]:
        """Return the type of each column."""
        self.decimal = self.told.decimal or self._decimal_sign()
        return {
            name: (
                self._as_told(name, self.told.types[name])
                if name in self.told.types
                else self._found(name, profile)
            )
            for name, profile in self.profiles.items()
        }

    def _decimal_sign(self) -> str:
        """Find the decimal sign from numbers that have only one reading."""
        evidence: dict[str, str] = {}
        judged = {n: p for n, p in self.profiles.items() if self._has_numbers(n, p)}
        for name, profile in judged.items():
            for sign in ".,":
                if profile.n(f"{sign}only") and not profile.n(f"{_other(sign)}only"):
                    evidence.setdefault(sign, name)
        if len(evidence) == 2:
            comma, point = (self.profiles[evidence[sign]] for sign in ",.")
            self._fail(
                comma.name,
                f"holds {self._where(comma.sorts[',only'])} with a decimal comma, but column "
                f"{quoted(point.name)} holds {self._where(point.sorts['.only'])}: say which is the "
                "decimal sign (--decimal , or --decimal .), or which of them is a category "
                "(--category)",
            )
        if "," in evidence:
            return ","
        for name, profile in judged.items():
            if profile.n("either") and not profile.n(",only") and not evidence:
                self._fail(
                    name,
                    f"holds {self._where(profile.sorts['either'])}: say which is the decimal sign "
                    f"(--decimal . reads thousands, --decimal , a fraction), or make it a category "
                    f"(--category {name})",
                )
        return "."

    def _has_numbers(self, name: str, profile: ColumnProfile) -> bool:
        """Whether a column's texts are numbers, apart from those to be set aside or refused."""
        told = self.told.types.get(name)
        if profile.type is not None or told not in (None, "number"):
            return False
        n = profile.n(".") + profile.n(",only")
        return told == "number" or n >= (0.5 if self.skip else 1) * profile.n_present

    def _as_told(self, name: str, kind: str) -> ColumnType:
        profile = self.profiles[name]
        if kind == "date":
            given = self.told.formats.get(name)
            return ColumnType("date", given or self._date_format(name, profile))
        integer = kind == "number" and self._is_integer(profile)
        return ColumnType(kind, integer=integer)

    def _is_integer(self, profile: ColumnProfile) -> bool:
        return 0 < profile.n("whole") == profile.n_rows

    def _found(self, name: str, profile: ColumnProfile) -> ColumnType:
        if pa.types.is_dictionary(self.reader.types.get(name, pa.null())):
            return ColumnType("category")
        if profile.type is not None:
            return self._of_type(name, profile)
        n = profile.n_present
        wrong_sign = profile.n(_other(self.decimal) + "only")
        families = {
            "number": profile.n(self.decimal) + profile.n("infinite") + wrong_sign,
            "boolean": profile.n("boolean"),
            "date": profile.n("date"),
        }
        kind = max(families, key=lambda family: families[family])
        if (n and families[kind] == 0) or families[kind] < 0.5 * n:
            if profile.n("undecodable") and not self.skip:
                self._undecodable(name, profile)
            return ColumnType("category")
        odd = wrong_sign if kind == "number" else 0
        if families[kind] - odd < n and not self.skip:
            self._mixed(name, profile, kind)
        if kind == "number" and profile.n("infinite") and not self.skip:
            self._infinite(name, profile)
        if kind == "date":
            return ColumnType("date", self._date_format(name, profile))
        return ColumnType(kind, integer=kind == "number" and self._is_integer(profile))

    def _infinite(self, name: str, profile: ColumnProfile) -> NoReturn:
        self._fail(
            name,
            f"holds an infinite value, {self._where(profile.sorts['infinite'])}: replace or drop "
            "these rows, or set them aside with --on-error skip",
        )

    def _undecodable(self, name: str, profile: ColumnProfile) -> NoReturn:
        tally = profile.sorts["undecodable"]
        self._fail(
            name,
            f"holds text that is not UTF-8, {self._where(replace(tally, value='...'))}: name its "
            "encoding (--encoding latin-1 or cp1252, for instance), or set such rows aside with "
            "--on-error skip",
        )

    def _mixed(self, name: str, profile: ColumnProfile, kind: str) -> NoReturn:
        """Raise the error for a column of which not all values are of one kind."""
        own = {"number": (self.decimal, "infinite"), "boolean": ("boolean",), "date": ("date",)}
        others = [
            tally
            for sort, tally in profile.sorts.items()
            if sort in (".only", ",only", "boolean", "infinite", "date", "text")
            and sort not in own[kind]
            and not (kind == "number" and sort == f"{self.decimal}only")
            and tally.n
        ]
        odd = min(others, key=lambda tally: tally.row)
        number = kind == "number" and odd.value and profile.sorts.get(_other(self.decimal) + "only")
        if number and number.row == odd.row:
            sign = _other(self.decimal)
            self._fail(
                name,
                f"holds {self._where(odd)}, a number with {_SIGNS[sign]}, although the decimal "
                f"sign is {self.decimal!r}: correct it, or say --decimal {sign}",
            )
        looks = {"number": "numeric", "boolean": "like true and false", "date": "like dates"}[kind]
        self._fail(
            name,
            f"looks {looks}, but holds {self._where(odd)}: correct the value, leave it empty (fit: "
            f"with --set missing=indicator), set such rows aside (--on-error skip), or make the "
            f"column a category (--category {name})",
        )

    def _of_type(self, name: str, profile: ColumnProfile) -> ColumnType:
        """Return the type of a column that is not text."""
        kind = profile.type
        others = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
        if pa.types.is_boolean(kind):
            return ColumnType("boolean")
        if pa.types.is_temporal(kind) and not pa.types.is_duration(kind):
            return ColumnType("date")
        if not any(is_number(kind) for is_number in others):
            self._fail(
                name, f"has type {kind}, which cannot be encoded: convert it, or --drop {name}"
            )
        if profile.n("infinite") and not self.skip:
            self._infinite(name, profile)
        return ColumnType("number", integer=self._is_integer(profile))

    def _date_format(self, name: str, profile: ColumnProfile) -> str:
        """Find the format that all dates of a column have."""
        n = profile.n("date")
        if profile.type is not None and pa.types.is_temporal(profile.type):
            return "iso"
        if not n and profile.n_present:
            numeric = profile.type is not None or profile.n(".")
            example = f" like {self._where(profile.sorts['text'])}" if profile.n("text") else ""
            self._fail(
                name,
                f"holds {'numbers' if numeric else 'texts'}{example}: say how they are dates, as "
                f"in --datetime {name}=epoch (seconds since 1970; epoch_ms: milliseconds) or "
                f"--datetime {name}=%Y%m%d",
            )
        fitting = [form for form in DATES if profile.n(form) == n]
        two = next((pair for pair in SWAPPED.items() if set(pair) <= set(fitting)), None)
        if two:
            self._fail(
                name,
                f"holds dates like {self._where(profile.sorts['date'])} whose day and month cannot "
                f"be told apart: say --datetime {name}={two[1]} or --datetime {name}={two[0]}",
            )
        if not n:
            return "iso"
        if not fitting:
            first = profile.sorts["date"]
            own = [
                form for form in DATES if profile.n(form) and profile.sorts[form].row == first.row
            ]
            others = [profile.sorts[f] for f in DATES if f not in own and profile.n(f)]
            odd = min(others, key=lambda tally: tally.row)
            self._fail(
                name,
                f"holds dates in different formats, {self._where(first)} and {self._where(odd)}: "
                f"write them in one, make it a category (--category {name}), or --drop {name}",
            )
        return fitting[0]

    def check_categories(self, columns: Mapping[str, ColumnType]) -> None:
        """Refuse identifiers: columns with texts that are different in most rows."""
        for name, column in columns.items():
            profile = self.profiles[name]
            declared = name in self.told.types or (
                name in self.reader.types and (pa.types.is_dictionary(self.reader.types[name]))
            )
            if column.kind != "category" or declared:
                continue
            if len(self.reader.columns) == 1:
                self._fail(
                    name,
                    "is the only column, and holds text: name the character that separates the "
                    "columns (--separator)",
                )
            if is_identifier(profile.n_values, profile.n_present, profile.n_rows):
                self._fail(
                    name,
                    f"holds {profile.n_values:,} different texts in "
                    f"{count(profile.n_rows, 'row')}: an identifier says nothing about new rows, "
                    f"drop it (--drop {name}); if it is a category, say --category {name}",
                )

    def notes(self) -> list[str]:
        """Say what was found out about the file without being told."""
        notes = []
        if self.reader.is_text and not self.reader.separator:
            separator = self.reader.text.found_separator
            usual = "\t" if self.reader.container.name.endswith(".tsv") else ","
            if separator != usual:
                notes.append(f"columns are separated by {describe_separator(separator)}")
        if self.decimal == "," and not self.told.decimal:
            notes.append("numbers are written with a decimal comma")
        if self.reader.is_text and not self.reader.encoding:
            encoding = self.reader.text.found_encoding
            if not encoding.startswith("utf-8"):
                notes.append(f"the encoding is {encoding}")
        return notes


def is_identifier(n_texts: int, n_present: int | None, n_rows: int) -> bool:
    """Whether most texts of a column are different, so that they say nothing about new rows.

    Args:
        n_texts: number of different texts.
        n_present: number of rows that are not empty; None if there are more rows to come.
        n_rows: number of rows.
    """
    if n_texts > max(_MANY_TEXTS, n_rows // 2):
        return True
    return (
        n_present is not None
        and n_present > _SMALL_TABLE
        and n_texts > _IDENTIFIER_SHARE * n_present
    )


def _other(sign: str) -> str:
    return "," if sign == "." else "."


def malformed_error(
    reader: TableReader, reject: Reject, remedy: str = "set such rows aside with --on-error skip"
) -> ValueError:
    """Build the error for a malformed row."""
    if reject.line is None:
        reject = reader.with_lines([reject], reader.numbered_lines())[0]
    place = "" if reject.line is None else f"line {reject.line:,}, "
    found, instead, expected = reject.reason.partition(" fields instead of ")
    if instead and reader.is_text and reader.header:
        return ValueError(
            f"{str(reader.path)!r}: the header has {expected} fields, {place.removesuffix(', ')} "
            f"has {found}: {reject.content[:200]} ({remedy})"
        )
    return ValueError(
        f"{str(reader.path)!r}, {place}row {reject.row:,}: {reject.reason[:400]}: "
        f"{reject.content[:200]} ({remedy})"
    )
