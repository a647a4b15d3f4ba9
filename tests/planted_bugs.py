"""Plants every bug of cuda_on_host/planted_bugs.py and sees that it is caught.

    python tests/planted_bugs.py                  # all of them: after a change to a CUDA kernel
    python tests/planted_bugs.py --only packed    # those with this text in their names
    python tests/planted_bugs.py --list

Each is compiled into a library of its own, against cuda_on_host.h, and run on the CPU: g++ and the
headers of a CUDA toolkit are needed, no GPU. The suite runs one of each kind. Exit code: 0 if all
are caught, 1 if one is not, 2 if nothing could be run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cuda_on_host import build, planting
from cuda_on_host.planted_bugs import WRONG_ADDRESS, WRONG_RESULT, Bug
from tqdm import tqdm


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="bugs whose names hold it")
    parser.add_argument("--list", action="store_true", help="the names, and nothing else")
    options = parser.parse_args(argv)
    results = [bug for bug in WRONG_RESULT if options.only in bug.name]
    addresses = [bug for bug in WRONG_ADDRESS if options.only in bug.name]
    bugs = results + addresses
    if not bugs:
        parser.error(f"--only: expected a part of a name that --list shows, got {options.only!r}")
    if options.list:
        print(*(bug.name for bug in bugs), sep="\n")
        return 0
    if reason := build.reason_to_skip():
        print(f"nothing can be compiled here: {reason}", file=sys.stderr)
        return 2
    missed = []
    with tempfile.TemporaryDirectory() as scratch, tqdm(total=len(bugs), unit="bug") as bar:
        for bug, caught in run(results, addresses, Path(scratch), bar):
            bar.update()
            if not caught:
                missed.append(bug.name)
                bar.write(f"not caught: {bug.name}", file=sys.stdout)
    print(f"{len(bugs) - len(missed)} of {len(bugs)} bugs are caught")
    return int(bool(missed))


def run(
    results: Sequence[Bug], addresses: Sequence[Bug], scratch: Path, bar: tqdm
) -> Iterator[tuple[Bug, bool]]:
    """Every bug, and whether it was caught."""
    bar.set_description("compiling the sources as they are")
    base = build.Build(scratch / "base")
    base.link("intp_base")
    bar.set_description("wrong results")
    paths = planting.link(results, base, scratch / "results", "intp_planted")
    for bug, path in zip(results, paths, strict=True):
        yield bug, planting.shows(bug, path)
    if not addresses:
        return
    bar.set_description("compiling for AddressSanitizer")
    sane = build.Build(scratch / "sane", base, sanitize=True)
    sane.link("intp_sane")
    bar.set_description("wrong addresses")
    paths = planting.link(addresses, sane, scratch / "addresses", "intp_sanitized")
    for bug, path in zip(addresses, paths, strict=True):
        yield bug, planting.is_address_error(*planting.run_sanitized({bug.name: path})[bug.name])


if __name__ == "__main__":
    sys.exit(main())
