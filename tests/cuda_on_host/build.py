"""Builds the CUDA operators for the CPU: the sources of csrc/ by g++, against cuda_on_host.h.

The operators are registered for CPU tensors in a namespace of their own, so that a test calls them
like any other, and several builds (a planted bug each) live in one process.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from workers import one_at_a_time

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"
FACTS = json.loads((CSRC / "build_facts.json").read_text())
NAMESPACE = "INTP_CUDA_ON_HOST_NAMESPACE"  # read by include/torch/stable.h
SANITIZERS = ["-fsanitize=address,alignment", "-fno-sanitize-recover=all", "-g1"]


def cuda_include() -> Path | None:
    """The headers of a CUDA toolkit; no GPU is needed, and no nvcc."""
    homes = [Path(home) for home in (os.environ.get("CUDA_HOME"), "/usr/local/cuda") if home]
    if nvcc := shutil.which("nvcc"):
        homes.append(Path(nvcc).resolve().parents[1])
    for home in homes:
        if (home / "include/cuda_bf16.h").exists() and (home / "include/cuda_runtime.h").exists():
            return home / "include"
    return None


def reason_to_skip() -> str | None:
    if shutil.which("g++") is None:
        return "no g++"
    if cuda_include() is None:
        return "no CUDA headers in CUDA_HOME, /usr/local/cuda or beside nvcc"
    return None


def sources() -> list[Path]:
    found = [*CSRC.rglob("*.cu"), *CSRC.glob("*/cuda/*.cpp"), CSRC / "torch/library.cpp"]
    return [*sorted(found), HERE / "fiber.cpp", HERE / "scheduler.cpp"]


@dataclass
class Library:
    """A loaded build; ``ops.apply_rope(...)`` and so on run the CUDA kernels on CPU tensors."""

    path: Path
    namespace: str

    def __post_init__(self) -> None:
        os.environ[NAMESPACE] = self.namespace
        try:
            torch.ops.load_library(self.path)
        finally:
            del os.environ[NAMESPACE]
        self.ops = getattr(torch.ops, self.namespace)
        library = ctypes.CDLL(str(self.path))
        self._set_descending = library.cuda_on_host_set_descending
        self.set_multiprocessors = library.cuda_on_host_set_multiprocessors
        self.last_shared = library.cuda_on_host_last_shared  # bytes a block of the last launch had
        self.last_shared.restype = ctypes.c_int64

    @contextmanager
    def schedule(self, descending: bool) -> Iterator[None]:
        """Threads, warps and blocks in ascending or descending order."""
        self._set_descending(descending)
        try:
            yield
        finally:
            self._set_descending(False)


@dataclass
class Build:
    """Objects in ``directory``: all of them, or what differs from those of ``base``.

    What is in the directory already is kept: several processes may ask for one build, and the first
    makes it.

    Args:
        changed: new text of files, by path below csrc/.
        unit: the one file that is compiled anew, whatever else a change reaches; below csrc/, too.
        sanitize: the kernels, and what runs them, under AddressSanitizer and a check of alignment.
    """

    directory: Path
    base: Build | None = None
    changed: Mapping[str, str] = field(default_factory=dict)
    unit: str | None = None
    sanitize: bool = False

    def library(self, namespace: str) -> Library:
        path = self.link(namespace)
        return Library(path, namespace)

    def link(self, name: str) -> Path:
        """Compiles what is needed; raises ``RuntimeError`` with what g++ said."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(self.directory):
            return self._link(name)

    def _link(self, name: str) -> Path:
        for relative, text in self.changed.items():
            path = self.directory / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self.objects = dict(pool.map(self._object, sources()))
        path = self.directory / f"{name}.so"
        if path.exists():
            return path
        torch_lib = Path(torch.__file__).parent / "lib"
        self._run(
            "-shared", *(SANITIZERS if self.sanitize else []), *map(str, self.objects.values()),
            f"-L{torch_lib}", "-ltorch_cpu", "-o", str(path),
        )  # fmt: skip
        return path

    def _object(self, source: Path) -> tuple[Path, Path]:
        sanitize = self.sanitize and (source.suffix == ".cu" or source.parent == HERE)
        sanitize = sanitize and not source.stem.endswith("_fp16")  # bf16's, but for the type
        if self.base is not None and not self._differs(source, sanitize):
            return source, self.base.objects[source]
        text = source
        if source.is_relative_to(CSRC) and str(source.relative_to(CSRC)) in self.changed:
            text = self.directory / source.relative_to(CSRC)
        path = self.directory / "objects" / source.relative_to(ROOT).with_suffix(".o")
        if path.exists():
            return source, path
        path.parent.mkdir(parents=True, exist_ok=True)
        include = Path(torch.__file__).parent / "include"
        self._run(
            "-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-Wall",
            "-Wextra", "-Wno-unknown-pragmas", "-Wno-attributes",
            *(SANITIZERS if sanitize else []),
            f"-I{self.directory}", f"-I{HERE}/include", f"-I{CSRC}", f"-isystem{include}",
            f"-isystem{cuda_include()}", f"-DTORCH_TARGET_VERSION={FACTS['torch_stable_abi']}",
            "-MMD", "-x", "c++", "-c", str(text), "-o", str(path),
        )  # fmt: skip
        return source, path

    def _differs(self, source: Path, sanitize: bool) -> bool:
        """Is it compiled otherwise than the base's, or from a changed file?"""
        if self.unit is not None:
            return source == CSRC / self.unit
        if sanitize and not self.base.sanitize:
            return True
        made = self.base.objects[source].with_suffix(".d").read_text().split()
        return any(str(CSRC / relative) in made for relative in self.changed)

    @staticmethod
    def _run(*arguments: str) -> None:
        result = subprocess.run(["g++", *arguments], capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"g++ {' '.join(arguments)}\n{result.stderr}")
