"""The figures of the pages, made from the results that were measured.

A page says where a figure stands, and under which name it is made:

    <!-- results: NAME -->            a table or a paragraph, on lines of its own
    ...
    <!-- end -->

or inside a line: took <!-- results: NAME -->...<!-- end --> a pass. What is between the marks comes
from benchmarks/results/, the JSON files of docs/, or, for families and options, the package itself;
never change it by hand:

    python benchmarks/tables.py --check         # exit code 1 if a block or an SVG is stale, named
    python benchmarks/tables.py --write         # fills the blocks, draws the SVGs
    python benchmarks/tables.py --write --png   # draws the pictures of the benchmarks, too

A new figure is a function in one of tables_*.py, its name in BLOCKS there, and marks on a page.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tables_accuracy
import tables_models
import tables_motion
import tables_pictures
import tables_real_model
import tables_speed
import tables_summary
import tables_tests
from tables_common import ROOT

Blocks = Mapping[str, Callable[[], str]]
BLOCKS: Blocks = (
    tables_speed.BLOCKS
    | tables_accuracy.BLOCKS
    | tables_motion.BLOCKS
    | tables_real_model.BLOCKS
    | tables_summary.BLOCKS
    | tables_models.BLOCKS
    | tables_tests.BLOCKS
)
PAGES = (
    ROOT / "README.md",
    ROOT / "python/intp_video/small_model/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
BLOCK = re.compile(
    r"(?P<begin><!-- results: (?P<name>[\w-]+) -->)(?P<text>.*?)(?P<end><!-- end -->)", re.S
)
MARK = re.compile(r"<!-- (results\b.*?|end) -->")


class MarkError(ValueError):
    """Marks that say nothing, or the wrong thing."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    act = parser.add_mutually_exclusive_group(required=True)
    act.add_argument("--check", action="store_true", help="change nothing, name what is stale")
    act.add_argument("--write", action="store_true", help="write what is stale")
    parser.add_argument("--png", action="store_true", help="with --write; needs matplotlib")
    options = parser.parse_args(argv)
    if options.png and options.check:
        parser.error("--png goes with --write: a PNG is not compared")
    try:
        stale = refresh(PAGES, BLOCKS, tables_pictures.of_evaluations(), options.write)
    except MarkError as error:
        print(error, file=sys.stderr)
        return 2
    for name in stale:
        print(f"{'written' if options.write else 'stale'}: {name}")
    if options.png:
        tables_pictures.draw_benchmarks()
    return int(options.check and bool(stale))


def refresh(
    pages: Sequence[Path], blocks: Blocks, pictures: Mapping[Path, str], write: bool
) -> list[str]:
    """What is not as the results have it; with ``write`` it is afterwards.

    Raises:
        MarkError: marks that do not pair, an unknown name, or a block that no page shows.
    """
    stale, shown, new = [], set(), dict(pictures)
    for page in pages:
        new[page], names, changed = fill(page, blocks)
        shown |= names
        stale += [f"{os.path.relpath(page)}: {name}" for name in changed]
    if unused := sorted(set(blocks) - shown):
        raise MarkError(f"expected every block on a page, found none with {', '.join(unused)}")
    stale += [os.path.relpath(path) for path, text in pictures.items() if path.read_text() != text]
    if write:
        for path, text in new.items():
            path.write_text(text)
    return stale


def fill(page: Path, blocks: Blocks) -> tuple[str, set[str], list[str]]:
    """The text of a page as it should be, the names of its blocks, and of those that changed."""
    text, names, changed = page.read_text(), [], []

    def replace(found: re.Match[str]) -> str:
        name, old = found["name"], found["text"]
        names.append(name)
        if name not in blocks:
            raise MarkError(f"{page}: expected one of {', '.join(sorted(blocks))}, got {name}")
        made = blocks[name]()
        if old.startswith("\n"):
            made = f"\n{made}\n"
        elif "\n" in made or text[: found.start()].rpartition("\n")[2] == "":
            # Markdown ends a paragraph at a comment that begins a line
            raise MarkError(f"{page}: {name}: expected marks on lines of their own")
        if made != old:
            changed.append(name)
        return found["begin"] + made + found["end"]

    filled = BLOCK.sub(replace, text)
    if len(MARK.findall(text)) != 2 * len(names):
        raise MarkError(f"{page}: expected <!-- results: NAME --> and <!-- end --> in pairs")
    return filled, set(names), changed


if __name__ == "__main__":
    sys.exit(main())
