"""``intp-video ask``: a question about a video, answered."""

import argparse
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..sampling import SAMPLINGS, round_up_to_groups
from ..video import Clip, check_video_file, read_video
from .console import Stage, Stages, add_talk_arguments, print_json, say, say_rounding
from .model_arguments import (
    add_answer_limits,
    add_loading_arguments,
    add_option_arguments,
    add_part_arguments,
    chosen_options,
    model_directory,
    part_of,
    quiet_transformers,
    say_what_small_knows,
    torch_dtype,
)
from .progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..preparation import Preparer
    from ..streaming import AnswerStream
    from ..watching import WatchedVideo

__all__ = [
    "METHOD",
    "Printer",
    "add_answer_arguments",
    "add_arguments",
    "as_json",
    "device_of",
    "opened",
    "pairs",
    "run",
    "watched",
]

_DESCRIPTION = """\
Answer a question about a video with a Video-LLM that was trained on short clips. The answer goes to
stdout, on a terminal as it is decoded; what was done, and the time of each stage, to stderr.

The frames are sampled evenly over the video, encoded in groups of as many as the model was trained
on, brought back into time order, and read at stretched positions (RoPE) so that the longer context
stays inside what was trained. Nothing is trained; the weights are used as they are.

More questions, each behind a --question, share one decode, encode and prefill of the video.

examples:
  intp-video ask video.mp4 "What happens?" --model DIR_OR_ID
  intp-video ask video.mp4 "What happens?" --model DIR --frames 128 --window 32
  intp-video ask video.mp4 "What happens?" --model DIR --start 60 --end 90 --fps 2
  intp-video ask video.mp4 "Who is there?" --question "What comes last?" --model DIR
  intp-video ask video.mp4 "What happens?" --model DIR --rope linear --span visual --json
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "ask",
        help="answer a question about a video",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", metavar="VIDEO", help="a video file")
    parser.add_argument("question", metavar="QUESTION", help="in words, in quotes")
    parser.add_argument(
        "--question",
        dest="more_questions",
        action="append",
        default=[],
        metavar="QUESTION",
        help="another question about the same video; may be given again and again",
    )
    add_answer_arguments(parser)
    parser.set_defaults(run=run)


def add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything but the video and questions: also the arguments of `chat`."""
    parser.add_argument(
        "--model",
        type=model_directory,
        required=True,
        metavar="DIR_OR_ID",
        help="a Hugging Face Video-LLM (`intp-video info` lists the known types; "
        "`intp-video random-model` makes one), or small: the one of this package, which knows "
        "nothing but the shapes of `intp-video demo`",
    )
    add_option_arguments(parser, "frames")
    add_part_arguments(parser)
    add_option_arguments(parser.add_argument_group("method"), *METHOD)
    add_answer_limits(parser)
    parser.add_argument(
        "--sampling",
        choices=SAMPLINGS,
        default=SAMPLINGS[0],
        help="centers of equal segments of time, or ends: by count from the first frame to the "
        "last, as the original Video-LLaVA (default: centers)",
    )
    add_loading_arguments(parser, "a GPU if there is one")
    add_talk_arguments(parser)


METHOD = (
    "rope",
    "factor",
    "span",
    "positions",
    "window",
    "sink",
    "grouping",
    "rearrange",
    "fused",
    "kv_bits",
)


@dataclass(frozen=True)
class Opened:
    """A video that has been decoded, and the model that is asked about it."""

    model: "PreTrainedModel"
    preparer: "Preparer"
    clip: Clip
    frames: int  # to stretch RoPE for
    options: dict[str, Any]


def opened(
    args: argparse.Namespace, questions: list[str], stages: Stages, progress: Progress
) -> Opened:
    """What :func:`add_answer_arguments` asks for; nothing long begins before all of it is known to
    be right."""
    logging.getLogger("intp_video").addHandler(_Talk(args.quiet, progress))
    with stages.stage("start"):
        check_video_file(args.video)
        part = part_of(args)
        device = device_of(args.device)
        from ..checkpoint import Checkpoint
        from ..quantized import quantizer

        quiet_transformers()
        options = chosen_options(args)
        if args.load_in is not None:
            quantizer(args.load_in)
        checkpoint = Checkpoint(args.model)
        preparer = checkpoint.preparer()
        for question in questions:
            preparer.check_question(question)
        frames = round_up_to_groups(args.frames, preparer.frames_per_group)
        checkpoint.check_options(frames, **options)
        checkpoint.check_weights()
    with stages.stage("decode") as stage:
        clip = read_video(args.video, frames, args.backend, sampling=args.sampling, **part)
        stage.detail = f"{len(clip)} frames of {clip.extent}, with {clip.backend}"
    for note in clip.notes:
        say(f"note: {note}", quiet=args.quiet)
    asked = args.frames
    if args.fps is not None:
        asked, frames = len(clip), round_up_to_groups(len(clip), preparer.frames_per_group)
    say_rounding(asked, frames, preparer.frames_per_group, quiet=args.quiet)
    say_what_small_knows(args.model, quiet=args.quiet)
    with stages.stage("load") as stage:
        dtype = torch_dtype(args.dtype)
        model = checkpoint.model(dtype=dtype, device=device, load_in=args.load_in)
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        stage.detail = f"{parameters:.1f} M parameters, {str(model.dtype)[6:]} on {device}"
    return Opened(model, preparer, clip, frames, options)


def run(args: argparse.Namespace) -> int:
    progress = Progress(args.quiet)
    stages = Stages(progress)
    questions = [args.question, *args.more_questions]
    about = opened(args, questions, stages, progress)
    if len(questions) > 1:
        return _answer_all(args, questions, about, stages, progress)
    from ..answering import ask

    printer = Printer(progress, shown=not args.json)

    def generated(count: int) -> None:
        if count > 1 and not printer.streams:  # the first one ends the prefill
            progress.update(count, args.max_new_tokens, "token")

    with printer:
        answer = ask(
            about.model,
            about.preparer,
            about.clip,
            args.question,
            about.frames,
            max_new_tokens=args.max_new_tokens,
            on_stage=progress.begin,
            on_encode=lambda done, total: progress.update(done, total, "group"),
            on_token=generated,
            on_text=printer if printer.streams else None,
            **about.options,
        )
        printer.finish()
    say(f"extended: {answer.extension}", quiet=args.quiet)
    per_group = about.preparer.frames_per_group
    details = {
        "encode": f"{answer.frames // per_group} groups of {per_group} frames",
        "prefill": f"{answer.prompt_tokens:,} tokens",
        "generate": f"{len(answer.token_ids)} tokens",
    }
    for name, seconds in answer.seconds.items():
        stages.stages.append(Stage(name, seconds, details.get(name, "")))
    stages.print_table(quiet=args.quiet)
    if args.json:
        told = as_json(args, about, stages)
        told["method"]["factor"] = answer.factor
        tokens = {"prompt_tokens": answer.prompt_tokens, "answer_tokens": len(answer.token_ids)}
        print_json({"answer": answer.text, "question": args.question, **tokens, **told})
    elif not printer.streams:
        print(answer.text)
    return 0


def _answer_all(
    args: argparse.Namespace,
    questions: list[str],
    about: Opened,
    stages: Stages,
    progress: Progress,
) -> int:
    """Several questions, on one prefill of the video where the model allows it."""
    said = []
    with watched(about, stages, progress, quiet=args.quiet) as video:
        for number, question in enumerate(questions, start=1):
            if not args.json:
                print(f"> {question}", flush=True)
            with stages.stage(f"answer {number}"), Printer(progress, shown=not args.json) as out:
                said.append(
                    out.read(video.ask(question, max_new_tokens=args.max_new_tokens, stream=True))
                )
    stages.print_table(quiet=args.quiet)
    if args.json:
        asked = zip(questions, said, strict=True)
        print_json({"answers": pairs(asked), **as_json(args, about, stages)})
    return 0


def watched(about: Opened, stages: Stages, progress: Progress, *, quiet: bool) -> "WatchedVideo":
    """The video, encoded and prefilled, if the model can go back to its end."""
    from ..watching import WatchedVideo

    with stages.stage("watch") as stage:
        video = WatchedVideo(
            about.model,
            about.preparer,
            about.clip,
            about.frames,
            on_encode=lambda done, total: progress.update(done, total, "group"),
            **about.options,
        )
        stage.detail = "encoded and prefilled, once" if video.shares_prefill else ""
    if video.shares_prefill:
        say(f"extended: {video.extension}", quiet=quiet)
    else:
        say(
            "note: each question takes an encode and a prefill of its own: such a model, or such "
            "options, cannot go back to the end of the video",
            quiet=quiet,
        )
    return video


class Printer:
    """The pieces of an answer on stdout: on a terminal as they come, elsewhere all at once.

    As a context manager it ends a line that an error has cut, and the progress before it.

    Args:
        progress: what else is on the terminal; gone when the first piece comes.
        shown: False: print nothing.

    Attributes:
        streams: it wants pieces.
    """

    def __init__(self, progress: Progress, *, shown: bool) -> None:
        self._progress, self._shown, self._in_line = progress, shown, False
        self.streams = shown and sys.stdout.isatty()

    def __enter__(self) -> "Printer":
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.end()
        self.finish()

    def __call__(self, piece: str) -> None:
        if piece:
            self._progress.end()
            self._in_line = True
            print(piece, end="", flush=True)

    def finish(self) -> None:
        """The line is whole."""
        if self._in_line:
            self._in_line = False
            print(flush=True)

    def read(self, stream: "AnswerStream[str]") -> str:
        """Print all of a stream, which ends with whatever interrupts that; its text."""
        with stream:
            for piece in stream:
                if self.streams:
                    self(piece)
        self.finish()
        if self._shown and not self.streams:
            print(stream.result, flush=True)
        return stream.result


def as_json(args: argparse.Namespace, about: Opened, stages: Stages) -> dict[str, Any]:
    """What was asked about, and how."""
    return {
        "video": about.clip.path,
        "model": args.model,
        "frames": about.frames,
        "start": about.clip.start,
        "end": about.clip.end,
        "method": chosen_options(args),
        "backend": about.clip.backend,
        "notes": list(about.clip.notes),
        "stages": stages.as_json(),
    }


def pairs(turns: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Questions and answers for programs."""
    return [{"question": question, "answer": answer} for question, answer in turns]


def device_of(name: str) -> Any:
    """The device of ``--device``; "auto" is a GPU if there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device: expected cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda":
        seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if seen == 0:
            raise ValueError("--device: this torch sees no CUDA device")
        if (device.index or 0) >= seen:
            raise ValueError(f"--device: expected cuda:0 to cuda:{seen - 1}, got {name!r}")
    return device


class _Talk(logging.Handler):
    """What the package says of its choices, as notes on stderr."""

    def __init__(self, quiet: bool, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self.quiet, self.progress = quiet, progress

    def emit(self, record: logging.LogRecord) -> None:
        self.progress.end()
        say(f"note: {record.getMessage()}", quiet=self.quiet)
