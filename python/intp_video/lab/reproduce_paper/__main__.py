"""``python -m intp_video.lab.reproduce_paper``: its evaluation, ready to be run elsewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ...records.files import write_whole
from .commands import script
from .published import MODEL
from .results import read_results
from .table import table

DESCRIPTION = """\
Write the commands that evaluate INTP on the sets of its paper (arXiv 2409.12963), and the table
that they fill: run.sh and table.md. Nothing is run: no published Video-LLM has been evaluated here,
and the commands need its weights, the videos of the sets and a GPU. With --json, results are read
back into the table, beside what the paper reports.
"""

EXAMPLES = """\
examples:
  python -m intp_video.lab.reproduce_paper paper                  # paper/run.sh, paper/table.md
  cd paper && sh run.sh                                           # on a machine that has it all
  python -m intp_video.lab.reproduce_paper paper --json paper/results
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m intp_video.lab.reproduce_paper",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="DIR", help="what is written goes here")
    parser.add_argument("--model", default=MODEL, metavar="DIR_OR_ID", help=f"(default: {MODEL})")
    parser.add_argument(
        "--json", metavar="RESULTS", help="the folder of the results, to be read into the table"
    )
    args = parser.parse_args(arguments)
    folder = Path(args.folder)
    try:
        found = {} if args.json is None else read_results(args.json)
        folder.mkdir(parents=True, exist_ok=True)
        if args.json is None:
            write_whole(folder / "run.sh", script(model=args.model))
        write_whole(folder / "table.md", table(found))
    except (OSError, ValueError) as error:
        print(f"reproduce_paper: {error}", file=sys.stderr)
        return 1
    print(table(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
