"""Options that several commands share."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

import typer

Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="setting of the detector name=value (repeatable), such as missing=indicator, "
        "false_positive_rate=0.01 or epochs=50; an unknown name lists all",
    ),
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data-dir", help="folder of all data sets [default: $R2AD2_DATA, else data]"),
]


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Parse "name=value" pairs; values are Python literals where possible, else text."""
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"--set needs name=value, got {pair!r}")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[name] = value
    return settings
