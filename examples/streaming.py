"""Reads answers as they are decoded: one of a single question, then those of a conversation.

    python examples/streaming.py
    python examples/streaming.py VIDEO "What happens?" "And then?" --model DIR_OR_ID

The first question is asked by itself; the others are turns of a conversation, for which the video
is decoded, encoded and prefilled once. Without a video it renders one, as quick_start.py does.
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import intp_video
from intp_video.lab.shapes import held_out_world, write_world

FRAMES = 64

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("video", nargs="?", help="(default: one that is rendered)")
parser.add_argument(
    "questions",
    nargs="*",
    default=["Which shape came first?", "Which shape came last?", "Was there a bar?"],
)
parser.add_argument("--model", default=intp_video.SMALL_MODEL)
args = parser.parse_args()


def show(question: str, pieces: Iterable[str]) -> None:
    print(f"> {question}")
    for piece in pieces:  # each one is printed while the next one is decoded
        print(piece, end="", flush=True)
    print()


model, preparer = intp_video.load(args.model)
with tempfile.TemporaryDirectory() as folder:
    video = args.video
    if video is None:
        video = Path(folder, "shapes.mp4")
        world, _ = held_out_world(1, 1 / 32)
        write_world(video, world, size=128)

    first, *turns = args.questions
    stream = intp_video.ask(model, preparer, video, first, frames=FRAMES, stream=True)
    show(first, stream)
    answer = stream.result  # what ask() returns without stream=True
    print(f"({len(answer.token_ids)} tokens in {answer.seconds['generate']:.2f} s)")

    clip = intp_video.read_video(video, FRAMES)
    # RoPE is stretched for a few frames more: the turns take positions, too
    with intp_video.WatchedVideo(model, preparer, clip, FRAMES + 8) as watched:
        for question in turns:
            show(question, watched.chat(question, stream=True))
