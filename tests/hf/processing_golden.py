"""Write processing_golden.json: what transformers' own processors make of two small clips.

``test_processing.py`` compares ours with it wherever torchvision is missing. From the root:

    pip install --no-deps torchvision num2words docopt    # Python alone is used; no other torch
    PYTHONPATH=tests python tests/hf/processing_golden.py
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

GOLDEN = Path(__file__).with_suffix(".json")
_SAMPLES = 64  # values kept of a float tensor, evenly spread over it


def digest(tensor: torch.Tensor) -> dict[str, Any]:
    """Shape, dtype, and of floats some values and the mean of all, of others their SHA-256."""
    kept: dict[str, Any] = {"shape": list(tensor.shape), "dtype": str(tensor.dtype)}
    flat = tensor.flatten()
    if tensor.is_floating_point():
        kept["samples"] = [round(float(value), 7) for value in flat[_sampled(flat)]]
        kept["mean"] = float(flat.double().mean())
    else:
        kept["sha256"] = hashlib.sha256(flat.to(torch.int64).numpy().tobytes()).hexdigest()
    return kept


def _sampled(flat: torch.Tensor) -> torch.Tensor:
    return torch.linspace(0, len(flat) - 1, min(_SAMPLES, len(flat))).long()


def main() -> int:
    from hf.with_torchvision import has_torchvision

    if not has_torchvision():
        print("torchvision is not installed; how to install it stands above", file=sys.stderr)
        return 1
    import torchvision
    import transformers
    from hf.processing_cases import CHECKPOINTS, CLIPS

    kept: dict[str, Any] = {
        "versions": {part.__name__: part.__version__ for part in (torch, torchvision, transformers)}
    }
    for checkpoint in CHECKPOINTS:
        for clip, shown in CLIPS.items():
            for name, tensor in checkpoint.theirs(shown).items():
                kept[f"{checkpoint.model_type}/{clip}/{name}"] = digest(tensor)
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in kept.items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
