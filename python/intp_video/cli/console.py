"""What the subcommands share: talk on stderr, results on stdout, files all or nothing."""

import argparse
import contextlib
import errno
import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from ..sampling import MAX_FRAMES
from .progress import Progress

__all__ = [
    "Stages",
    "add_talk_arguments",
    "check_writable",
    "print_json",
    "say",
    "say_rounding",
    "whole_number",
    "write_atomically",
]


def add_talk_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json`` and ``--quiet``, which every subcommand has."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    parser.add_argument("--quiet", action="store_true", help="print nothing on stderr but errors")


def whole_number(text: str) -> int:
    """An argparse type: a number of frames, pixels or processes within reason."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
    if not 1 <= number <= MAX_FRAMES:
        raise argparse.ArgumentTypeError(f"expected 1 to {MAX_FRAMES:,}, got {text}")
    return number


def say(message: str, *, quiet: bool = False) -> None:
    """One line of talk."""
    if not quiet:
        print(message, file=sys.stderr, flush=True)


def say_rounding(asked: int, shown: int, per_group: int, *, quiet: bool) -> None:
    """That more frames are shown than asked for, if so."""
    if shown > asked:
        say(
            f"note: {asked} frames do not fill groups of {per_group}: rounded up to {shown}",
            quiet=quiet,
        )


def print_json(result: Any) -> None:
    """The result, for programs. Anything that is no JSON is an error here, not a string."""
    text = json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False)
    # Half a character stands for a byte of a file name that is no UTF-8: JSON has it as an escape.
    print(re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text))


@dataclass
class Stage:
    name: str
    seconds: float = 0.0
    detail: str = ""


@dataclass
class Stages:
    """Times the stages of a command, shows each while it runs, and all of them as a table.

    stages = Stages(Progress(args.quiet))
    with stages.stage("decode") as stage:
        clip = read_video(...)
        stage.detail = f"{len(clip)} frames"
    stages.print_table()
    """

    progress: Progress
    stages: list[Stage] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        stage = Stage(name)
        self.stages.append(stage)
        self.progress.begin(name)
        begin = time.perf_counter()
        try:
            yield stage
        finally:
            self.progress.end()
            stage.seconds = time.perf_counter() - begin

    def print_table(self, *, quiet: bool = False) -> None:
        """On stderr: stage, seconds, detail, and the sum."""
        rows = [*self.stages, Stage("total", sum(s.seconds for s in self.stages))]
        width = max(len(row.name) for row in rows)
        for row in rows:
            line = f"  {row.name:<{width}}  {row.seconds:8.2f} s  {row.detail}"
            say(line.rstrip(), quiet=quiet)

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {"stage": s.name, "seconds": round(s.seconds, 4), "detail": s.detail}
            for s in self.stages
        ]


def check_writable(path: str | os.PathLike) -> None:
    """Says what is wrong with a path that `write_atomically` is to write to later.

    Raises:
        OSError: naming `path`.
    """
    path = os.fspath(path)
    with _naming(path):
        mode = _mode(path)
        folder = os.path.dirname(os.path.realpath(path))
        os.stat(folder)
        if not os.access(path if _is_special(mode) else folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A file to write to that becomes `path` when the block ends well, and vanishes otherwise.

    What was at `path` stays until then. A device or a pipe is written to as it is.

    Raises:
        OSError: naming `path`.
    """
    path = os.fspath(path)
    with _naming(path):
        mode = _mode(path)
        if _is_special(mode):
            with open(path, "wb") as file:
                yield file
            return
        folder, name = os.path.split(os.path.realpath(path))  # through a link, not over it
        # Its own name is no part of the draft's, which might be too long then.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".intp-video-", delete=False) as file:
            try:
                yield file
                file.flush()
                os.chmod(file.name, stat.S_IMODE(mode) if mode else 0o666 & ~_umask())
                os.replace(file.name, path if mode is None else os.path.join(folder, name))
            except BaseException:
                os.unlink(file.name)
                raise


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"cannot write {path!r}: {error.strerror or error}") from error


def _mode(path: str) -> int | None:
    """Kind and rights of what is at `path`; None if nothing is. A directory is an error."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError("it is a directory")
    return mode


def _is_special(mode: int | None) -> bool:
    return mode is not None and not stat.S_ISREG(mode)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
