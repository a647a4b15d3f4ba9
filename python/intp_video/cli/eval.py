"""``intp-video eval``: how often the answers are right, over ways of showing more frames."""

import argparse
import platform
from pathlib import Path
from typing import Any

from ..options import KV_BITS, number
from ..video import BACKENDS
from .ask import device_of
from .console import add_talk_arguments, print_json, say, whole_number
from .model_arguments import (
    add_model_arguments,
    model_directory,
    quiet_transformers,
    torch_dtype,
)
from .progress import Bar

__all__ = ["add_arguments", "run"]

_DESCRIPTION = """\
Ask a model questions about videos in many ways and say how often it is right, with 95% intervals
over the same videos. Without a question file: the held-out worlds of the shapes task, rendered to
video files. A question file has one JSON object a line:

  {"video": "a.mp4", "question": "What color is the car?", "answer": "red",
   "options": ["red", "blue"], "kind": "color"}

options and kind may be left out; videos are relative to the file. With options, an answer counts
by its text, its letter, or a sentence that names that option alone; without, it must match up to
case, articles, punctuation and number words. Answers to open questions need a judge:
judge/ARM.jsonl has them as GPT judges read them. Scores of such a judge move with its version;
compare only what one version has judged.

Interrupted, the same command goes on, also after its files have moved; a second one into the same
--out is refused meanwhile. It writes there: predictions.jsonl, summary.json, table.md,
accuracy.svg, judge/.

examples:
  intp-video eval --quick
  intp-video eval --videos 100 --event-length 32 --methods stock intp contiguous
  intp-video eval questions.jsonl --model DIR --frames 8 32 64 --ropes ntk linear --windows 0 16
  intp-video eval --frames 64 --methods intp --kv-bits 16 8 4 3 2.5 2
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "eval",
        help="measure how often answers are right, over ways of showing more frames",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="?", metavar="QUESTIONS", help="a JSON lines file")
    parser.add_argument(
        "--model",
        type=model_directory,
        metavar="DIR_OR_ID",
        help="a Video-LLM (default: the small one of this package)",
    )
    parser.add_argument(
        "--out", default="intp-eval", metavar="DIR", help="results (default: intp-eval)"
    )
    parser.add_argument(
        "--frames", type=whole_number, nargs="+", metavar="M", help="(default: 8 16 32 64 128)"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="stock, intp, unrearranged, contiguous, alone, pooled (default: all)",
    )
    parser.add_argument(
        "--ropes",
        nargs="+",
        default=["yarn"],
        metavar="ROPE",
        help="none, linear, ntk, dynamic_ntk, yarn, visual (linear over the video alone); for the "
        "methods that stretch it (default: yarn)",
    )
    parser.add_argument(
        "--windows",
        type=int,
        nargs="+",
        default=[0],
        metavar="W",
        help="in frames; 0: no window (default: 0)",
    )
    parser.add_argument(
        "--kv-bits",
        type=number,
        nargs="+",
        default=[0],
        choices=(0, *KV_BITS),
        metavar="BITS",
        help="of cached keys and values: 16, 8, 4, 3, 2.5, 2; 0: transformers' own cache; for the "
        "methods that stretch RoPE (default: 0)",
    )
    parser.add_argument(
        "--videos", type=whole_number, metavar="V", help="of the shapes task (default: 100)"
    )
    parser.add_argument(
        "--first-video",
        type=int,
        metavar="SEED",
        help="of the shapes task: where its held-out seeds begin, 0 to 999 (default: 0)",
    )
    parser.add_argument(
        "--event-length",
        type=int,
        choices=(8, 16, 32, 64, 128),
        help="of the shapes task: an event lasts 1/L of its video (default: 32)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a first look in a minute: 8 videos, 8 and 32 frames, stock and intp",
    )
    parser.add_argument(
        "--bad-lines",
        choices=("refuse", "skip"),
        default="refuse",
        help="what to do if lines of QUESTIONS are no questions (default: refuse)",
    )
    parser.add_argument(
        "--show-options", action="store_true", help='put options into the prompt, as "A. ..."'
    )
    parser.add_argument(
        "--max-new-tokens",
        type=whole_number,
        default=16,
        metavar="T",
        help="the most tokens of an answer (default: 16)",
    )
    parser.add_argument(
        "--backend", choices=("auto", *BACKENDS), default="auto", help="the decoder (default: auto)"
    )
    parser.add_argument("--device", default="auto", help="(default: a GPU if there is one)")
    add_model_arguments(parser)
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..checkpoint import Checkpoint
    from ..lab.evaluation import (
        METHODS,
        arms_of,
        evaluate,
        exclusive,
        summarize,
        weights_digest,
        write_report,
    )
    from ..lab.evaluation.report import markdown_table
    from ..sampling import round_up_to_groups
    from ..shipped import SMALL_MODEL

    quiet_transformers()
    args.model = args.model or str(SMALL_MODEL)
    # no path of this machine for what ships with the package
    name = "small_model" if args.model == str(SMALL_MODEL) else args.model
    device = device_of(args.device)
    frames = args.frames or ([8, 32] if args.quick else [8, 16, 32, 64, 128])
    methods = args.methods or (["stock", "intp"] if args.quick else list(METHODS))
    checkpoint = Checkpoint(args.model)
    preparer = checkpoint.preparer()
    frames = sorted({round_up_to_groups(n, preparer.frames_per_group) for n in frames})
    windows = [window or None for window in args.windows]
    if any(window < 0 for window in args.windows):
        raise ValueError("--windows: expected numbers of frames, at least 0")
    kv_bits = [bits or None for bits in args.kv_bits]
    arms = arms_of(frames, methods, args.ropes, windows, preparer.frames_per_group, kv_bits)
    checkpoint.check_weights()
    empty = checkpoint.empty_model()
    for arm in arms:
        arm.check(empty)
    out = Path(args.out)
    questions = None if args.questions is None else _questions_of_file(args, preparer)
    bar = Bar(args.quiet)
    with exclusive(out):
        try:
            questions = questions or _shapes(args, out, [arm.frames for arm in arms], bar)
            model = checkpoint.model(dtype=torch_dtype(args.dtype), device=device)
            settings = {
                "weights": weights_digest(model),
                "dtype": str(model.dtype)[6:],
                "backend": args.backend,
            }
            say(f"{len(questions)} questions, {len(arms)} arms", quiet=args.quiet)
            predictions = evaluate(
                model,
                preparer,
                questions,
                arms,
                out,
                settings=settings,
                max_new_tokens=args.max_new_tokens,
                show_options=args.show_options,
                backend=args.backend,
                progress=bar,
            )
        finally:
            bar.close()
        about = {"model": name} | settings | _machine(str(device))
        summary = summarize(questions, arms, predictions, about=about)
        paths = write_report(out, summary, questions, predictions)
    for failure in summary["failures"]:
        say(f"note: {failure['id']} {failure['arm']}: {failure['error']}", quiet=args.quiet)
    say(f"written: {', '.join(map(str, paths[:3]))}, {out / 'judge'}", quiet=args.quiet)
    if args.json:
        print_json(summary)
    else:
        print(markdown_table(summary), end="")
    return 0


def _shapes(args: argparse.Namespace, out: Path, frames: list[int], bar: Bar) -> list:
    from ..lab.evaluation import shapes_questions

    questions = shapes_questions(
        out / "videos",
        args.videos or (8 if args.quick else 100),
        1 / (args.event_length or 32),
        sorted(set(frames)),
        first=args.first_video or 0,
        progress=lambda done, total: bar(done, total, "rendering"),
    )
    bar.close()
    return questions


def _questions_of_file(args: argparse.Namespace, preparer: Any) -> list:
    from ..lab.evaluation import read_questions
    from ..lab.evaluation.run import prompt_of

    for name in ("videos", "first_video", "event_length"):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')}: is for the shapes task, not for a file")
    questions, bad = read_questions(
        args.questions, lambda q: preparer.check_question(prompt_of(q, args.show_options))
    )
    for line in bad:
        say(f"note: {args.questions}: {line}", quiet=args.quiet)
    if bad and args.bad_lines == "refuse":
        raise ValueError(
            f"{args.questions}: {len(bad)} lines are no questions, the first is {bad[0]}; "
            "--bad-lines skip leaves them out"
        )
    return questions


def _machine(device: str) -> dict[str, Any]:
    import torch
    import transformers

    return {
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
