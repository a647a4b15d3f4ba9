"""Runs the hook's tests against releases of transformers, for the tables of docs/transformers.md.

    python tests/transformers_matrix.py                   # all of them: 15 minutes on two cores
    python tests/transformers_matrix.py 4.57.6 newest     # two of them; the other rows stay
    python tests/transformers_matrix.py --families        # tests of the families alone: 4 minutes

Each release is installed into a folder of its own and put in front of the one that is installed
here; torch and this package stay what they are. "newest" is the newest release, "pre" the newest
pre-release if it is newer than that. Exit code 1 if a test failed. Tests of the families
are counted by family, and apart from the others.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

from intp_video.models import FAMILIES
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "transformers_matrix.json"
RELEASES = ("4.57.6", "5.0.0", "5.3.0", "5.4.0", "5.10.4", "5.17.0", "5.20.2", "5.23.0")
OF_FAMILIES = "tests/hf/test_families.py"
TESTS = ("tests/hf", "tests/cli/test_demo.py", "tests/cli/test_ask.py")
EVERYWHERE = ("no CUDA", "torchvision")  # skips that say nothing about transformers


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("releases", nargs="*", help=f"default: {' '.join(RELEASES)} newest pre")
    parser.add_argument("--families", action="store_true", help=f"run {OF_FAMILIES} alone")
    parser.add_argument("--folder", type=Path, help="where releases are installed, and kept")
    parser.add_argument("--dry", action="store_true", help="print what was found, write nothing")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        releases = resolve(options.releases or [*RELEASES, "newest", "pre"])
        if options.families and (new := sorted({*releases} - {*rows})):
            parser.error(f"--families: expected releases that all tests ran on, got {new}")
        bar = tqdm(releases, unit="release")
        for release in bar:
            bar.set_description(release)
            report = run(release, folder / release, (OF_FAMILIES,) if options.families else TESTS)
            found = {} if options.families else counts(report)
            rows[release] = {**rows.get(release, {}), **found, "families": by_family(report)}
            print(release, json.dumps(rows[release]))
            if not options.dry:
                write(rows)
    return int(any(map(failures, rows.values())))


def resolve(wanted: Sequence[str]) -> list[str]:
    """Versions, in the order asked for; "newest" and "pre" are looked up."""
    found = []
    for name in wanted:
        if name == "newest":
            found.append(_published())
        elif name == "pre":
            found += [version for version in [_published("--pre")] if version != _published()]
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def _published(*options: str) -> str:
    command = [sys.executable, "-m", "pip", "index", "versions", "transformers", *options]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.search(r"^transformers \((\S+)\)", listed, re.MULTILINE)[1]


def run(release: str, folder: Path, tests: Sequence[str]) -> ElementTree.ElementTree:
    """The JUnit report of the tests on one release."""
    if not (folder / "transformers").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
        subprocess.run([*command, f"transformers=={release}"], check=True, stdout=sys.stderr)
    report = folder / "report.xml"
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *tests]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    return ElementTree.parse(report)


def counts(report: ElementTree.ElementTree) -> dict:
    """passed, failed and skipped, of the tests that are not of one family."""
    return _dated(case for case in report.iter("testcase") if _family(case) is None)


def by_family(report: ElementTree.ElementTree) -> dict:
    """The same of the tests of each family, by its model type."""
    cases: dict[str, list[ElementTree.Element]] = {}
    for case in report.iter("testcase"):
        if (name := _family(case)) is not None:
            cases.setdefault(name, []).append(case)
    return {name: _dated(cases[name]) for name in FAMILIES if name in cases}


def _family(case: ElementTree.Element) -> str | None:
    """The family among the parameters of a test of the families."""
    if case.get("classname") != OF_FAMILIES.removesuffix(".py").replace("/", "."):
        return None
    parameters = case.get("name", "").partition("[")[2].removesuffix("]").split("-")
    names = (re.sub(r"_\d$", "", name) for name in parameters)  # pytest numbers equal ones
    return next((name for name in names if name in FAMILIES), None)


def _dated(cases: Iterable[ElementTree.Element]) -> dict:
    passed, failed, skipped = 0, [], {}
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}")
        elif (skip := case.find("skipped")) is not None:
            reason = skip.get("message", "")
            if not any(word in reason for word in EVERYWHERE):
                skipped[reason] = skipped.get(reason, 0) + 1
        else:
            passed += 1
    today = date.today().isoformat()
    return {"date": today, "passed": passed, "failed": failed, "skipped": skipped}


def failures(row: dict) -> list[str]:
    """Tests of a release that failed, those of the families too."""
    families = row.get("families", {}).values()
    return [*row["failed"], *(name for family in families for name in family["failed"])]


def in_order(rows: dict[str, dict]) -> list[str]:
    return sorted(rows, key=lambda version: [int(part) for part in re.findall(r"\d+", version)])


def write(rows: dict[str, dict]) -> None:
    rows = {release: rows[release] for release in in_order(rows)}
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    command = [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--write"]
    subprocess.run(command, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
