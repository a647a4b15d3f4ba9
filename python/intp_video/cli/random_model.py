"""``intp-video random-model``: a Video-LLaVA with random weights, to try things on."""

import argparse
import textwrap

from .console import add_talk_arguments, print_json, say
from .progress import Progress

__all__ = ["add_arguments", "run"]

_DESCRIPTION = """\
Write a complete Video-LLaVA directory with random weights, in the format of the Hugging Face hub:
configuration, weights, a tokenizer, the preprocessors' values, a chat template. Its answers are
nonsense; everything else about it is real. Nothing is downloaded.

example:
  intp-video random-model models/tiny
  intp-video ask video.mp4 "What happens?" --model models/tiny --frames 64
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    from ..lab.random_model import SIZES

    parser = subparsers.add_parser(
        "random-model",
        help="write a small Video-LLaVA with random weights",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIR", help="where to write it; made if need be")
    sizes = ", ".join(
        f"{name} (frames of {s.image} pixels, {s.tokens_per_frame} tokens each, "
        f"context {s.context})"
        for name, s in SIZES.items()
    )
    parser.add_argument(
        "--size", choices=SIZES, default="tiny", help=f"default: tiny. Sizes: {sizes}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: 0)")
    parser.add_argument(
        "--overwrite", action="store_true", help="write into a directory that is not empty"
    )
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    progress = Progress(args.quiet)
    progress.begin("making random weights")
    try:
        from ..lab.random_model import make_random_model

        directory = make_random_model(
            args.directory, args.size, args.seed, overwrite=args.overwrite
        )
    finally:
        progress.end()
    files = sorted(path.name for path in directory.iterdir())
    say(f"wrote {textwrap.shorten(', '.join(files), 200)}", quiet=args.quiet)
    if args.json:
        print_json({"directory": str(directory), "size": args.size, "files": files})
    else:
        print(directory)
    return 0
