"""Run by torchrun: what each rank answers with the weights of a model spread over all of them.

``torchrun --nproc-per-node 2 ranks.py FAMILY FOLDER`` writes FOLDER/rank-N.pt.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import intp_video
import torch
import transformers
from hf.tiny_families import FAMILIES, TinyFamily
from intp_video import compat

from intp_ext import kv_cache

FRAMES = 32
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "window": {"window": 4},
    "packed": {"kv_bits": 4},
    "unfused": {"fused": False},
}


def named(name: str) -> TinyFamily:
    return next(family for family in FAMILIES if family.name == name)


def spread() -> dict[str, Any]:
    """What ``from_pretrained`` takes to spread weights over the ranks, in this transformers."""
    if transformers.__version__.startswith("4."):
        return {"tp_plan": "auto"}
    from transformers.distributed import DistributedConfig

    return {"distributed_config": DistributedConfig(tp_plan="auto")}


def answers(family: TinyFamily, folder: Path, **parallel: Any) -> dict[str, Any]:
    """Logits, greedy tokens and cached heads under each of :data:`OPTIONS`; and how many parameters
    are not in memory."""
    kind = getattr(transformers, family.classes[1])
    model = kind.from_pretrained(folder, dtype=torch.float32, **parallel).eval()
    model.generation_config.eos_token_id = None
    inputs = family.make_inputs(FRAMES, ((5, 7), (3, 6)))
    found: dict[str, Any] = {"elsewhere": sum(p.is_meta for p in model.parameters())}
    for name, options in OPTIONS.items():
        with intp_video.extend(model, FRAMES, **options), torch.no_grad():
            passed = model(**inputs, use_cache=True)
            tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        layer = compat.cache_of(passed).layers[0]
        keys = layer.cache.dequantize()[0] if name == "packed" else layer.keys
        found[name] = {"logits": passed.logits, "tokens": tokens, "heads": keys.shape[1]}
    return found


def main(name: str, folder: Path) -> None:
    torch.set_num_threads(1)
    kv_cache.RECENT = 20  # as tests/hf/conftest.py has it: prompts this short are packed too
    found = answers(named(name), folder, **spread())
    torch.save(found, folder / f"rank-{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
