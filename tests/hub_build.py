"""Builds what hub/generate.py writes, as the Hub's builder would for the CPU, but not optimized.

Which sources, include folders and flags there are is read from build.toml. What the builder adds by
itself, the header ``registration.h`` and the module ``_ops``, is written here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

REGISTRATION = """\
#pragma once
#include <Python.h>
#define MODULE_NAMED(NAME)                                                \\
  PyMODINIT_FUNC PyInit_##NAME() {                                        \\
    static PyModuleDef module = {PyModuleDef_HEAD_INIT, #NAME, 0, 0, {}}; \\
    return PyModule_Create(&module);                                      \\
  }
#define REGISTER_EXTENSION(NAME) MODULE_NAMED(NAME)
"""
OPS = """\
import torch
from . import {name}
ops = torch.ops.{name}
def add_op_namespace_prefix(op_name):
    return "{name}::" + op_name
"""


def build(repository: Path, config: dict[str, Any], name: str, package: Path) -> None:
    """Write ``package``: the Python of the repository, and its library.

    Args:
        repository: from hub/generate.py; gets registration.h.
        config: its build.toml.
        name: of the library, in which no other build is registered.
        package: a new folder.
    """
    (repository / "torch-ext/registration.h").write_text(REGISTRATION)
    shutil.copytree(repository / "torch-ext/intp_ext", package)
    (package / "_ops.py").write_text(OPS.format(name=name))

    objects = package / "objects"
    objects.mkdir()
    commands = compile_commands(repository, config, name, objects)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, commands))
    linked = ["-o", str(package / f"{name}.abi3.so"), *map(str, objects.iterdir())]
    libraries = [f"-L{Path(torch.__file__).parent / 'lib'}", "-ltorch_cpu", "-ltorch", "-lc10"]
    run(["g++", "-shared", *linked, *libraries])


def compile_commands(
    repository: Path, config: dict[str, Any], name: str, objects: Path
) -> list[list[str]]:
    major, minor = map(int, config["torch"]["stable-abi"]["cpu"].split("."))
    includes = [sysconfig.get_path("include"), str(Path(torch.__file__).parent / "include")]
    common = ["g++", "-std=c++20", "-O0", "-fPIC", "-Wall", "-Werror", "-DCPU_KERNEL"]
    common += [f"-DTORCH_TARGET_VERSION={major << 56 | minor << 48}"]
    common += [f"-DTORCH_EXTENSION_NAME={name}", *(f"-isystem{folder}" for folder in includes)]
    kernels = config["kernel"].values()
    commands = []
    for section in (config["torch"], *(each for each in kernels if each["backend"] == "cpu")):
        own = [f"-I{repository / folder}" for folder in section["include"]]
        for source in section["src"]:
            if source.endswith(".cpp"):
                out = objects / (source.replace("/", "_") + ".o")
                command = [*common, *own, *section["cxx-flags"], "-c", str(repository / source)]
                commands.append([*command, "-o", str(out)])
    return commands


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-4000:]}"
