"""Pages of the site that lie outside docs/: README as the start, CONTRIBUTING, SECURITY, CHANGELOG. A mkdocs hook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}


def linked(text: str, depth: int) -> str:
    """Return the text of a page with links as they are on the site; what is not there keeps its name only.

    Args:
        text: Markdown.
        depth: Folders between docs/ and the page; -1 for a page at the root of the repository.
    """
    up = "../" * (depth + 1)
    for page, file in OUTSIDE.items():
        text = re.sub(rf"\]\({re.escape(up + file)}", f"]({'../' * max(depth, 0)}{page}", text)
    if depth < 0:
        text = re.sub(r"(\]\(|src=\")docs/", r"\1", text)
    outside = r"\.ci/|packages/|tests/|benchmarks(?!/\w+\.md)|CITATION|Dockerfile|LICENSE|Makefile"
    elsewhere = re.escape(up) if up else outside
    return re.sub(rf"\[([^\]]+)\]\((?:{elsewhere})[^)]*\)", r"\1", text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    from mkdocs.structure.files import File

    for page, name in OUTSIDE.items():
        files.append(File.generated(config, page, content=linked((ROOT / name).read_text(encoding="utf8"), -1)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Mend the links of pages in docs/."""
    return markdown if page.file.src_uri in OUTSIDE else linked(markdown, page.file.src_uri.count("/"))
