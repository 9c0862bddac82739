"""Code blocks of the project's pages, so that tests run what users read."""

from __future__ import annotations

import re

from tests.conftest import PROJECT


def code_block(page: str, language: str, containing: str) -> str:
    """Return the first code block of a page, in a language, that has a certain text in it."""
    text = (PROJECT / page).read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    found = [block for of_block, block in blocks if of_block == language and containing in block]
    assert found, f"{page} has no {language} block with {containing!r}"
    return found[0]


def markdown_table(text: str) -> list[list[str]]:
    """Read the first Markdown table of a text as lists of cells, its head first."""
    table = next(part for part in text.split("\n\n") if part.startswith("|"))
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [lines[0], *lines[2:]]
