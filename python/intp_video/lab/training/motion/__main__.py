"""``python -m intp_video.lab.training.motion OUT``: see ``train.py`` beside it."""

import argparse
import sys

from ..command import run_training, training_parser
from .train import Recipe, train


def main() -> int:
    parser = training_parser(
        "python -m intp_video.lab.training.motion",
        "Train the model of the motion task on short synthetic clips.",
        Recipe,
    )
    return run_training(parser, Recipe, _train)


def _train(args: argparse.Namespace, recipe: Recipe) -> None:
    train(args.out, recipe, device=args.device)


if __name__ == "__main__":
    sys.exit(main())
