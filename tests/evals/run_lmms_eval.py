"""lmms-eval's own command on the shapes task, against ``intp-video eval`` on the same questions.

    python tests/evals/run_lmms_eval.py [--videos 20] [--frames 32] [--report FILE]

It needs an environment with lmms-eval and this package (docs/lmms_eval.md says how), and no
network. It ends with an error unless every answer and every accuracy, overall and by kind, is the
same. It is no test of the suite because lmms-eval imports torchvision, which needs a build of torch
of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from intp_video import SMALL_MODEL

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
PACKAGES = ("lmms_eval", "torch", "torchvision", "transformers")


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | OFFLINE | {"HF_HOME": str(folder / "hf")},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}")
    return done.stdout


def ours(folder: Path, frames: int) -> tuple[dict[str, float], dict[str, str]]:
    """Accuracies by name, and answers by id, of ``intp-video eval``."""
    run(
        folder,
        *("intp_video.cli", "eval", "tasks/videos/questions.jsonl", "--out", "eval"),
        *("--methods", "intp", "--frames", str(frames), "--device", "cpu", "--quiet"),
    )
    arm = f"intp-{frames}-yarn"
    summary = json.loads((folder / "eval/summary.json").read_text())
    row = next(row for row in summary["arms"] if row["arm"] == arm)
    found = {f"accuracy_{kind}": row["kinds"][kind]["mean"] for kind in row["kinds"]}
    lines = (folder / "eval/predictions.jsonl").read_text().splitlines()
    said = [line for line in map(json.loads, lines) if line["arm"] == arm]
    return (
        {"accuracy": row["accuracy"]["mean"], **found},
        {line["id"]: line["said"] for line in said},
    )


def theirs(folder: Path, frames: int) -> tuple[str, dict[str, float], dict[str, str]]:
    """The table that lmms-eval prints, and what its files say."""
    printed = run(
        folder,
        *("lmms_eval", "--model", "intp_video", "--tasks", "shapes", "--include_path", "tasks"),
        *("--model_args", f"pretrained={SMALL_MODEL},frames={frames},device=cpu"),
        *("--output_path", "lmms", "--log_samples"),
    )
    table = "\n".join(line for line in printed.splitlines() if line.startswith("|"))
    results = json.loads(next((folder / "lmms").rglob("*_results.json")).read_text())
    accuracies = {
        name.removesuffix(",none"): value
        for name, value in results["results"]["shapes"].items()
        if re.fullmatch(r"accuracy(_(?!stderr)[a-z]+)?,none", name)
    }
    data = (folder / "tasks/shapes.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in data]
    samples = next((folder / "lmms").rglob("*_samples_shapes.jsonl")).read_text().splitlines()
    said = {ids[s["doc_id"]]: s["filtered_resps"] for s in map(json.loads, samples)}
    return table, accuracies, said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--report", type=Path, help="where the outcome goes, as Markdown")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "intp_video.lab.lmms_task", "tasks", "--videos", str(args.videos))
        table, their_accuracy, their_answers = theirs(folder, args.frames)
        our_accuracy, our_answers = ours(folder, args.frames)
    different = [i for i in our_answers if our_answers[i] != their_answers.get(i)]
    same = not different and {n: round(v, 12) for n, v in their_accuracy.items()} == {
        n: round(v, 12) for n, v in our_accuracy.items()
    }
    text = (
        "# The shapes task through lmms-eval\n\n"
        f"`python tests/evals/run_lmms_eval.py --videos {args.videos} --frames {args.frames}`\n\n"
        f"{', '.join(f'{name} {version(name)}' for name in PACKAGES)}; the package's small model "
        f"on the CPU; {args.videos} held-out videos.\n\nWhat lmms-eval's own command prints:\n\n"
        f"{table}\n\nWhat `intp-video eval` says of the same files:\n\n| | |\n| --- | --- |\n"
        + "".join(f"| {name} | {value:.4f} |\n" for name, value in our_accuracy.items())
        + f"\nAnswers: {len(our_answers)}, different: {len(different)}. "
        + ("Every accuracy is the same.\n" if same else "THEY DIFFER.\n")
    )
    print(text)
    if args.report is not None:
        args.report.write_text(text)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
