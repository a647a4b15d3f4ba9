"""The accuracy figures of docs/method.md, and those of bits in docs/kv_cache.md over many videos:
`intp-video eval` on held-out worlds, run by run."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from intp_video.cli import main as intp_video

# Seeds on which no choice was made: the training mix and the default RoPE were chosen on others.
FIRST_VIDEO, VIDEOS = 200, 100

RUNS = {
    "short": "--event-length 8 --frames 8 --methods stock",
    "ropes": "--event-length 32 --frames 32 64 --methods stock intp "
    "--ropes none linear ntk dynamic_ntk yarn visual",
    "parts": "--event-length 32 --frames 32 64 --methods intp unrearranged contiguous alone pooled",
    "frames": "--event-length 32 --frames 8 16 32 64 128 256 --methods stock intp "
    "--ropes yarn linear visual",
    "windows": "--event-length 32 --frames 32 64 128 --methods intp --windows 0 4 8 16 32",
    "events_64": "--event-length 64 --frames 32 64 128 --methods stock intp",
    "kv_bits": "--event-length 32 --frames 64 --methods intp --kv-bits 16 8 4 2 --dtype bfloat16",
    "kv_bits_64": "--event-length 64 --frames 64 --methods intp --kv-bits 16 8 4 2 "
    "--dtype bfloat16",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__ + " Interrupted, the same command goes on.",
        epilog="example: python benchmarks/eval_small_model.py benchmarks/results/small-model",
    )
    parser.add_argument("folder", help="gets one JSON file and one plot a run")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN")
    parser.add_argument("--model", help="another model (default: the one of the package)")
    parser.add_argument("--scratch", default="intp-eval", help="videos and answers")
    parser.add_argument("--videos", type=int, default=VIDEOS, help=f"(default: {VIDEOS})")
    args = parser.parse_args()
    Path(args.folder).mkdir(parents=True, exist_ok=True)
    for name in args.runs:
        options = RUNS[name].split()
        length = options[options.index("--event-length") + 1]
        dtype = ["bfloat16"] if "bfloat16" in options else []
        # runs that ask the same model about the same videos share them, and what was answered
        out = Path(args.scratch) / "_".join(("events", length, *dtype))
        command = ["eval", "--first-video", str(FIRST_VIDEO), "--videos", str(args.videos)]
        command += ["--max-new-tokens", "3", "--out", str(out), *options]
        command += ["--model", args.model] if args.model else []
        print("intp-video", *command, file=sys.stderr)
        status = intp_video(command)
        if status:
            return status
        for result in ("summary.json", "accuracy.svg"):
            target = (Path(args.folder) / name).with_suffix(Path(result).suffix)
            shutil.copy(out / result, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
