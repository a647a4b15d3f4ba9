"""examples/batch_on_ray.py on a local Ray cluster of two actors, one killed in the middle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from video.make_videos import write_video

pytest.importorskip("ray.data")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS = 9
BROKEN = 6
EXAMPLE = Path(__file__).parents[2] / "examples" / "batch_on_ray.py"
RUN = """
import runpy, sys
import ray
import intp_video.batch
from batch.killed_actor import KilledOnce
intp_video.batch.VideoAnswerer = KilledOnce
ray.init(
    num_cpus=3,
    include_dashboard=False,
    object_store_memory=100 << 20,
    runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def test_a_run_whose_actor_is_killed_ends_complete(tmp_path):
    lines = []
    for number in range(ROWS):
        path = tmp_path / f"{number}.mp4"
        if number == BROKEN:
            path.write_text("no video")
        else:
            write_video(path, 10)
        row = {"id": number, "video": str(path), "question": "was there a bar?"}
        lines.append(json.dumps(row) + "\n")
    (tmp_path / "in.jsonl").write_text("".join(lines))
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(EXAMPLE), "in.jsonl", "said"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "killed").exists(), "no actor was killed"
    found = parquet.read_table(tmp_path / "said").to_pylist()
    assert sorted(row["id"] for row in found) == [*range(ROWS)]
    for row in found:
        assert (row["error"] != "") == (row["id"] == BROKEN), row
        assert (row["prediction"] != "") == (row["id"] != BROKEN), row
