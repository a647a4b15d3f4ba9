"""``python -m intp_video.lab.training OUT``: see :mod:`intp_video.lab.training.train`."""

import argparse
import sys

from .train import Recipe, train


def main() -> int:
    default = Recipe()
    parser = argparse.ArgumentParser(
        prog="python -m intp_video.lab.training",
        description="Train the small Video-LLaVA of this package on short synthetic clips. "
        "Interrupted, the same command goes on where it was.",
    )
    parser.add_argument("out", metavar="OUT", help="directory for the model and its checkpoint")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--tower-steps", type=int, default=default.tower_steps)
    parser.add_argument("--answer-steps", type=int, default=default.answer_steps)
    parser.add_argument("--clips", type=int, default=default.clips, help="in one step")
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate)
    parser.add_argument("--init-from", metavar="DIR", help="begin with the weights of a model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    args = parser.parse_args()
    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)
    recipe = Recipe(
        seed=args.seed,
        tower_steps=args.tower_steps,
        answer_steps=args.answer_steps,
        clips=args.clips,
        learning_rate=args.learning_rate,
    )
    try:
        train(args.out, recipe, device=args.device, init_from=args.init_from)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from {args.out}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
