"""Where a benchmark runs: ``--device``, and ``--dry-run`` on a machine without that device."""

from __future__ import annotations

import argparse

import torch


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the options, say what would run, run nothing"
    )


def check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the program where nothing could run on the device, or where the JSON could not go."""
    if options.device == "cuda" and not options.dry_run and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device that torch can use")
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json: no directory {options.json.parent}")
