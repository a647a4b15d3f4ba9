"""The files of examples/ that need nothing else installed, run as a reader runs them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from video.make_videos import write_video

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str) -> list[str]:
    """What the file prints, by lines."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()


def test_the_page_names_every_example():
    named = re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text())
    assert sorted(named) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_more_frames_find_the_first_shape():
    question, few, many = run("quick_start.py")
    assert question == "Which shape came first?"
    assert (few, many) == ("  8 frames: circle", " 64 frames: bar")  # a bar came first


def test_a_video_of_the_readers_own(tmp_path):
    video = write_video(tmp_path / "a.mp4", 10)
    question, *answers = run("quick_start.py", str(video), "was there a bar?")
    assert question == "was there a bar?"
    assert [line.partition(":")[0].split() for line in answers] == [
        ["8", "frames"],
        ["64", "frames"],
    ]
    assert all(line.partition(": ")[2] for line in answers)


def test_answers_as_they_come():
    questions = ["Which shape came first?", "Which shape came last?", "Was there a bar?"]
    first, answer, tokens, *turns = run("streaming.py")
    assert (first, answer) == (f"> {questions[0]}", "bar")
    assert re.fullmatch(r"\(\d+ tokens in \d+\.\d\d s\)", tokens)
    assert turns[::2] == [f"> {question}" for question in questions[1:]]
    assert turns[1::2] == ["square", "yes"]


def test_a_family_of_your_own_is_extended():
    said = dict(re.split(r": +", line) for line in run("custom_family.py"))
    assert said["extended, rope none"] == said["stock"] != said["window, 4-bit, YaRN"]
