"""``intp-video chat``: a conversation about a video."""

import argparse
import contextlib
import sys

from .ask import Printer, add_answer_arguments, as_json, opened, pairs, watched
from .console import Stages, print_json, say
from .progress import Progress

__all__ = ["add_arguments", "run"]

_DESCRIPTION = """\
Talk about a video. It is decoded, encoded and prefilled once; each turn sees the ones before it.

Questions are read from stdin, a line each, with a prompt and readline's keys on a terminal; answers
go to stdout, on a terminal as they are decoded. Ctrl-D ends it. Ctrl-C stops an answer, whose turn
is then forgotten, and ends it where no answer is under way. A line that is no question (one with
special tokens of the tokenizer) is refused, and the conversation goes on.

examples:
  intp-video chat video.mp4 --model DIR_OR_ID
  intp-video chat video.mp4 --model DIR --start 60 --end 90 --frames 128 --kv-bits 4
  intp-video chat video.mp4 --model DIR --json < questions.txt
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "chat",
        help="talk about a video, in turns",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", metavar="VIDEO", help="a video file")
    add_answer_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    progress = Progress(args.quiet)
    stages = Stages(progress)
    about = opened(args, [], stages, progress)
    with watched(about, stages, progress, quiet=args.quiet) as video:
        stages.print_table(quiet=args.quiet)
        person = sys.stdin.isatty()
        while (line := _line(person and sys.stdout.isatty())) is not None:
            if not line.strip():
                continue
            try:
                about.preparer.check_question(line, "chat")
            except ValueError as error:
                say(f"note: {error}")
                continue
            try:
                with Printer(progress, shown=not args.json) as out:
                    out.read(video.chat(line, max_new_tokens=args.max_new_tokens, stream=True))
            except KeyboardInterrupt:
                if not person:
                    raise
                say("note: stopped; this turn is forgotten", quiet=args.quiet)
        turns = video.turns
    if args.json:
        print_json({"turns": pairs(turns), **as_json(args, about, stages)})
    return 0


def _line(prompted: bool) -> str | None:
    """The next line, or None at the end; Ctrl-C is the caller's, on a line of its own."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  its keys and its history, in input()
    try:
        return input("> " if prompted else "")
    except EOFError:
        if prompted:
            print()
        return None
    except KeyboardInterrupt:
        if prompted:
            print()
        raise
