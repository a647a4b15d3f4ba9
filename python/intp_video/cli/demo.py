"""``intp-video demo``: a long video, a model trained on short ones, and what more frames change."""

import argparse
from pathlib import Path
from typing import Any

from .ask import device_of
from .console import Stages, add_talk_arguments, print_json, say, write_atomically
from .model_arguments import (
    add_model_arguments,
    model_directory,
    quiet_transformers,
    torch_dtype,
)
from .progress import Progress

__all__ = ["add_arguments", "demo_world", "run"]

FRAMES = (8, 32, 64)

_DESCRIPTION = """\
Render a video of a minute in which shapes appear for two seconds each, and ask the small model that
comes with this package about it: with the 8 frames it was trained on, and with 32 and 64 by
intp_video.extend. No network, nothing to train. Wrong answers are marked.

The video is the first of the held-out ones (see docs/evaluation.md) with four shapes; --seed N
takes the N-th held-out video. For more than one video: intp-video eval.

examples:
  intp-video demo
  intp-video demo --seed 7
  intp-video demo --model DIR          a model of your own
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="what more frames change, on a rendered video, with nothing to download",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        default="intp-demo",
        metavar="DIR",
        help="where the video and the pictures of its frames go (default: intp-demo)",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the video, 0 to 999")
    parser.add_argument(
        "--model",
        type=model_directory,
        metavar="DIR_OR_ID",
        help="a Video-LLM (default: the small one of this package)",
    )
    parser.add_argument("--device", default="auto", help="(default: a GPU if there is one)")
    add_model_arguments(parser)
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    out, stages = Path(args.out), Stages(Progress(args.quiet))
    with stages.stage("start"):
        from ..checkpoint import Checkpoint
        from ..contact_sheet import contact_sheet
        from ..lab.evaluation import Arm, is_right
        from ..lab.evaluation.question_file import SHAPES_FRAMES, VideoQuestion
        from ..lab.evaluation.run import ask_all
        from ..lab.shapes import write_world
        from ..sampling import sample_indices
        from ..shipped import SMALL_MODEL
        from ..video import read_video

        quiet_transformers()
        device, directory = device_of(args.device), args.model or SMALL_MODEL
        world, questions = demo_world(args.seed)
        checkpoint = Checkpoint(directory)
        preparer = checkpoint.preparer()
        checkpoint.check_weights()
        out.mkdir(parents=True, exist_ok=True)
    video = out / "video.mp4"
    with stages.stage("load") as stage:
        model = checkpoint.model(dtype=torch_dtype(args.dtype), device=device)
        stage.detail = f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters"
    with stages.stage("render") as stage:
        write_world(video, world, frames=SHAPES_FRAMES, size=128)
        stage.detail = str(video)
    asked = [
        VideoQuestion(str(i), str(video), q.text, q.answer, q.options, q.kind)
        for i, q in enumerate(questions)
    ]
    arms = [Arm("stock", FRAMES[0]), *(Arm("intp", n, "yarn") for n in FRAMES[1:])]
    said, seen = [], []
    for arm in arms:
        with stages.stage(f"{arm.frames} frames"):
            clip = read_video(video, arm.frames)
            told = ask_all(model, preparer, clip, asked, arm, max_new_tokens=8, show_options=False)
            said.append([prediction.said or "" for prediction in told])
        times = (sample_indices(SHAPES_FRAMES, arm.frames) + 0.5) / SHAPES_FRAMES
        seen.append(int(world.visible(times)[0].any(axis=0).sum()))
        with stages.stage("picture") as stage, write_atomically(picture := _picture(out, arm)) as f:
            box = preparer.processing.seen(*clip.frames.shape[1:3])
            contact_sheet(clip, preparer.frames_per_group, seen=box).save(f, format="PNG")
            stage.detail = picture
    right = [
        [is_right(text, q.answer, q.options) for text, q in zip(texts, asked, strict=True)]
        for texts in said
    ]
    stages.print_table(quiet=args.quiet)
    shapes = int(world.count[0])
    if args.json:
        print_json(
            {
                "video": str(video),
                "shapes": shapes,
                "arms": [
                    {
                        "frames": arm.frames,
                        "shapes_on_these_frames": seen[i],
                        "right": sum(right[i]),
                        "picture": _picture(out, arm),
                    }
                    for i, arm in enumerate(arms)
                ],
                "questions": [
                    {
                        "question": q.question,
                        "answer": q.answer,
                        "said": {str(arm.frames): said[i][j] for i, arm in enumerate(arms)},
                        "right": {str(arm.frames): right[i][j] for i, arm in enumerate(arms)},
                    }
                    for j, q in enumerate(asked)
                ],
                "stages": stages.as_json(),
            }
        )
        return 0
    _print_table(asked, said, right)
    print()
    for i, arm in enumerate(arms):
        print(
            f"{arm.frames:>3} frames show {seen[i]} of the {shapes} shapes: "
            f"{sum(right[i])} of {len(asked)} answers are right.  ({_picture(out, arm)})"
        )
    if sum(right[-1]) > sum(right[0]):
        print(
            f"\nThe model was trained on {FRAMES[0]} frames, and nothing was trained for more: the "
            "encoder got them in groups of 8,\ntheir tokens were brought back into the order of "
            "time, and RoPE was stretched over them."
        )
    else:
        say("note: more frames did not help on this video", quiet=args.quiet)
    return 0


def demo_world(seed: int | None = None) -> tuple[Any, Any]:
    """A held-out world and its questions: the one of a seed, or the first with four shapes."""
    from ..lab.shapes import HELD_OUT_SEEDS, held_out_world

    for number in HELD_OUT_SEEDS if seed is None else (seed,):
        world, questions = held_out_world(number, 1 / 32)
        if seed is not None or world.count[0] == 4:
            return world, questions
    raise AssertionError("no held-out world has four shapes")


def _picture(out: Path, arm: Any) -> str:
    return str(out / f"frames-{arm.frames}.png")


def _print_table(asked: list, said: list[list[str]], right: list[list[bool]]) -> None:
    """Questions down, frames across; a wrong answer in brackets."""
    rows = [["question", "truth", *(f"{n} frames" for n in FRAMES)]]
    for j, question in enumerate(asked):
        answers = [
            texts[j] if good[j] else f"[{texts[j]}]"
            for texts, good in zip(said, right, strict=True)
        ]
        rows.append([question.question, question.answer, *answers])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
    print("[wrong answers in brackets]")
