"""``intp-video plan``: what a long video will cost, before any weights are loaded."""

import argparse

from .console import add_talk_arguments, print_json, whole_number
from .model_arguments import (
    add_model_arguments,
    add_option_arguments,
    model_directory,
    quiet_transformers,
    torch_dtype,
)

__all__ = ["add_arguments", "run"]

_DESCRIPTION = """\
Say what a video of so many frames will cost with a model: tokens, how far RoPE must be stretched,
bytes of the KV cache, and an estimate of the peak. Reads config.json alone.

examples:
  intp-video plan --model DIR --frames 64
  intp-video plan --model DIR --frames 256 --dtype bfloat16 --json
  intp-video plan --model Qwen/Qwen2.5-VL-3B-Instruct --frames 256 --height 364 --width 644
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "plan",
        help="tokens and memory of a long video, from the model's config alone",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        type=model_directory,
        required=True,
        metavar="DIR_OR_ID",
        help="a model, its config, or small: the one of this package",
    )
    parser.add_argument(
        "--frames", type=whole_number, default=64, metavar="M", help="frames to show (default: 64)"
    )
    for side in ("height", "width"):
        parser.add_argument(
            f"--{side}",
            type=whole_number,
            metavar="PIXELS",
            help="of a frame as the encoder gets it, where tokens follow it (default: 448)",
        )
    add_option_arguments(parser, "kv_bits")
    add_model_arguments(parser)
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..planning import plan

    quiet_transformers()
    result = plan(
        args.model,
        args.frames,
        dtype=torch_dtype(args.dtype),
        kv_bits=args.kv_bits,
        **{side: x for side in ("height", "width") if (x := getattr(args, side)) is not None},
    )
    if args.json:
        print_json(result.to_dict())
    else:
        print(result)
    return 0
