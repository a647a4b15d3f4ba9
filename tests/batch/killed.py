"""A batch about videos of which some are damaged, killed in the middle again and again.

    python tests/batch/killed.py                    # 200 videos, 10 of them damaged, killed twice
    python tests/batch/killed.py --videos 20 --damaged 2

It checks that every good row is answered once and every bad one has its error, and that memory is
flat, and says what it saw. tests/batch/test_killed.py runs a smaller one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# a script is not given tests/, as pytest gives it
sys.path.insert(0, str(Path(__file__).parents[1]))

from video.make_videos import write_video

FRAMES = 8
QUESTIONS = ["was there a bar?", "how many shapes were there?"]
GROWTH = 16 << 20  # bytes that a worker may grow by, over rows that it has in memory one by one
PROGRAM = "from intp_video.cli import main; import sys; sys.exit(main(sys.argv[1:]))"


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def no_text(path: Path) -> None:
    path.write_text("no video\n" * 99)


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path) -> None:
    path.unlink()


DAMAGES = (cut_off, no_text, noise, emptied, missing)


def write_input(folder: Path, videos: int, damaged: int) -> set[int]:
    """Writes ``in.jsonl`` and its videos; returns the ids of those that are damaged."""
    bad = {(2 * place + 1) * videos // (2 * damaged) for place in range(damaged)}
    with open(folder / "in.jsonl", "w") as file:
        for number in range(videos):
            path = write_video(folder / f"{number}.mp4", FRAMES + number % 5)
            if number in bad:
                DAMAGES[sorted(bad).index(number) % len(DAMAGES)](path)
            file.write(
                json.dumps({"id": number, "video": path.name, "questions": QUESTIONS}) + "\n"
            )
    return bad


def start(folder: Path, workers: int) -> subprocess.Popen:
    arguments = ["batch", "in.jsonl", "out.jsonl", "--model", "small", "--frames", str(FRAMES)]
    arguments += ["--max-new-tokens", "4", "--workers", str(workers)]
    path = os.pathsep.join(part for part in sys.path if part)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(folder: Path) -> int:
    out = folder / "out.jsonl"
    return out.read_bytes().count(b"\n") if out.exists() else 0


@dataclass
class Watch:
    """Bytes of each worker, and how many rows were done then."""

    rows: int
    sizes: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def look(self, process: subprocess.Popen, done: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                self.sizes.setdefault(child.pid, []).append((done, child.memory_info().rss))

    def growth(self) -> int:
        """Of the worker that grew most, between the first and the last third of the rows it was
        seen at, from median to median; when it has answered some, so that its model is there."""
        grown = [0]
        for seen in self.sizes.values():
            begun = seen[0][0] + (self.rows - seen[0][0]) // 4
            sizes = [size for done, size in seen if done >= begun]
            third = len(sizes) // 3
            if third:
                early, late = sorted(sizes[:third]), sorted(sizes[-third:])
                grown.append(late[third // 2] - early[third // 2])
        return max(grown)


def run_killed(
    folder: Path, videos: int, damaged: int, kills: int = 2, workers: int = 1
) -> tuple[dict[str, int], int]:
    """Counts of rows, and bytes that a worker grew by in the run that was not killed.

    Raises:
        AssertionError: a row is missing, there twice, or not as it should be.
    """
    bad = write_input(folder, videos, damaged)
    for kill in range(kills):
        process = start(folder, workers)
        goal = videos * (kill + 1) // (kills + 2)
        while lines(folder) < goal:
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        print(f"killed at {lines(folder)} of {videos} rows", file=sys.stderr)
    process, watch = start(folder, workers), Watch(videos)
    while process.poll() is None:
        watch.look(process, lines(folder))
        time.sleep(0.05)
    said = process.communicate()[0]
    assert process.returncode == 0, process.returncode
    assert f"{videos - damaged} of {videos} rows answered, {damaged} with an error" in said, said
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == [*range(videos)], "a row is missing, or there twice"
    for row in rows:
        assert (row["error"] is not None) == (row["id"] in bad), row
        said_to_all = row["prediction"] is not None and len(row["prediction"]) == len(QUESTIONS)
        assert said_to_all == (row["error"] is None), row
    return {"rows": len(rows), "errors": len(bad)}, watch.growth()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--damaged", type=int, default=10)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, growth = run_killed(Path(folder), **vars(args))
    assert growth < GROWTH, f"a worker grew by {growth / 2**20:.1f} MiB"
    print(
        f"{counts['rows']} rows, each once, {counts['errors']} with their errors, after "
        f"{args.kills} kills; a worker grew by {growth / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    main()
