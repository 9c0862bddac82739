"""Which files of the repository become pages of the web site: a hook of mkdocs, see mkdocs.yml."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

_ROOT = Path(__file__).resolve().parent.parent
_AS_THEY_ARE = (
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "CITATION.cff",
    "docs/*.md",
    "docs/images/*",
    "docs/results/*",
    "data/README.md",
    "data/*/README.md",
    "notebooks/README.md",
    "notebooks/*.ipynb",
)


def _notebook_pages(path: Path, config: MkDocsConfig) -> list[File]:
    """Make a page of a notebook with its stored outputs, and the pictures in it."""
    text, resources = MarkdownExporter().from_filename(str(path))
    folder = path.relative_to(_ROOT).parent / f"{path.stem}_pictures"
    for name in resources["outputs"]:
        text = text.replace(f"]({name})", f"]({folder.name}/{name})")
    return [
        File.generated(config, f"{folder.parent}/{path.stem}.md", content=text),
        *(
            File.generated(config, f"{folder}/{name}", content=content)
            for name, content in resources["outputs"].items()
        ),
    ]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the pages from the repository's root, not only from docs/."""
    chosen = [path for pattern in _AS_THEY_ARE for path in sorted(_ROOT.glob(pattern))]
    pages = [
        File(
            path.relative_to(_ROOT).as_posix(),
            str(_ROOT),
            config.site_dir,
            config.use_directory_urls,
        )
        for path in chosen
    ]
    for path in chosen:
        if path.suffix == ".ipynb":
            pages += _notebook_pages(path, config)
    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*of_theme, *pages])
