"""The figures of the motion task in docs/evaluation.md: what grouping does where encoding needs
several frames. `intp-video eval` on held-out moves, and on clips with their motion taken away."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from intp_video import load
from intp_video.cli import main as intp_video
from intp_video.lab.evaluation import (
    Arm,
    VideoQuestion,
    is_right,
    read_questions,
    weights_digest,
)
from intp_video.lab.evaluation.run import ask_all
from intp_video.lab.evaluation.statistics import accuracy
from intp_video.lab.motion import write_questions
from intp_video.video import Clip, read_video

MODEL = Path(__file__).parent / "motion_model"

# Seeds on which no choice was made.
FIRST_VIDEO, VIDEOS = 200, 200
FRAMES = 8  # of a clip that the model was trained on

METHODS = "stock intp unrearranged contiguous alone"
RUNS = {  # one over the part of the video that a move lasts; the frames shown; the ways
    "short": (2, "8", "stock"),
    "slow": (2, "32", METHODS),
    "fast": (8, "32", METHODS),
}
ABLATIONS = {
    "as it is": lambda rng: np.arange(FRAMES),
    "frames shuffled": lambda rng: rng.permutation(FRAMES),
    "one frame, repeated": lambda rng: np.full(FRAMES, rng.integers(FRAMES)),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__ + " Interrupted, the same command goes on.",
        epilog="example: python benchmarks/eval_motion.py benchmarks/results/motion",
    )
    parser.add_argument("folder", help="gets one JSON file a run, and plots")
    runs = (*RUNS, "ablations")
    parser.add_argument("--runs", nargs="+", choices=runs, default=list(runs), metavar="RUN")
    parser.add_argument("--model", default=str(MODEL), help="(default: the one beside this file)")
    parser.add_argument("--scratch", default="intp-eval-motion", help="videos and answers")
    parser.add_argument("--first-video", type=int, default=FIRST_VIDEO, help="a held-out seed")
    parser.add_argument("--videos", type=int, default=VIDEOS, help=f"(default: {VIDEOS})")
    args = parser.parse_args(argv)
    folder, scratch = Path(args.folder), Path(args.scratch)
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(args.first_video, args.first_video + args.videos)
    for run in args.runs:
        if run == "ablations":
            questions = write_questions(scratch / "moves_2", seeds, 1 / 2)
            _write(folder / "ablations.json", ablations(args.model, questions))
            continue
        length, frames, methods = RUNS[run]
        questions = write_questions(scratch / f"moves_{length}", seeds, 1 / length)
        out = scratch / run
        command = ["eval", str(questions), "--model", args.model, "--out", str(out)]
        command += ["--frames", *frames.split(), "--methods", *methods.split()]
        command += ["--max-new-tokens", "3"]
        print("intp-video", *command, file=sys.stderr)
        if status := intp_video(command):
            return status
        summary = json.loads((out / "summary.json").read_text())
        summary["about"]["model"] = "motion_model"  # no path of this machine
        _write(folder / f"{run}.json", summary)
        shutil.copy(out / "accuracy.svg", folder / f"{run}.svg")
    return 0


def ablations(model_directory: str, question_file: Path) -> dict:
    """Right answers about clips of 8 frames, and about the same without their motion.

    The order of the frames, and which one is repeated, are drawn anew for each video, from its
    place in the file.
    """
    model, preparer = load(model_directory)
    questions, _ = read_questions(question_file)
    by_video: dict[str, list[VideoQuestion]] = defaultdict(list)
    for question in questions:
        by_video[question.video].append(question)
    right: dict[str, dict[str, dict[str, list[float]]]] = {
        name: defaultdict(lambda: defaultdict(list)) for name in ABLATIONS
    }
    for number, (video, asked) in enumerate(by_video.items()):
        clip = read_video(video, FRAMES)
        for name, change in ABLATIONS.items():
            shown: Clip = clip.take(change(np.random.default_rng(number)))
            arm = Arm("stock", FRAMES)
            told = ask_all(model, preparer, shown, asked, arm, max_new_tokens=3, show_options=False)
            for question, answer in zip(asked, told, strict=True):
                said = float(is_right(answer.said or "", question.answer, question.options))
                for kind in ("all", question.kind):
                    right[name][kind][video].append(said)
    return {
        "about": {"model": "motion_model", "weights": weights_digest(model), "frames": FRAMES},
        "ablations": {
            name: {kind: asdict(accuracy(values)) for kind, values in kinds.items()}
            for name, kinds in right.items()
        },
    }


def _write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
