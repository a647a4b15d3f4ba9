"""``python -m intp_video.lab.lmms_task``: questions as a local task of lmms-eval."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.question_file import read_questions, shapes_questions
from .task import write_task

DESCRIPTION = """\
Write questions about videos as a local task of lmms-eval: a YAML file and a JSON lines file, which
need no network. Answers are scored as intp-video eval scores them. Without a question file: the
held-out worlds of the shapes task, rendered to video files.
"""

EXAMPLES = """\
examples:
  python -m intp_video.lab.lmms_task tasks --videos 20
  python -m intp_video.lab.lmms_task tasks --questions questions.jsonl --name mine --show-options
then:
  lmms-eval --model intp_video --model_args pretrained=DIR_OR_ID,frames=32 \\
      --include_path tasks --tasks shapes
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m intp_video.lab.lmms_task",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("folder", metavar="DIR", help="for --include_path; made if need be")
    made.add_argument("--name", default="shapes", help="of the task (default: shapes)")
    made.add_argument(
        "--questions", metavar="FILE", help="as intp-video eval reads it; see docs/evaluation.md"
    )
    made.add_argument(
        "--videos", type=int, default=100, metavar="V", help="of the shapes task (default: 100)"
    )
    made.add_argument(
        "--event-length",
        type=int,
        default=32,
        choices=(8, 16, 32, 64, 128),
        help="of the shapes task: an event lasts 1/L of its video (default: 32)",
    )
    made.add_argument(
        "--show-options", action="store_true", help='put options into the prompt, as "A. ..."'
    )
    made.add_argument(
        "--max-new-tokens",
        type=int,
        default=16,
        metavar="T",
        help="the most tokens of an answer (default: 16)",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        if args.questions is None:
            videos = Path(args.folder) / "videos"
            questions = shapes_questions(videos, args.videos, 1 / args.event_length, [])
        else:
            questions, bad = read_questions(args.questions)
            if bad:
                raise ValueError(
                    f"{args.questions}: {len(bad)} lines are no questions, the first is {bad[0]}"
                )
        path = write_task(
            args.folder,
            args.name,
            questions,
            show_options=args.show_options,
            max_new_tokens=args.max_new_tokens,
        )
    except (OSError, ValueError) as error:
        print(f"lmms_task: {error}", file=sys.stderr)
        return 1
    print(f"{len(questions)} questions: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
