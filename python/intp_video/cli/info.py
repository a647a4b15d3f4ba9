"""``intp-video info``: what is installed, what works, what is missing and how to get it."""

import argparse
import importlib.metadata
import platform
from collections.abc import Iterator
from typing import Any

from .. import compat
from ..video import BACKENDS, backend_status
from .console import add_talk_arguments, print_json

__all__ = ["add_arguments", "run"]

_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pillow")


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "info",
        help="what is installed, what works and what is missing",
        description="Versions, video backends, operator library and known models. Put the output "
        "into bug reports. Exit code 1 if the operators fail their self-test.",
    )
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    report = _report()
    if args.json:
        print_json(report)
    else:
        print("\n".join(_lines(report)))
    return 0 if report["operators"].get("passed") else 1


def _report() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "transformers": compat.tested_with(),
        "video_backends": {
            name: {"package": status.package, "version": status.version, "problem": status.problem}
            for name, status in ((name, backend_status(name)) for name in BACKENDS)
        },
        "models": _models(),
        "operators": _operators(),
    }


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"{'python':<14}{report['python']} on {report['platform']}"
    for name, version in report["packages"].items():
        told = report["transformers"] if name == "transformers" else version
        yield f"{name:<14}{told or f'not installed (pip install {name})'}"
    yield "video backends, in the order in which they are tried"
    for name, backend in report["video_backends"].items():
        yield f"  {name:<12}{backend['problem'] or 'version ' + backend['version']}"
    yield f"{'models':<14}{', '.join(report['models']) or 'none: see operators'}"
    operators = report["operators"]
    if "problem" in operators:
        yield f"{'operators':<14}{operators['problem']}"
        return
    build, tests = operators["build"], operators["self_test"]
    cuda = "loaded" if build["cuda_loaded"] else f"not in use: {build['cuda_loaded_reason']}"
    passed = sum(test["passed"] for test in tests)
    yield f"{'operators':<14}intp_ext {build['version']}, CPU code for {build['cpu_level']}"
    yield f"{'':<14}CUDA library {cuda}"
    yield f"{'':<14}self-test: {passed} of {len(tests)} passed (details: python -m intp_ext)"


def _models() -> list[str]:
    try:
        from ..models import FAMILIES
    except (ImportError, OSError, RuntimeError):  # the operators do not load, as said below
        return []
    return sorted(FAMILIES)


def _operators() -> dict[str, Any]:
    """What the doctor finds, or why there is no doctor."""
    try:
        from intp_ext.doctor import diagnose
    except (ImportError, OSError, RuntimeError) as error:
        return {"problem": f"the operator library does not load: {error}"}
    return diagnose()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
