"""For MkDocs: pages of the repository that stand outside docs/ come into the site, and links follow them.

On the forge a page links to ``../datasets/psfhs.md``; on the site that page is ``repository/datasets/psfhs.md``.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PLACE = PurePosixPath("repository")
PATTERNS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "CITATION.cff",
    "SECURITY.md",
    "datasets/*.md",
    "weights/*.md",
    # A page links to it.
    "tests/formats/exchange/*.xsd",
)
_LINK = re.compile(r"(\]\()([^)\s:#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages; a README of a folder is its index, as on the forge."""
    for pattern in PATTERNS:
        for path in sorted(ROOT.glob(pattern)):
            name = (PLACE / path.relative_to(ROOT)).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as they stand in the repository -> as they stand on the site."""
    here = PurePosixPath(page.file.src_uri)
    inside = here.is_relative_to(PLACE)
    folder = (here.relative_to(PLACE) if inside else "docs" / here).parent

    def moved(match: re.Match[str]) -> str:
        before, link, anchor, after = match.groups()
        target = PurePosixPath(normpath((folder / link).as_posix()))
        site = target.relative_to("docs") if target.is_relative_to("docs") else PLACE / target
        return f"{before}{relpath(site.as_posix(), here.parent.as_posix())}{anchor or ''}{after}"

    return _LINK.sub(moved, markdown)
