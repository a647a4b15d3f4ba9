"""``python -m intp_video.lab.training OUT``: see :mod:`intp_video.lab.training.train`."""

import argparse
import sys

from .command import run_training, training_parser
from .train import Recipe, train


def main() -> int:
    parser = training_parser(
        "python -m intp_video.lab.training",
        "Train the small Video-LLaVA of this package on short synthetic clips.",
        Recipe,
    )
    parser.add_argument("--init-from", metavar="DIR", help="begin with the weights of a model")
    return run_training(parser, Recipe, _train)


def _train(args: argparse.Namespace, recipe: Recipe) -> None:
    train(args.out, recipe, device=args.device, init_from=args.init_from)


if __name__ == "__main__":
    sys.exit(main())
