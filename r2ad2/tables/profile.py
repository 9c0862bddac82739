"""Collects what the values of a column look like over a whole file, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from r2ad2.tables.text import UNDECODABLE
from r2ad2.tables.values import (
    BOOLEAN,
    INFINITE,
    MISSING,
    WHOLE_CODE,
    as_spelt,
    as_texts,
    cast_all,
    number_pattern,
)

_MAX_VALUES = 200_000  # different texts that are counted exactly; more are estimated, within 1 %
_AS_FLOAT = rf"^({WHOLE_CODE})\.0$"  # another spelling of a code; see `other_spelling`
_MINUTES = r":[0-5]\d(:[0-5]\d([.,]\d+)?)?"
_CLOCK = rf"([01]?\d|2[0-3]){_MINUTES}"
_HALF_DAY = rf"(0?[1-9]|1[0-2]){_MINUTES} ?[AaPp][Mm]"
_TIME = rf"([ T]({_CLOCK}|{_HALF_DAY}))?"
_OFFSET = r"[+-](0\d|1[0-4])"
_ZONE = rf"( ?(Z|{_OFFSET}:?[0-5]\d))?"
_SECONDS = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_YEAR = r"(\d{3}[1-9]|\d\d[1-9]0|\d[1-9]00|[1-9]000)"
_D, _DD = r"(3[01]|[12]\d|0?[1-9])", r"(3[01]|[12]\d|0[1-9])"
_M, _MM = "(1[0-2]|0?[1-9])", "(1[0-2]|0[1-9])"
_B = "(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
# What dates and times look like, and their format. `parse_dates` reads all of them, except for days
# that a month does not have. Where day and month cannot be told apart, the values of the whole
# column decide.
DATES = {
    "iso": rf"{_YEAR}-{_MM}-{_DD}([ T]({_CLOCK}{_ZONE}|{_HALF_DAY}))?",
    "%Y/%m/%d": rf"{_YEAR}/{_M}/{_D}{_TIME}",
    "%d/%m/%Y": rf"{_D}/{_M}/{_YEAR}{_TIME}",
    "%m/%d/%Y": rf"{_M}/{_D}/{_YEAR}{_TIME}",
    "%d.%m.%Y": rf"{_D}\.{_M}\.(19|20)\d\d{_TIME}",
    "%d-%m-%Y": rf"{_D}-{_M}-(19|20)\d\d{_TIME}",
    "%m-%d-%Y": rf"{_M}-{_D}-(19|20)\d\d{_TIME}",
    "%d/%b/%Y:%H:%M:%S": rf"{_DD}/{_B}/{_YEAR}:{_SECONDS}",
    "%d/%b/%Y:%H:%M:%S %z": rf"{_DD}/{_B}/{_YEAR}:{_SECONDS} {_OFFSET}[0-5]\d",
    "%d-%b-%Y": rf"{_D}-{_B}-{_YEAR}{_TIME}",
    "%d %b %Y": rf"{_D} {_B} {_YEAR}{_TIME}",
    "%b %d, %Y": rf"{_B} {_D}, {_YEAR}{_TIME}",
    "time": _CLOCK,
}
SWAPPED = {"%m/%d/%Y": "%d/%m/%Y", "%m-%d-%Y": "%d-%m-%Y"}
_ANY_DATE = "^(" + "|".join(f"({pattern})" for pattern in DATES.values()) + ")$"
_NUMBERS = {sign: number_pattern(sign) for sign in ".,"}
_WHOLE = r"^[+-]?\d{1,18}$"


@dataclass
class Tally:
    """How many values are of one sort.

    Attributes:
        n: their number.
        row: the row of the first one.
        value: the first one.
    """

    n: int = 0
    row: int = -1
    value: str = ""

    def add(self, n: int, row: int, value: str) -> None:
        """Count more values, the first of them in a row."""
        if n and (not self.n or row < self.row):
            self.row, self.value = row, value
        self.n += n


@dataclass
class ColumnProfile:
    """What is known of a column's values.

    Attributes:
        name: of the column.
        counted: whether texts are counted from the start, also those that are numbers.
        explicit: whether only nulls are missing; otherwise also texts like "NA".
        sorts: values by sort: "missing", "blank" (missing only if these are not texts), "text",
            "boolean", "infinite", "undecodable", numbers by decimal sign ("." and ","), those that
            are numbers with one sign only (".only", ",only"), those with a comma that are numbers
            with both ("either"), whole numbers ("whole"), dates ("date", and by their format).
        hashes: of different texts, sorted: all, or the smallest ones if there are very many.
        type: an Arrow type other than text, of a Parquet or Feather column.
        complete: whether all texts were counted.
    """

    name: str
    counted: bool = False
    explicit: bool = False
    n_rows: int = 0
    sorts: dict[str, Tally] = field(default_factory=dict)
    hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    type: pa.DataType | None = None
    complete: bool = True

    def n(self, sort: str) -> int:
        """Return the number of values of a sort."""
        return self.sorts[sort].n if sort in self.sorts else 0

    @property
    def n_present(self) -> int:
        """Number of values that are neither missing nor blank."""
        return self.n_rows - self.n("missing") - self.n("blank")

    @property
    def n_values(self) -> int:
        """Number of different texts, of categories: exact, or three digits of an estimate.

        Hashes are evenly spread, so that the largest one kept tells how many there are in all.
        """
        if len(self.hashes) < _MAX_VALUES:
            return len(self.hashes)
        return int(float(f"{(_MAX_VALUES - 1) / (int(self.hashes[-1]) / 2**64):.3g}"))

    def update(self, array: pa.Array, numbers: np.ndarray) -> None:
        """Add values (n,) with the numbers of their rows (n,)."""
        self.n_rows += len(array)
        texts = as_texts(array)
        if texts is None and self.counted:
            texts = as_spelt(array)
        if texts is None:
            self._add_typed(array, numbers)
        elif self.counted or not self._add_plain_numbers(texts, numbers):
            self._add_texts(texts, numbers)

    def _tally(self, sort: str, found: np.ndarray, numbers: np.ndarray, values: pa.Array) -> None:
        rows = np.flatnonzero(found)
        if len(rows):
            value = values[int(rows[0])].as_py()
            self.sorts.setdefault(sort, Tally()).add(len(rows), int(numbers[rows[0]]), str(value))

    def _add_typed(self, array: pa.Array, numbers: np.ndarray) -> None:
        self.type = array.type
        missing = array.is_null().to_numpy(zero_copy_only=False)
        if pa.types.is_floating(array.type):
            values = array.to_numpy(zero_copy_only=False)
            missing = np.isnan(values)
            self._tally("infinite", np.isinf(values), numbers, array)
        elif pa.types.is_integer(array.type):
            self._tally("whole", ~missing, numbers, array)
        self._tally("missing", missing, numbers, array)

    def _add_plain_numbers(self, texts: pa.StringArray, numbers: np.ndarray) -> bool:
        """Add values that are all usual numbers, without looking at each; return whether they are.

        These are most of the values of most files.
        """
        n = len(texts)
        values = cast_all(texts, pa.float64())
        if values is None or values.null_count or not pc.all(pc.is_finite(values)).as_py():
            return False
        everything = np.ones(n, dtype=bool)
        if cast_all(texts, pa.int64()) is not None:
            self._tally("whole", everything, numbers, texts)
            self._tally(",", everything, numbers, texts)
        elif not self.n(".only"):  # one is enough to know the decimal sign
            both = pc.match_substring_regex(texts, _NUMBERS[","])
            both = both.to_numpy(zero_copy_only=False)
            self._tally(",", both, numbers, texts)
            self._tally(".only", ~both, numbers, texts)
        self._tally(".", everything, numbers, texts)
        self.complete = False
        return True

    def _add_texts(self, texts: pa.StringArray, numbers: np.ndarray) -> None:
        """Look at each different text."""
        encoded = texts.dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy()
        different: pa.StringArray = encoded.dictionary
        self._tally("missing", codes < 0, numbers, texts)
        if not len(different):
            return
        present = codes >= 0
        counts = np.bincount(codes[present], minlength=len(different))
        first = np.full(len(different), len(codes))
        np.minimum.at(first, codes[present], np.flatnonzero(present))

        def add(sort: str, found: np.ndarray) -> None:
            kinds = np.flatnonzero(found)
            if len(kinds):
                i = kinds[first[kinds].argmin()]
                tally = self.sorts.setdefault(sort, Tally())
                tally.add(int(counts[kinds].sum()), int(numbers[first[i]]), different[i].as_py())

        sorts = sort_texts(different, self.explicit)
        for sort, found in sorts.items():
            add(sort, found)
        if not self.counted and not sorts["text"].any():
            self.complete = False  # only categories are counted
            return
        self._count(different.filter(pa.array(~(sorts["missing"] | sorts["blank"]))))

    def _count(self, texts: pa.StringArray) -> None:
        codes = pc.replace_substring_regex(texts, _AS_FLOAT, r"\1")
        hashes = pd.util.hash_array(codes.to_numpy(zero_copy_only=False), categorize=False)
        if len(self.hashes) == _MAX_VALUES:
            hashes = hashes[hashes < self.hashes[-1]]
        if len(hashes):
            self.hashes = np.union1d(self.hashes, hashes)[:_MAX_VALUES]


def sort_texts(texts: pa.StringArray, explicit: bool) -> Mapping[str, np.ndarray]:
    """Find which sorts each text (n,) belongs to; see `ColumnProfile.sorts`."""
    trimmed = pc.utf8_trim_whitespace(texts)
    missing_values = pa.array(MISSING, pa.string())

    def array(found: pa.BooleanArray) -> np.ndarray:
        return found.to_numpy(zero_copy_only=False)

    def matches(pattern: str) -> np.ndarray:
        return array(pc.match_substring_regex(trimmed, pattern))

    iso = matches(f"^{DATES['iso']}$")
    if iso.all():  # usual dates differ in every row, so that looking further would take long
        no = np.zeros(len(texts), dtype=bool)
        return dict.fromkeys(("missing", "blank", "text"), no) | {"date": iso, "iso": iso}
    nothing = array(pc.is_in(trimmed, value_set=missing_values)) | matches(r"^[+-]?(?i:nan)$")
    missing = array(pc.is_in(texts, value_set=missing_values))
    missing = np.zeros_like(missing) if explicit else missing
    sorts = {"missing": missing, "blank": nothing & ~missing}
    sorts["undecodable"] = array(pc.match_substring(texts, UNDECODABLE))
    left = ~nothing
    numbers = {sign: matches(pattern) & left for sign, pattern in _NUMBERS.items()}
    sorts |= numbers
    is_number = numbers["."] | numbers[","]
    if is_number.any():
        both = numbers["."] & numbers[","]
        sorts["whole"] = both & matches(_WHOLE)
        sorts["either"] = both & array(pc.match_substring(trimmed, ","))
        sorts[".only"], sorts[",only"] = numbers["."] & ~both, numbers[","] & ~both
    sorts["infinite"] = matches(INFINITE) & left
    sorts["boolean"] = matches(BOOLEAN) & left
    left &= ~(is_number | sorts["infinite"] | sorts["boolean"])
    dates = iso & left
    if (left & ~dates).any():
        dates = matches(_ANY_DATE) & left
    rest = dates.copy()
    for form, pattern in DATES.items():
        # A date whose day and month may be swapped has two formats.
        if rest.any() or (form in SWAPPED and sorts.get(SWAPPED[form], rest).any()):
            sorts[form] = matches(f"^{pattern}$") & dates
            rest &= ~sorts[form]
    sorts["date"] = dates
    sorts["text"] = left & ~dates
    return sorts
