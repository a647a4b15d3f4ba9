"""Answers the questions of a file of rows on Ray Data, and writes Parquet.

    pip install ".[ray]"
    python examples/batch_on_ray.py in.jsonl said

A line of ``in.jsonl`` is ``{"id": 1, "video": "/videos/a.mp4", "question": "What happens?"}``.
"""

import sys

import intp_video
import ray
from intp_video.batch import VideoAnswerer

source, target = sys.argv[1:]
rows = ray.data.read_json(source)
said = rows.map_batches(
    VideoAnswerer,
    fn_constructor_kwargs={"model": str(intp_video.SMALL_MODEL), "frames": 8},
    batch_size=4,  # sorted by video, rows about one fall into one batch
    concurrency=2,  # actors, with a model each
    num_cpus=1,  # with GPUs: num_gpus=1
)
said.write_parquet(target)
