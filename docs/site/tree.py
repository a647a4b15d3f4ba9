"""The site has the tree of the repository, so a relative link leads to the same thing in both.

Its pages are those that the navigation of ``mkdocs.yml`` names. What a page links to comes along:
Markdown as a page, sources and folders as pages that show them, everything else as it is.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
STYLE = "docs/site/style.css"
SHOWN = {".py": "python", ".h": "cpp", ".cff": "yaml", "": "text"}
"""Suffixes of what a browser would save rather than show, and the language of each."""

LINK = re.compile(r"\]\((?P<markdown>[^)\s#]+)|(?:src|srcset|href)=\"(?P<html>[^\"#]+)")
log = logging.getLogger("mkdocs.hooks.tree")  # below "mkdocs": a warning fails a strict build


class Shown(File):
    """A page whose source is no Markdown."""

    def is_documentation_page(self) -> bool:
        return True


def on_files(files: Files, config: Any) -> Files:
    found: dict[str, File] = {}
    waiting = [STYLE, *_pages(config.nav)]
    while waiting:
        uri = waiting.pop()
        if uri in found or uri.startswith("..") or not (ROOT / uri).exists():
            continue  # mkdocs says which page links to nothing
        file = found[uri] = _file(uri, config)
        if file.is_documentation_page():
            waiting += _targets(uri, file.content_string)
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *found.values()])


def _pages(nav: Any) -> Iterator[str]:
    """Every path of a navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _pages(entry)


def _file(uri: str, config: Any) -> File:
    path = ROOT / uri
    if path.is_dir():
        listed = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        lines = [f"- [{p.relative_to(path)}]({p.relative_to(path.parent)})" for p in listed]
        return _shown(uri, f"{uri}/index.html", "\n".join(lines), config)
    if path.suffix in SHOWN:
        text = f'``` {{ .{SHOWN[path.suffix]} }}\n--8<-- "{uri}"\n```'
        return _shown(uri, f"{uri}.html", text, config)
    return File(uri, str(ROOT), config.site_dir, config.use_directory_urls)


def _shown(uri: str, page: str, text: str, config: Any) -> File:
    file = Shown.generated(config, uri, content=f"# {uri}\n\n{text}\n")
    file.dest_uri = page
    return file


def _targets(uri: str, text: str) -> Iterator[str]:
    """What a page links to, as paths from the root."""
    for link in LINK.finditer(text):
        target = link["markdown"] or link["html"]
        if ":" in target:
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(uri), target))
        if link["html"] and not (ROOT / path).exists():
            log.warning("%s has HTML that names %s, which does not exist", uri, target)
        yield path
