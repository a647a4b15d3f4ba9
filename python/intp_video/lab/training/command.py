"""What the commands that train have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any


def training_parser(prog: str, description: str, recipe: type) -> argparse.ArgumentParser:
    """A parser with OUT, one option for every field of a recipe, ``--device``, ``--threads``."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=f"{description} Interrupted, the same command goes on where it was.",
    )
    parser.add_argument("out", metavar="OUT", help="directory for the model and its checkpoint")
    for field in fields(recipe):
        option = f"--{field.name.replace('_', '-')}"
        kind = type(field.default)
        parser.add_argument(
            option, type=kind, default=field.default, help=f"(default: {field.default})"
        )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    return parser


def run_training(
    parser: argparse.ArgumentParser,
    recipe: type,
    train: Callable[[argparse.Namespace, Any], None],
    argv: Sequence[str] | None = None,
) -> int:
    """Parses, trains, and returns the exit code. ``train`` gets the arguments and the recipe."""
    args = parser.parse_args(argv)
    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    try:
        train(args, recipe(**{field.name: getattr(args, field.name) for field in fields(recipe)}))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from {args.out}", file=sys.stderr)
        return 130
    return 0
