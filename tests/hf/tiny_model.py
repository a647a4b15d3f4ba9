"""Tiny random Video-LLaVA models and inputs for them; nothing is downloaded."""

from __future__ import annotations

import torch
from intp_video import compat
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
)

PATCHES = 4  # an image of 16 x 16 in patches of 8
TOKENS_PER_FRAME = PATCHES + 1
DEVICE = torch.device("cpu")  # of models and inputs; the fixture `device` sets it
VIDEO, IMAGE, PAD, BOS, EOS, VOCAB = 63, 62, 0, 1, 2, 64


def make_model(
    seed: int = 0, text_config: type = LlamaConfig, **text: object
) -> VideoLlavaForConditionalGeneration:
    """2 layers, 4 query heads over 2 key heads, a context of 64: 8 frames fit, 32 do not."""
    torch.manual_seed(seed)
    vision_config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=32,
    )
    options = {
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
    }
    config = VideoLlavaConfig(
        vision_config=vision_config,
        text_config=text_config(**{**options, **text}),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        video_seq_length=8 * TOKENS_PER_FRAME,
        image_seq_length=TOKENS_PER_FRAME,
    )
    model = VideoLlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)  # sharper attention: a wrong position or mask shows in the logits
    model.generation_config.eos_token_id = None  # every run as long as the next
    model.generation_config.pad_token_id = PAD
    return model.to(DEVICE)


def make_inputs(
    frames: int,
    texts: tuple[tuple[int, int], ...] = ((3, 4), (5, 6)),
    side: str = "left",
    seed: int = 1,
) -> dict[str, torch.Tensor]:
    """One row for each (tokens before the video, tokens after it), padded on one side."""
    generator = torch.Generator().manual_seed(seed)
    visual = torch.full((frames * TOKENS_PER_FRAME,), VIDEO)
    length = max(before + after for before, after in texts) + len(visual)
    ids, mask = [], []
    for before, after in texts:
        words = torch.randint(3, 60, (before + after,), generator=generator)
        row = torch.cat((words[:before], visual, words[before:]))
        pad = torch.zeros(length - len(row), dtype=torch.long)
        kept = torch.ones_like(row)
        left = side == "left"
        ids.append(torch.cat((pad, row) if left else (row, pad)))
        mask.append(torch.cat((pad, kept) if left else (kept, pad)))
    pixels = torch.randn(len(texts), frames, 3, 16, 16, generator=generator)
    return {
        "input_ids": torch.stack(ids).to(DEVICE),
        "attention_mask": torch.stack(mask).to(DEVICE),
        "pixel_values_videos": pixels.to(DEVICE),
    }


def prefills_video_in_chunks(model: VideoLlavaForConditionalGeneration) -> bool:
    """Whether a stock model of this transformers can cut a prompt through its video.

    Before 5.20 it raises, 5.20 to 5.22 lose the video and answer without it.
    """
    inputs, options = make_inputs(8), {"max_new_tokens": 4, "do_sample": False}
    try:
        chunked = model.generate(**inputs, prefill_chunk_size=13, **options)
    except (ValueError, RuntimeError, IndexError):
        return False
    return torch.equal(chunked, model.generate(**inputs, **options))


def with_cache(model: VideoLlavaForConditionalGeneration, cache: object) -> dict[str, object]:
    """The keyword argument by which this transformers is given a cache."""
    return {compat.cache_argument(model.forward): cache}


def cache_of(output: object) -> object:
    """The cache in what forward() or generate() returned."""
    return compat.cache_of(output)


def text_logits(logits: torch.Tensor, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits of the text tokens alone: what anybody reads, and the same by either rearrangement
    route."""
    return logits[inputs["attention_mask"].bool() & (inputs["input_ids"] != VIDEO)]
