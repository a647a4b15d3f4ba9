"""The documentation site: what it shows, and that it fetches nothing and notices a broken link."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import intp_video
import pytest

import intp_ext

ROOT = Path(__file__).parents[2]
needs_mkdocs = pytest.mark.skipif(find_spec("mkdocstrings") is None, reason="needs mkdocs")


def build(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)],
        cwd=root,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("package", [intp_ext, intp_video], ids=lambda package: package.__name__)
def test_everything_public_is_on_one_api_page(package):
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    shown = re.findall(rf"^::: {package.__name__}\.(\w+)$", pages, re.M)
    public = {name for name in package.__all__ if not name.startswith("__")}
    assert public <= set(shown) and len(shown) == len(set(shown))


@needs_mkdocs
def test_nothing_is_fetched_from_elsewhere(tmp_path):
    done = build(ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    fetched = re.compile(r"<(?:script|link|img|source|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//")
    for page in tmp_path.rglob("*.html"):
        assert not fetched.search(page.read_text()), page
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"url\(\"?(?:https?:)?//|@import", style.read_text()), style
    # the first one is what a visit begins with: what the system prefers, as the pictures do
    start = (tmp_path / "index.html").read_text()
    assert re.findall(r'data-md-color-media="(.*?)"', start)[0] == "(prefers-color-scheme)"
    assert (tmp_path / "docs/api/kv_cache.html").read_text().count(
        'id="intp_ext.KVCache.mark"'
    ) == 1


BROKEN = {
    "[a page](nowhere_page.md)": "nowhere_page.md",
    "[a section](method.md#nowhere-section)": "nowhere-section",
    "[a source](../tests/nowhere_source.py)": "nowhere_source.py",
    '<img src="figures/nowhere_picture.png">': "nowhere_picture.png",
    "[a name][intp_ext.nowhere_name]": "intp_ext.nowhere_name",
}


@needs_mkdocs
def test_broken_links_fail_and_each_is_named(tmp_path):
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    for folder in (ROOT, ROOT / "docs"):
        for entry in folder.iterdir():
            if entry.name not in ("build", "docs", "backend.md"):
                (root / entry.relative_to(ROOT)).symlink_to(entry)
    page = (ROOT / "docs/backend.md").read_text()
    (root / "docs/backend.md").write_text("\n\n".join((page, *BROKEN)))
    done = build(root, tmp_path / "site")
    assert done.returncode != 0
    warnings = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    for name in BROKEN.values():
        assert any(name in line for line in warnings), (name, warnings)
    assert len(warnings) == len(BROKEN)
