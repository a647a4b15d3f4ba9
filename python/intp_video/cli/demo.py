"""``intp-video demo``: the whole way from a video file to an answer, with nothing to download."""

import argparse
from pathlib import Path

from . import ask
from .console import say

__all__ = ["add_arguments", "run"]

QUESTION = "Which shapes appear, and in what order?"
SECONDS = 48

_DESCRIPTION = """\
Render a video, write a small Video-LLaVA with random weights, and ask it a question, in one go and
without a network: the main job of this package on anything it runs on. Random weights answer
nonsense; what the demo shows is every step between a video file and generated text, and its time.

examples:
  intp-video demo
  intp-video demo --frames 128 --window 16
  intp-video demo --model DIR          a model of your own
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="from a rendered video to an answer, with nothing to download",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        default="intp-demo",
        metavar="DIR",
        help="where the video and the model go (default: intp-demo); kept if they are there",
    )
    parser.add_argument(
        "--model", metavar="DIR_OR_ID", help="a Video-LLM (default: a random one is written)"
    )
    ask.add_answer_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..random_model import make_random_model
    from ..synthetic import render_video

    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    args.video, args.question = str(out / "video.mp4"), QUESTION
    if not Path(args.video).exists():
        say(f"rendering {args.video}: {SECONDS} s of shapes", quiet=args.quiet)
        render_video(args.video, seconds=SECONDS)
    if args.model is None:
        args.model = str(out / "random-model")
        if not Path(args.model).exists():
            say(f"writing {args.model}: random weights, so expect nonsense", quiet=args.quiet)
            make_random_model(args.model)
    say(f"asking: {QUESTION}", quiet=args.quiet)
    return ask.run(args)
