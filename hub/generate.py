"""The operators as a repository that the kernel builder of Hugging Face's Hub builds.

    python hub/generate.py FOLDER --repo-id ORGANIZATION/intp-ext [--machine aarch64]

What is the Hub's alone lies in ``hub/layout/``; all else comes from ``csrc/`` and ``intp_ext/``,
found by following what is included and imported. See docs/hub_kernel.md.
"""

from __future__ import annotations

import argparse
import ast
import json
import platform
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "intp_ext"
LAYOUT = ROOT / "hub" / "layout"
FACTS = json.loads((CSRC / "build_facts.json").read_text())

# the folders of csrc/ whose sources are compiled: the operators that layout/'s __init__.py offers,
# and what all operators need
FOLDERS = ("torch", "cpu", "token_order", "rearrange", "rope", "attention")
PYTHON = "torch-ext/intp_ext"
FIRST_TARGET = FACTS["cpu_targets"][0]["name"]
HIDDEN = "-fvisibility=hidden"  # as the types of torch's stable ABI are
VERSION = 1  # of the kernel on the Hub, which counts changes that break callers
BUILDER_WRITES = "_ops"


def generate(folder: Path, repo_id: str, machine: str) -> None:
    """Write the repository into ``folder``, which must be new or empty.

    Raises:
        ValueError: the folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder: expected a new or an empty one, got {folder}")
    sections = {**torch_section(), **cuda_section(), **cpu_sections(folder, machine)}
    junk = shutil.ignore_patterns("__pycache__")
    shutil.copytree(LAYOUT, folder, ignore=junk, dirs_exist_ok=True)
    shutil.copy(ROOT / "LICENSE", folder)
    for module in python_modules():
        copy(PACKAGE / module, folder / PYTHON / module)
    for section in sections.values():
        for name in section.get("src", ()):
            if name.startswith("csrc/"):
                copy(ROOT / name, folder / name)
    (folder / "build.toml").write_text(toml({**general_section(repo_id), **sections}))


def general_section(repo_id: str) -> dict[str, dict[str, object]]:
    return {
        "general": {
            "name": "intp-ext",
            "version": VERSION,
            "edition": 5,
            "license": "Apache-2.0",
            "backends": ["cpu", "cuda"],
        },
        "general.hub": {"repo-id": repo_id},
    }


def torch_section() -> dict[str, dict[str, object]]:
    sources = [path for path in compiled() if part(path) == "torch"]
    oldest = FACTS["oldest_torch"]
    return {
        "torch": {
            "src": ["torch-ext/torch_binding.cpp", *with_headers(sources)],
            "include": ["csrc"],
            "cxx-flags": [HIDDEN],
        },
        "torch.stable-abi": {"cpu": oldest, "cuda": oldest},
    }


def cuda_section() -> dict[str, dict[str, object]]:
    sources = [path for path in compiled() if side(path) == "cuda"]
    return {
        "kernel.cuda": {
            "backend": "cuda",
            "depends": ["torch"],
            "cuda-capabilities": FACTS["cuda_architectures"].split(),
            "src": with_headers(sources),
            "include": ["csrc"],
            "cxx-flags": [HIDDEN],
        }
    }


def cpu_sections(folder: Path, machine: str) -> dict[str, dict[str, object]]:
    """One of what is compiled once, and one for each target: a section has flags of its own.

    The builder compiles a source once. So the kernels themselves are those of the first target, and
    each other target has sources that include them.
    """
    sources = [path for path in compiled() if side(path) == "cpu"]
    kernels = [path for path in sources if path.match("cpu/*kernel.cpp")]
    section = {"backend": "cpu", "depends": ["torch"], "include": ["csrc"]}
    once = with_headers(path for path in sources if path not in kernels)
    sections: dict[str, dict[str, object]] = {
        "kernel.cpu": {**section, "cxx-flags": [HIDDEN], "src": once}
    }
    for target, flags in cpu_targets(machine).items():
        own = with_headers(kernels)
        if target != FIRST_TARGET:
            own = [including(kernel, target, folder) for kernel in kernels]
        sections[f"kernel.cpu_{target}"] = {
            **section,
            "cxx-flags": [HIDDEN, f"-DINTP_CPU_TARGET={target}", *flags],
            "src": own,
        }
    return sections


def including(kernel: Path, target: str, folder: Path) -> str:
    name = f"cpu_targets/{target}/{part(kernel)}_{kernel.name}"
    write(folder / name, f'#include "{kernel.relative_to(CSRC).as_posix()}"\n')
    return name


def cpu_targets(machine: str) -> dict[str, list[str]]:
    """The compiler flags of each target: its own, and those of the targets before it."""
    targets: dict[str, list[str]] = {}
    flags: list[str] = []
    for target in FACTS["cpu_targets"]:
        if target["machine"] in ("any", machine):
            flags = [*flags, *target["flags"].split()]
            targets[target["name"]] = flags
    return targets


def compiled() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted([*(CSRC / folder).rglob("*.cpp"), *(CSRC / folder).rglob("*.cu")])


def part(path: Path) -> str:
    return path.relative_to(CSRC).parts[0]


def side(path: Path) -> str | None:
    """ "cpu" or "cuda" where a file is for one of them."""
    parts = path.relative_to(CSRC).parts
    return next((name for name in parts if name in ("cpu", "cuda")), None)


def with_headers(sources: Iterable[Path]) -> list[str]:
    """These and all that they include: the builder sees only what a section lists."""
    found: set[Path] = set()
    left = list(sources)
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            names = re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M)
            left += [CSRC / name for name in names if (CSRC / name).is_file()]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def python_modules() -> set[Path]:
    """The files of the package that layout/'s modules import, and that those import in turn."""
    own = LAYOUT / PYTHON
    left = [file for path in own.rglob("*.py") for file in imported(path, path.relative_to(own))]
    found: set[Path] = set()
    while left:
        module = left.pop()
        if module not in found:
            found.add(module)
            left += imported(PACKAGE / module, module)
    return found


def imported(path: Path, module: Path) -> list[Path]:
    """Modules of the package that a module names, and the packages that they are in."""
    named: set[Path] = set()
    for step in ast.walk(ast.parse(path.read_text())):
        if isinstance(step, ast.ImportFrom) and step.level > 0:
            start = module.parents[step.level - 1].joinpath(*(step.module or "").split("."))
            named |= {start, *(start / alias.name for alias in step.names)}
    packages = {parent / "__init__" for name in named for parent in (name, *name.parents)}
    files = (name.with_name(f"{name.name}.py") for name in named | packages if name.name)
    return [file for file in files if comes_from_the_package(file)]


def comes_from_the_package(module: Path) -> bool:
    there = (PACKAGE / module).is_file() and module.stem != BUILDER_WRITES
    return there and not (LAYOUT / PYTHON / module).exists()


def copy(source: Path, target: Path) -> None:
    write(target, source.read_text())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def toml(sections: dict[str, dict[str, object]]) -> str:
    """Strings, integers and lists of strings are written in TOML as they are in JSON."""
    texts = []
    for name, entries in sections.items():
        lines = [f"{key} = {json.dumps(value, indent=4)}" for key, value in entries.items()]
        texts.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(texts) + "\n"


def main(arguments: list[str] | None = None) -> None:
    machines = sorted({target["machine"] for target in FACTS["cpu_targets"]} - {"any"})
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="new or empty")
    parser.add_argument("--repo-id", required=True, help="on the Hub: ORGANIZATION/intp-ext")
    parser.add_argument(
        "--machine",
        default=platform.machine(),
        choices=machines,
        help="whose CPU kernels there are; by default this machine's",
    )
    options = parser.parse_args(arguments)
    try:
        generate(options.folder, options.repo_id, options.machine)
    except ValueError as error:
        sys.exit(f"hub/generate.py: {error}")
    print(f"{options.folder}: build it with kernel-builder")


if __name__ == "__main__":
    main()
