"""What positions stock gives a long video under M-RoPE, for the example of docs/method.md.

    python tests/mrope_positions.py     # by the transformers that is installed; other rows stay

The positions are those of the models' own ``get_rope_index``. tests/hf/test_mrope_positions.py
asks again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from hf.tiny_families import END, FAMILIES, START, TinyFamily
from intp_video import compat

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "mrope_positions.json"
FRAMES = (64, 256, 768)
SIDE = 28  # patches along a side of a frame: 392 pixels of Qwen2-VL, 448 of Qwen3-VL
MODEL_TYPES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


def main() -> None:
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rows[transformers.__version__] = positions_by_stock()
    in_order = sorted(rows, key=lambda version: [int(part) for part in version.split(".")])
    RESULTS.write_text(
        json.dumps({release: rows[release] for release in in_order}, indent=1) + "\n"
    )


def positions_by_stock() -> dict[str, dict[str, dict[str, int]]]:
    """By model type and frames: tokens of a video, the range of positions that they take, and the
    position of the text after it, counted from the first of these."""
    families = {family.name: family for family in FAMILIES}
    return {
        name: {str(frames): _of_video(families[name], frames) for frames in FRAMES}
        for name in MODEL_TYPES
    }


def _of_video(family: TinyFamily, frames: int) -> dict[str, int]:
    units = family.units(frames)
    visual = [family.placeholder] * (SIDE**2 // 4)  # 2 x 2 patches are a token
    if family.between is None:
        video = [START, *visual * units, END]
    else:
        # a timestamp as "<12.5 seconds>" of the Qwen tokenizer: a token for each character of the
        # number, and three around them
        stamps = ([40] * (len(f"{second:.1f}") + 3) for second in range(units))
        video = [token for stamp in stamps for token in (*stamp, START, *visual, END)]
    ids = torch.tensor([[*video, 7]])  # and one token of the question
    arguments: dict[str, Any] = {"video_grid_thw": torch.tensor([[units, SIDE, SIDE]])}
    if family.name == "qwen2_5_vl":
        arguments["second_per_grid_ts"] = torch.tensor([1.0])
    if compat.takes_token_types():
        arguments["mm_token_type_ids"] = (ids == family.placeholder).int() * 2
    positions, _ = family.make_model().model.get_rope_index(
        ids, attention_mask=torch.ones_like(ids), **arguments
    )
    return {
        "tokens": len(video),
        "positions": int(positions[:, 0, :-1].max()) + 1,
        "text_after": int(positions[0, 0, -1]),
    }


if __name__ == "__main__":
    main()
