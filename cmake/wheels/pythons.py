"""The interpreters of this machine that a wheel's ``_info`` can be built for, by their headers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from symbols import FACTS

WANTED = FACTS["wheel"]["pythons"]
ASKED = """
import os, sys, sysconfig
if os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("%d.%d" % sys.version_info[:2])
"""


def find(named: Sequence[str] | None = None) -> tuple[dict[str, str], list[str]]:
    """Paths by version, of those named, else of all found here; the versions that have none."""
    found: dict[str, str] = {}
    for path in named or (path for version in WANTED for path in _candidates(version)):
        version = version_with_headers(path)
        if version in WANTED:
            found.setdefault(version, path)
        elif named:
            raise SystemExit(
                f"make_wheels: --python: expected one of {', '.join(WANTED)} with its headers, "
                f"got {path} ({version or 'none, or no headers'})"
            )
    if not found:
        raise SystemExit(f"make_wheels: no Python of {', '.join(WANTED)} has its headers here")
    return found, [version for version in WANTED if version not in found]


def version_with_headers(path: str) -> str:
    """ "" where there are no headers, or no Python."""
    try:
        asked = subprocess.run([path, "-c", ASKED], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # a shim of a Python that is not chosen, say
        return ""
    return asked.stdout.strip()


def failure_to_load(path: str, directory: Path) -> str:
    """What an interpreter says of the _info in the directory; "" where it is content."""
    command = [path, "-c", "import _info; _info.build_info()"]
    asked = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    return asked.stderr.strip().rpartition("\n")[2] if asked.returncode else ""


def _candidates(version: str) -> Iterator[str]:
    """In PATH, of pyenv, of uv, and in the images of manylinux."""
    tag = "cp" + version.replace(".", "")
    if path := shutil.which(f"python{version}"):
        yield path
    pyenv = os.environ.get("PYENV_ROOT", "~/.pyenv")
    for directory, pattern in (
        (f"{pyenv}/versions", f"{version}.*/bin/python3"),
        ("~/.local/share/uv/python", f"cpython-{version}.*/bin/python3"),
        ("/opt/python", f"{tag}-{tag}/bin/python3"),
    ):
        yield from sorted(map(str, Path(directory).expanduser().glob(pattern)))
