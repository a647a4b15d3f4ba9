"""Asks about a video, at the frames that the model was trained on and at eight times as many.

    python examples/quick_start.py
    python examples/quick_start.py VIDEO "Which shape came first?" --model DIR_OR_ID

Without a video it renders one: a minute in which shapes appear for two seconds each, which is what
the small model of the package knows.
"""

import argparse
import tempfile
from pathlib import Path

import intp_video
from intp_video.lab.shapes import held_out_world, write_world

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("video", nargs="?", help="(default: one that is rendered)")
parser.add_argument("question", nargs="?", default="Which shape came first?")
parser.add_argument("--model", default=intp_video.SMALL_MODEL)
args = parser.parse_args()

model, preparer = intp_video.load(args.model)
with tempfile.TemporaryDirectory() as folder:
    video = args.video
    if video is None:
        video = Path(folder, "shapes.mp4")
        world, _ = held_out_world(1, 1 / 32)
        write_world(video, world, size=128)
    print(args.question)
    for frames in (8, 64):
        answer = intp_video.ask(model, preparer, video, args.question, frames=frames)
        print(f"{frames:>3} frames: {answer.text}")
