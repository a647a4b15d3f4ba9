"""Loads the operator libraries. What goes wrong here is said with its cause and its cure."""

from __future__ import annotations

import re
import sys
import warnings
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

OLDEST_TORCH = (2, 11)
PACKAGE = Path(__file__).resolve().parent


def _torch_version() -> tuple[int, int]:
    major, minor = torch.__version__.split("+")[0].split(".")[:2]
    return int(major), int(minor)


def _load_failure(library: Path, error: Exception) -> ImportError:
    return ImportError(
        f"intp_ext: could not load {library.name} beside torch {torch.__version__}.\n"
        f"  {error}\n"
        "Likely causes:\n"
        "  - it was built for another processor architecture or by a newer C++ library: "
        "build it on this machine\n"
        "  - this torch is older than the stable ABI it was built for (2.11), or no longer has it\n"
        "Cure: pip install --no-build-isolation --force-reinstall --no-deps <intp-ext source>"
    )


def _load_cpu() -> None:
    if _torch_version() < OLDEST_TORCH:
        raise ImportError(
            f"intp_ext: torch {torch.__version__} is too old, at least 2.11 is needed (stable ABI)"
        )
    library = PACKAGE / "_C.so"
    if not library.exists():
        in_source = (PACKAGE.parent / "csrc").is_dir()
        raise ImportError(
            f"intp_ext: {library} does not exist.\n"
            + (
                "Python found the source tree first (it was started there, or PYTHONPATH names "
                "it), and the source has no built library; it shadows an installed intp_ext.\n"
                "Cure: pip install -e . in the source, or start Python from another directory."
                if in_source
                else "The installation is incomplete.\nCure: install intp-ext again."
            )
        )
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        raise _load_failure(library, error) from error


def _load_cuda() -> tuple[bool, str]:
    """(loaded, why). A library that should load but does not is a warning: the CPU still works."""
    library = PACKAGE / "_C_cuda.so"
    if not library.exists():
        return False, f"it was not built: {build_info()['cuda_reason']}"
    if torch.version.cuda is None:
        return False, f"torch {torch.__version__} is a CPU build"
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        warnings.warn(str(_load_failure(library, error)), stacklevel=3)
        return False, f"loading failed: {error}"
    return True, f"torch {torch.__version__} is built for CUDA {torch.version.cuda}"


def _check_python() -> None:
    """A wheel has an _info for each Python that it was built for."""
    if not any((PACKAGE / f"_info{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        found = (re.match(r"_info\.cpython-3(\d+)", path.name) for path in PACKAGE.glob("_info.*"))
        versions = [f"3.{minor}" for minor in sorted(int(each[1]) for each in found if each)]
        raise ImportError(
            f"intp_ext: it was built for Python {', '.join(versions) or 'none'}, "
            f"this is {sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}.\n"
            "Cure: one of those, or pip install . in the source, which needs a C++ compiler"
        )


_load_cpu()
_check_python()

from ._info import build_info as build_info  # noqa: E402  (the messages above come first)
from ._info import cpu_level  # noqa: E402

CPU_LEVEL = cpu_level()  # now, so that an impossible INTP_EXT_CPU stops the import
CUDA_LOADED, CUDA_REASON = _load_cuda()
