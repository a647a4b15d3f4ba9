"""``intp-video ask``: a question about a video, answered."""

import argparse
import logging
from typing import Any

from ..sampling import SAMPLINGS, round_up_to_groups
from ..video import BACKENDS, check_video_file, read_video
from .console import Stage, Stages, add_talk_arguments, print_json, say, say_rounding, whole_number
from .model_arguments import (
    add_model_arguments,
    add_option_arguments,
    chosen_options,
    model_directory,
    quiet_transformers,
    torch_dtype,
)
from .progress import Progress

__all__ = ["add_answer_arguments", "add_arguments", "device_of", "run"]

_DESCRIPTION = """\
Answer a question about a video with a Video-LLM that was trained on short clips. The answer goes to
stdout; what was done, and the time of each stage, to stderr.

The frames are sampled evenly over the video, encoded in groups of as many as the model was trained
on, brought back into time order, and read at stretched positions (RoPE) so that the longer context
stays inside what was trained. Nothing is trained; the weights are used as they are.

examples:
  intp-video ask video.mp4 "What happens?" --model DIR_OR_ID
  intp-video ask video.mp4 "What happens?" --model DIR --frames 128 --window 32
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
        "--model",
        type=model_directory,
        required=True,
        metavar="DIR_OR_ID",
        help="a Hugging Face Video-LLM (`intp-video info` lists the known types; "
        "`intp-video random-model` makes one), or small: the one of this package",
    )
    add_answer_arguments(parser)
    parser.set_defaults(run=run)


def add_answer_arguments(parser: argparse.ArgumentParser) -> None:
    """Everything but video, question and model: also the arguments of `demo`."""
    add_option_arguments(parser, "frames")
    add_option_arguments(parser.add_argument_group("method"), *METHOD)
    parser.add_argument(
        "--max-new-tokens",
        type=whole_number,
        default=64,
        metavar="T",
        help="length of the answer at most, in tokens (default: 64)",
    )
    parser.add_argument(
        "--backend", choices=("auto", *BACKENDS), default="auto", help="the decoder (default: auto)"
    )
    parser.add_argument(
        "--sampling",
        choices=SAMPLINGS,
        default=SAMPLINGS[0],
        help="centers of equal segments of time, or ends: by count from the first frame to the "
        "last, as the original Video-LLaVA (default: centers)",
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)"
    )
    add_model_arguments(parser)
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


def run(args: argparse.Namespace) -> int:
    progress = Progress(args.quiet)
    logging.getLogger("intp_video").addHandler(_Talk(args.quiet, progress))
    stages = Stages(progress)
    # Nothing long begins before all of this is known to be right.
    with stages.stage("start"):
        check_video_file(args.video)
        device = device_of(args.device)
        from ..answering import ask
        from ..checkpoint import Checkpoint

        quiet_transformers()
        options = chosen_options(args)
        checkpoint = Checkpoint(args.model)
        preparer = checkpoint.preparer()
        preparer.check_question(args.question)
        frames = round_up_to_groups(args.frames, preparer.frames_per_group)
        checkpoint.check_options(frames, **options)
        checkpoint.check_weights()
    with stages.stage("decode") as stage:
        clip = read_video(args.video, frames, args.backend, sampling=args.sampling)
        stage.detail = f"{len(clip)} frames of {clip.duration:.1f} s, with {clip.backend}"
    for note in clip.notes:
        say(f"note: {note}", quiet=args.quiet)
    say_rounding(args.frames, frames, preparer.frames_per_group, quiet=args.quiet)
    with stages.stage("load") as stage:
        model = checkpoint.model(dtype=torch_dtype(args.dtype), device=device)
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        stage.detail = f"{parameters:.1f} M parameters, {str(model.dtype)[6:]} on {device}"

    def generated(count: int) -> None:
        if count > 1:  # the first one ends the prefill
            progress.update(count, args.max_new_tokens, "token")

    try:
        answer = ask(
            model,
            preparer,
            clip,
            args.question,
            frames,
            max_new_tokens=args.max_new_tokens,
            on_stage=progress.begin,
            on_encode=lambda done, total: progress.update(done, total, "group"),
            on_token=generated,
            **options,
        )
    finally:
        progress.end()
    say(f"extended: {answer.extension}", quiet=args.quiet)
    details = {
        "encode": f"{answer.frames // preparer.frames_per_group} groups of "
        f"{preparer.frames_per_group} frames",
        "prefill": f"{answer.prompt_tokens:,} tokens",
        "generate": f"{len(answer.token_ids)} tokens",
    }
    for name, seconds in answer.seconds.items():
        stages.stages.append(Stage(name, seconds, details.get(name, "")))
    stages.print_table(quiet=args.quiet)
    if args.json:
        print_json(_as_json(args, answer, stages))
    else:
        print(answer.text)
    return 0


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


def _as_json(args: argparse.Namespace, answer: Any, stages: Stages) -> dict[str, Any]:
    return {
        "answer": answer.text,
        "video": answer.clip.path,
        "question": args.question,
        "model": args.model,
        "frames": answer.frames,
        "prompt_tokens": answer.prompt_tokens,
        "answer_tokens": len(answer.token_ids),
        "method": chosen_options(args) | {"factor": answer.factor},
        "backend": answer.clip.backend,
        "notes": list(answer.clip.notes),
        "stages": stages.as_json(),
    }


class _Talk(logging.Handler):
    """What the package says of its choices, as notes on stderr."""

    def __init__(self, quiet: bool, progress: Progress) -> None:
        super().__init__(logging.WARNING)
        self.quiet, self.progress = quiet, progress

    def emit(self, record: logging.LogRecord) -> None:
        self.progress.end()
        say(f"note: {record.getMessage()}", quiet=self.quiet)
