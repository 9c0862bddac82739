"""Options that several commands share."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from r2ad2.tables.source import TableSource

Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="setting of the detector name=value (repeatable), such as missing=indicator, "
        "false_positive_rate=0.01 or n_trees=200; an unknown name lists all",
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data-dir", help="folder of all data sets [default: $R2AD2_DATA, else data]"),
]

TableArgument = Annotated[
    Path,
    typer.Argument(
        help="CSV (any separator), Parquet, Feather or JSON-lines file, also compressed (.gz, "
        ".bz2, .xz, .zst, .zip), or a folder of Parquet files"
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(help="character between values, such as ; or tab [default: found in the file]"),
]
Decimal = Annotated[
    str | None,
    typer.Option(help="decimal sign of numbers, . or , [default: found in the training file]"),
]
Encoding = Annotated[
    str | None, typer.Option(help="encoding of a text file, such as latin-1 [default: UTF-8]")
]
NoHeader = Annotated[
    bool, typer.Option("--no-header", help='no header line: columns are "0", "1", ...')
]
ModelOption = Annotated[Path, typer.Option("--model", help="model file written by r2ad2 fit")]
Anomalous = Annotated[
    list[str] | None,
    typer.Option("--anomaly", help="label value of known anomalies (repeatable)"),
]
Normal = Annotated[
    list[str] | None,
    typer.Option("--normal", help="label value of normal rows, all others are anomalies"),
]
DateTimes = Annotated[
    list[str] | None,
    typer.Option(
        "--datetime",
        help="column of dates and times, also COLUMN=FORMAT: iso, epoch (seconds since 1970), "
        "epoch_ms, epoch_us, epoch_ns or as in %d/%m/%Y (repeatable)",
    ),
]
Categories = Annotated[
    list[str] | None, typer.Option("--category", help="column of categories (repeatable)")
]
Numbers = Annotated[
    list[str] | None, typer.Option("--number", help="column of numbers (repeatable)")
]
Drop = Annotated[list[str] | None, typer.Option(help="column to leave out (repeatable)")]
OnError = Annotated[str, typer.Option(help="raise, or skip: set malformed rows aside")]
Rejects = Annotated[Path | None, typer.Option(help="file for malformed rows; with --on-error skip")]


@dataclass(frozen=True)
class Reading:
    """The options that say how a table file is read."""

    separator: Separator = None
    decimal: Decimal = None
    encoding: Encoding = None
    no_header: NoHeader = False
    datetime: DateTimes = None
    category: Categories = None
    number: Numbers = None
    drop: Drop = None

    def applied_to(self, source: TableSource) -> TableSource:
        """Return a source changed by the options that are given.

        Raises:
            ValueError: for contradicting options.
        """
        types: dict[str, str] = {}
        formats: dict[str, str] = {}
        dates = [text.partition("=")[::2] for text in self.datetime or []]
        formats |= {name: format_ for name, format_ in dates if format_}
        kinds = {"date": [name for name, _ in dates], "category": self.category or []}
        for kind, names in (kinds | {"number": self.number or []}).items():
            for name in names:
                if types.setdefault(name, kind) != kind:
                    raise ValueError(f"column {name!r} cannot be both {types[name]} and {kind}")
        return replace(
            source,
            separator=self.separator or source.separator,
            decimal=self.decimal or source.decimal,
            encoding=self.encoding or source.encoding,
            header=source.header and not self.no_header,
            drop=(*source.drop, *(self.drop or ())),
            types={**source.types, **types},
            formats={**source.formats, **formats},
        )


def reads_table(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Reading`, which it gets as its argument `reading`."""
    hints = get_type_hints(Reading, include_extras=True)
    names = [field.name for field in fields(Reading)]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        command(reading=Reading(**{name: values.pop(name) for name in names}), **values)

    own = inspect.signature(command, eval_str=True)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in fields(Reading)
    ]
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        is_reading = parameter.name == "reading"
        parameters += options if is_reading else [parameter.replace(kind=parameter.KEYWORD_ONLY)]
    wrapped.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def split_names(values: Iterable[str] | None) -> list[str]:
    """Split names separated by commas, given at once or with a repeated option."""
    return [name.strip() for names in values or () for name in names.split(",")]


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Parse "name=value" pairs; values are Python literals where possible, else text."""
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"--set needs name=value, got {pair!r}")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            settings[name] = value  # all of these are what literal_eval raises for odd texts
    return settings
