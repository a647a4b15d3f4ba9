"""The layers of csrc/: which folder may include which; nothing runs back up or in a circle."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
BASE = {"common", "cpu", "cuda", "torch"}

# what each folder may include beside itself
ALLOWED = {
    "common": set(),
    "cpu": {"common"},
    "cuda": {"common"},
    "torch": {"common"},
    "token_order": BASE,
    "rearrange": BASE,
    "rope": BASE,
    "attention": BASE,
    "kv_append": BASE | {"rope"},  # keys are rotated as they are cached
    "info": {"common", "cpu", "attention"},  # the plans of attention
}
FAMILIES = ("token_order", "rearrange", "rope", "attention", "kv_append")

INSTRUCTION_SETS = re.compile(r"#.*\b(__(AVX|SSE|FMA|F16C|ARM)|INTP_NEON)\w*")
MACHINES = re.compile(r"#.*\b__(x86_64|aarch64)__")


def sources(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        if path.suffix in (".h", ".cpp", ".cu"):
            yield path.relative_to(root).as_posix()


def includes(root: Path) -> dict[str, list[str]]:
    """The files of csrc/ that each file includes."""
    found = {}
    for name in sources(root):
        found[name] = re.findall(r'^\s*#\s*include\s+"([^"]+)"', (root / name).read_text(), re.M)
    found["cuda/ptx.h"].remove("cuda_on_host.h")  # what tests/cuda_on_host put in its way
    return found


def folder(name: str) -> str:
    return name.rpartition("/")[0]


def part(name: str) -> str:
    return name.partition("/")[0]


def side(name: str) -> str | None:
    """ "cpu" or "cuda" where a file, of a family or not, is for one of them."""
    return next((each for each in folder(name).split("/") if each in ("cpu", "cuda")), None)


def upward(found: dict[str, list[str]]) -> list[str]:
    """Includes that run back up a layer, or across to another family or the other side."""
    wrong = []
    for name, included in found.items():
        for other in included:
            below = part(other) == part(name) or part(other) in ALLOWED[part(name)]
            across = part(name) in FAMILIES and side(other) not in (None, side(name))
            if across or not below:
                wrong.append(f"{name} -> {other}")
    return wrong


def circle(found: dict[str, list[str]]) -> list[str]:
    """Folders that include each other, one after the other; empty if there are none."""
    graph: dict[str, set[str]] = {}
    for name, included in found.items():
        graph.setdefault(folder(name), set()).update(
            folder(other) for other in included if folder(other) != folder(name)
        )

    def walk(at: str, path: list[str]) -> list[str]:
        if at in path:
            return [*path[path.index(at) :], at]
        return next((c for n in sorted(graph.get(at, ())) if (c := walk(n, [*path, at]))), [])

    return next((c for start in sorted(graph) if (c := walk(start, []))), [])


def reaches_torch(name: str, found: dict[str, list[str]]) -> bool:
    return part(name) == "torch" or any(reaches_torch(other, found) for other in found[name])


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    return includes(CSRC)


def test_every_folder_is_in_the_table(found):
    assert {part(name) for name in found} == set(ALLOWED)


def test_every_include_is_a_path_below_csrc(found):
    assert [(n, o) for n, included in found.items() for o in included if o not in found] == []


def test_nothing_includes_upward(found):
    assert upward(found) == []


def test_no_circle_of_folders(found):
    assert circle(found) == []


def test_kernels_know_nothing_of_torch(found):
    """Only an operator's host side does: op.h, and op.cpp of either device."""
    glue = {name for name in found if reaches_torch(name, found) and part(name) != "torch"}
    assert {Path(name).name for name in glue} == {"op.h", "op.cpp"}


def test_one_header_includes_those_of_torch():
    assert [n for n in sources(CSRC) if "#include <torch/" in (CSRC / n).read_text()] == [
        "torch/stable.h"
    ]


def test_instruction_sets_are_asked_for_in_one_place():
    def asking(what: re.Pattern) -> set[str]:
        outside = {name for name in sources(CSRC) if folder(name) != "cpu/simd"}
        return {name for name in outside if what.search((CSRC / name).read_text())}

    assert asking(INSTRUCTION_SETS) == {"cpu/simd.h"}
    assert asking(MACHINES) == {"cpu/target.h", "cpu/target.cpp"}  # which of them there are


def test_the_names_inside_a_family_are_the_same(found):
    for family in FAMILIES:
        inside = {name.partition("/")[2] for name in found if part(name) == family}
        assert {
            "params.h",
            "op.h",
            "cpu/op.cpp",
            "cuda/op.cpp",
            "cuda/launch.h",
            "cuda/launch.cu",
        } <= inside, family


@pytest.mark.parametrize(
    "name, other",
    [
        ("common/a.h", "cpu/simd.h"),
        ("cpu/a.h", "torch/check.h"),
        ("rope/a.h", "attention/params.h"),
        ("rope/params.h", "rope/cpu/kernel.h"),
        ("rope/cpu/a.h", "rope/cuda/kernel.h"),
        ("rope/cuda/a.h", "cpu/target.h"),
    ],
)
def test_what_runs_upward_is_seen(name, other):
    assert upward({name: [other]}) == [f"{name} -> {other}"]


def test_a_circle_is_seen():
    assert circle({"a/x.h": ["b/y.h"], "b/y.h": ["c/z.h"], "c/z.h": ["b/w.h"]}) == ["b", "c", "b"]
