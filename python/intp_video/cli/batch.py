"""``intp-video batch``: questions about many videos, from one file into another."""

import argparse
import contextlib
import dataclasses
import os
from functools import partial
from pathlib import Path
from typing import Any

from ..sampling import SAMPLINGS
from .ask import METHOD, device_of
from .console import add_talk_arguments, check_writable, print_json, say, whole_number
from .interrupts import interrupts
from .model_arguments import (
    add_answer_limits,
    add_loading_arguments,
    add_option_arguments,
    add_rate_argument,
    chosen_options,
    model_directory,
    quiet_transformers,
)
from .progress import Bar

__all__ = ["add_arguments", "run"]

_DESCRIPTION = """\
Answer questions about many videos. IN and OUT are JSON lines. A row has a video (relative to IN),
a question or several, and whatever else you like, which comes out as it went in:

  {"id": "a-1", "video": "a.mp4", "question": "What happens?"}
  {"id": "b", "video": "b.mp4", "questions": ["Who is there?", "What comes last?"]}
  {"id": "c", "video": "a.mp4", "question": "And then?", "start": 60, "end": 90, "fps": 2}

OUT gets the same rows with "prediction": one answer, or a list of them; "error": null, or why
there is no answer; "note": null, or what was lost of a damaged video. They come in the order in
which they are answered: "id" tells which is which (default: the number of the line). Questions
about one video share one decode, encode and prefill of it, if they are in one row or in rows that
follow each other.

Whatever ends it, the same command goes on: every line of OUT is whole, and on the disk before its
row counts as done. A video that cannot be read costs its own row. A worker that dies (out of
memory, say) is started again; a row that two of them died on gets an error. OUT is refused if it
holds answers of another model or with other options, which OUT.settings.json knows.

examples:
  intp-video batch in.jsonl out.jsonl --model DIR_OR_ID --frames 64
  intp-video batch in.jsonl out.jsonl --model DIR --workers 4 --kv-bits 4
  intp-video batch in.jsonl out.jsonl --model DIR --retry-errors
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "batch",
        help="answer questions about many videos, from a file into a file",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="IN", help="a JSON lines file with questions")
    parser.add_argument("out", metavar="OUT", help="a JSON lines file; it is added to")
    parser.add_argument(
        "--model",
        type=model_directory,
        required=True,
        metavar="DIR_OR_ID",
        help="a Hugging Face Video-LLM, or small: the one of this package",
    )
    parser.add_argument(
        "--workers",
        type=whole_number,
        default=1,
        metavar="N",
        help="processes, each with a model of its own; they take turns on the GPUs, and share the "
        "cores without one (default: 1)",
    )
    parser.add_argument(
        "--retry-errors", action="store_true", help="ask again about the rows that have an error"
    )
    add_option_arguments(parser, "frames")
    add_option_arguments(parser.add_argument_group("method"), *METHOD)
    add_answer_limits(parser)
    parser.add_argument(
        "--sampling", choices=SAMPLINGS, default=SAMPLINGS[0], help="see ask (default: centers)"
    )
    add_rate_argument(parser)
    add_loading_arguments(parser, "the GPUs if there are")
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    check_writable(args.out)
    device = device_of(args.device)
    from ..batch import VideoAnswerer
    from ..batch.file import answer_file, check_rows
    from ..batch.settings import checked_settings
    from ..batch.worker import Work

    quiet_transformers()
    source, out = Path(args.source), Path(args.out)
    check_rows(source)  # before a model is looked at
    answerer = partial(
        VideoAnswerer,
        args.model,
        args.frames,
        dtype=None if args.dtype == "auto" else args.dtype,
        load_in=args.load_in,
        fps=args.fps,
        folder=source.parent.resolve(),
        max_new_tokens=args.max_new_tokens,
        backend=args.backend,
        sampling=args.sampling,
        **chosen_options(args),
    )
    settings = checked_settings(answerer())
    threads = max(1, (os.cpu_count() or 1) // args.workers) if device.type == "cpu" else None
    work = [
        Work(answerer(device=name), threads, quiet_transformers)
        for name in spread(device, args.workers)
    ]
    bar = Bar(args.quiet, "row", line_every=60)

    def show(counts: Any) -> None:
        bar(counts.done, counts.rows, f"{counts.errors} with an error" if counts.errors else "")

    with interrupts() as stop, contextlib.closing(bar):
        counts = answer_file(
            source,
            out,
            work,
            settings,
            retry_errors=args.retry_errors,
            stop=stop,
            progress=show,
        )
        bar.close()
        if counts.done < counts.rows:
            say(f"{out}: {counts.done} of {counts.rows} rows; the same command goes on")
    if args.json:
        print_json({"out": str(out), **dataclasses.asdict(counts)})
    else:
        answered = counts.done - counts.errors
        print(f"{out}: {answered} of {counts.rows} rows answered, {counts.errors} with an error")
    return 0


def spread(device: Any, workers: int) -> list[str]:
    """The device of each worker: all GPUs in turn, unless one was named."""
    import torch

    if device.type == "cpu" or device.index is not None:
        return [str(device)] * workers
    return [f"{device.type}:{number % torch.cuda.device_count()}" for number in range(workers)]
