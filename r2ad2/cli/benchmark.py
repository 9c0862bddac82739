"""The command `r2ad2 benchmark`: measurements as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SCALES = {"flops": (1e9, "G/s"), "operations": (1e9, "G"), "bytes": (1e9, "GB")}


def format_figure(name: str, value: Any) -> str:
    """Format a figure with the unit that its name implies."""
    if isinstance(value, str | bool) or value is None:
        return str(value)
    for suffix, (scale, unit) in _SCALES.items():
        if name.endswith(suffix):
            return f"{value / scale:,.2f} {unit}"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write the result to a JSON file, all or nothing."""
    from r2ad2.support.files import write_text

    write_text(path, json.dumps(result, indent=2))


def table_of(result: dict[str, Any]) -> Any:
    """Lay out the rows of a benchmark as a table: one column per row, one line per figure."""
    from rich.table import Table

    rows = result["rows"]
    table = Table("figure", *(str(i + 1) for i in range(len(rows))))
    for name in dict.fromkeys(key for row in rows for key in row):
        figures = (format_figure(name, row[name]) if name in row else "" for row in rows)
        table.add_row(name.replace("_", " "), *figures)
    return table
