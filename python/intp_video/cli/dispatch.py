"""Dispatch to the subcommands, and the promise about errors and exit codes.

A subcommand is a module with two functions: ``add_arguments(subparsers)``, which adds its parser,
and ``run(args) -> int``, which does the work and returns the exit code.
"""

import argparse
import importlib.metadata
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from . import app, ask, batch, chat, convert, demo, eval, frames, info, plan, random_model
from .streams import prepare_streams

__all__ = ["main"]

COMMANDS = (ask, chat, batch, app, demo, eval, plan, frames, info, convert, random_model)

_EPILOG = """\
exit codes: 0 done; 1 an error in this program (with a traceback: please report it);
            2 something is wrong with the input (one line says what); 130 interrupted.
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"intp-video: error: {message} (see {self.prog} --help)\n")


class _Version(argparse.Action):
    """Looked up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> NoReturn:
        print(f"{parser.prog} {importlib.metadata.version('intp-ext')}")
        parser.exit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``intp-video`` and returns its exit code. `argv`: without the program's name."""
    args = None
    try:
        prepare_streams()
        args = _parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("intp-video: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _abandon_stdout()  # the reader of the pipe has gone (`| head`): nothing to say
        return 0
    except (ValueError, TypeError, OSError, MemoryError) as error:
        if args is not None and args.traceback:
            traceback.print_exc()
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"intp-video: error: {message}", file=sys.stderr)
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:
            _abandon_stdout()
        return 2


def _abandon_stdout() -> None:
    """Keeps the interpreter from failing once more when it flushes stdout on its way out."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="intp-video",
        description="Answer questions about long videos with a Video-LLM trained on short ones.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where an input error came from"
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for command in COMMANDS:
        command.add_arguments(subparsers)
    return parser
