"""Fills the tables in Markdown pages from results, so that no figure is ever copied by hand.

`python -m r2ad2.experiments.pages RESULTS PAGE...` replaces what stands between a line such as
`<!-- results: overview experiments=known,unknown -->` and `<!-- end of results -->`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from r2ad2.experiments.results import read_results
from r2ad2.experiments.views import VIEWS
from r2ad2.support.files import write_text
from r2ad2.support.messages import require_known

_START = "<!-- results: "
_END = "<!-- end of results -->"
_BLOCK = re.compile(rf"{re.escape(_START)}(?P<view>[^\n]*) -->\n.*?{re.escape(_END)}", re.DOTALL)


def fill(text: str, rows: pd.DataFrame) -> str:
    """Fill the blocks of a page.

    Args:
        text: the page, in Markdown.
        rows: results, see `read_results`.

    Returns:
        The page with every block replaced; the rest as it was.

    Raises:
        ValueError: for a block that is not closed, an unknown view, or one without results.
    """
    if text.count(_START) != len(_BLOCK.findall(text)) or text.count(_END) != text.count(_START):
        raise ValueError(f"a block that begins with {_START!r} must end with {_END!r}")
    return _BLOCK.sub(lambda found: _filled(found["view"], rows), text)


def _filled(view: str, rows: pd.DataFrame) -> str:
    name, *words = view.split()
    require_known([name], list(VIEWS), "view of results")
    for word in words:
        if "=" not in word:
            raise ValueError(f"{word!r} in {view!r} is not option=value")
    options = dict(word.split("=", 1) for word in words)
    chosen = _choose(rows, options)
    if chosen.empty:
        raise ValueError(f"there are no results for {view!r}")
    return f"{_START}{view} -->\n\n{VIEWS[name](chosen, options).strip()}\n\n{_END}"


def _choose(rows: pd.DataFrame, options: Mapping[str, str]) -> pd.DataFrame:
    """Select rows by budget ("fast"), overrides (none), experiments, methods, data and seeds."""
    overrides = json.dumps(json.loads(options.get("overrides", "{}")), sort_keys=True)
    chosen = (
        rows["error"].isna()
        & (rows["overrides"] == overrides)
        & rows["budget"].isin(options.get("budget", "fast").split(","))
    )
    for option, column in (
        ("experiments", "experiment"),
        ("methods", "method"),
        ("data", "dataset"),
    ):
        if option in options:
            chosen &= rows[column].isin(options[option].split(","))
    if "seeds" in options:
        chosen &= rows["seed"].isin(map(int, options["seeds"].split(",")))
    for word in options.get("without", "").split(","):
        chosen &= ~(rows["dataset"] + ":" + rows["method"]).eq(word)
    return rows[chosen]


def main(arguments: list[str] | None = None) -> None:
    """Fill the pages from a table of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder of results, or its results.csv")
    parser.add_argument("pages", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    rows = read_results(options.results)
    for page in options.pages:
        before = page.read_text("utf-8")
        after = fill(before, rows)
        if after != before:
            write_text(page, after)


if __name__ == "__main__":
    main()
