"""Names and versions of a library's dynamic symbols, and whether the wheel's platform has them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FACTS = json.loads((Path(__file__).parents[2] / "csrc/build_facts.json").read_text())
NEWEST = FACTS["wheel"]["newest_symbols"]

# there wherever torch is
LIBRARIES = re.compile(
    r"lib(torch_cpu|torch_cuda|stdc\+\+|gcc_s|c|m|pthread|dl|rt)\.so.*|ld-linux-.*"
)
# what the process of Python has, and the C functions of torch
WITHOUT_VERSION = re.compile(r"_?Py[A-Z_]\w*|aoti_torch_\w+|torch_\w+")


class Symbol(NamedTuple):
    name: str
    version: str  # "" where it has none
    kind: str  # FUNC, OBJECT, TLS, ...
    size: int
    weak: bool
    defined: bool


def symbols(library: str | Path) -> Iterator[Symbol]:
    # Num: Value Size Type Bind Vis [other] Ndx Name@Version (index)
    line = re.compile(r"\s*\d+: \w+\s+(\w+) (\w+)\s+(\w+)\s+\w+\s+(?:\[.*\]\s+)?(\w+) (\S+)")
    for found in map(line.match, readelf("--dyn-syms", library).splitlines()):
        if found:
            size, kind, bind, section, name = found.groups()
            name, _, version = name.replace("@@", "@").partition("@")
            yield Symbol(name, version, kind, int(size, 0), bind == "WEAK", section != "UND")


def version_number(version: str) -> tuple[int, ...] | None:
    """(2, 14) of GLIBC_2.14; None for a version that the wheel's platform does not have."""
    family, _, number = version.rpartition("_")
    if family not in NEWEST or not re.fullmatch(r"\d+(\.\d+)*", number):
        return None
    found, newest = (tuple(map(int, each.split("."))) for each in (number, NEWEST[family]))
    return found if found <= newest else None


def needed_libraries(library: str | Path) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("--dynamic", library))


def needed_versions(library: str | Path) -> set[str]:
    """More than those of the symbols: a version may be needed by itself."""
    needs = readelf("--version-info", library).partition("Version needs section")[2]
    return set(re.findall(r"Name: (\S+)  Flags", needs))


def problems(library: Path) -> Iterator[str]:
    """Why the library could not be loaded on the wheel's platform."""
    for needed in needed_libraries(library):
        if not LIBRARIES.fullmatch(needed):
            yield f"{library.name} needs {needed}, which need not be there"
    undefined = [symbol for symbol in symbols(library) if not symbol.defined and symbol.name]
    for version in sorted(needed_versions(library)):
        if version_number(version) is None:
            names = sorted(symbol.name for symbol in undefined if symbol.version == version)
            yield f"{library.name} needs {version}, for {', '.join(names) or 'no symbol'}"
    for symbol in undefined:
        if not (symbol.version or symbol.weak or WITHOUT_VERSION.fullmatch(symbol.name)):
            yield f"{library.name} needs {symbol.name}, which no library has"


def readelf(what: str, library: str | Path) -> str:
    command = ["readelf", "--wide", what, str(library)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
