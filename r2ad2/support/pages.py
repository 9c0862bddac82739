"""What HTML pages share: templates that escape everything, and files inside a page."""

from __future__ import annotations

import base64

import pandas as pd

from r2ad2.support.extras import from_extra

with from_extra("report", "jinja2"):
    import jinja2


def environment(package: str) -> jinja2.Environment:
    """Make the environment of a package's templates: all is escaped, nothing may be undefined."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters["csv_url"] = csv_url
    return made


def csv_url(table: pd.DataFrame) -> str:
    """Return a table as a CSV file in a data URL."""
    return data_url(table.to_csv(index=False), "text/csv")


def data_url(text: str, kind: str) -> str:
    """Return text as a data URL, which needs no file."""
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"
