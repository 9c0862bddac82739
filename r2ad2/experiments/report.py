"""The report on a folder of results: an overview, a page per experiment, and files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from r2ad2.experiments.comparison import default_reference
from r2ad2.experiments.protocols import EXPERIMENTS
from r2ad2.experiments.published import SOURCE
from r2ad2.experiments.results import read_results
from r2ad2.experiments.sections import Chapter, make_chapter
from r2ad2.support.files import write_text
from r2ad2.support.pages import environment

_SETTINGS = ["budget", "max_rows", "overrides"]
PAGE = "report.html"


def write_report(
    results: str | os.PathLike,
    output: str | os.PathLike | None = None,
    reference: str | None = None,
) -> Path:
    """Write an overview and a page per experiment (HTML), and tables and figures as files.

    Tables are written as Markdown, LaTeX and CSV, figures as SVG. Each page is self-contained.

    Args:
        results: folder of the results, see `ResultStore`, or its results.csv.
        output: folder to write; by default "report" in the folder of the results. It gets one
            sub-folder per budget for the files.
        reference: method that the others are compared with; None means the recommended one,
            another one that has a preset, or the first, whichever has results.

    Returns:
        The overview, report.html; the others are next to it, named by their experiments.

    Raises:
        FileNotFoundError: if there are no results.
        ValueError: for a broken result, or if the reference has none.
    """
    rows = read_results(results)
    methods = sorted(rows["method"].unique())
    if reference is None:
        reference = default_reference(methods)
    if reference not in methods:
        raise ValueError(
            f"there are no results of {reference!r} to compare with: choose one of "
            f"{', '.join(methods)}"
        )
    if output is None:
        output = (Path(results).parent if Path(results).is_file() else Path(results)) / "report"
    folder = Path(output)
    chapters = [make_chapter(part, reference) for _, part in rows.groupby(_SETTINGS, dropna=False)]
    # What has most results comes first.
    chapters.sort(key=lambda chapter: -sum(section.n_runs for section in chapter.sections))
    for chapter in chapters:
        for name, text in chapter.files().items():
            write_text(folder / chapter.name / name, text)
    for name, text in _pages(chapters, rows, reference).items():
        write_text(folder / name, text)
    return folder / PAGE


def _pages(chapters: list[Chapter], rows: pd.DataFrame, reference: str) -> dict[str, str]:
    """Return the pages' HTML by file name, the overview last: it links to all others."""
    templates = environment("r2ad2.experiments")
    titles = {
        name: protocol.title
        for name, protocol in EXPERIMENTS.items()
        if any(chapter.section(name) for chapter in chapters)
    }
    common: dict[str, Any] = {
        "overview": PAGE,
        "titles": titles,
        "reference": reference,
        "source": SOURCE,
    }
    pages = {}
    for name in titles:
        sections = [(chapter, chapter.section(name)) for chapter in chapters]
        pages[f"{name}.html"] = templates.get_template("experiment.html").render(
            common,
            experiment=name,
            sections=[(chapter, section) for chapter, section in sections if section],
        )
    pages[PAGE] = templates.get_template("report.html").render(
        common,
        chapters=chapters,
        n_runs=len(rows),
        n_failures=int(rows["error"].notna().sum()),
        first=rows["finished"].min()[:10],
        last=rows["finished"].max()[:10],
        all_rows=rows.drop(columns=["traceback"]),
    )
    return pages
