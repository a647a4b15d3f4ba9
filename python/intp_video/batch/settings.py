"""What decides the answers of a :class:`VideoAnswerer`, so that no others are mixed with them."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig

from ..checkpoint import Checkpoint
from ..model_source import weight_files
from ..quantized import quantizer
from ..records.digests import configs_digest, json_digest, weight_files_digest
from ..sampling import round_up_to_groups
from .answerer import VideoAnswerer


def checked_settings(answerer: VideoAnswerer) -> dict[str, Any]:
    """Everything that decides its answers, as JSON; of contents, so that files may move.

    Raises:
        ModelError, TypeError, ValueError: no such model, or options that it cannot have. Its
            weights are not loaded for that.
    """
    checkpoint = Checkpoint(answerer.model)
    preparer = checkpoint.preparer()
    frames = round_up_to_groups(answerer.frames, preparer.frames_per_group)
    checkpoint.check_options(frames, **answerer.options)
    checkpoint.check_weights()
    try:
        generation = GenerationConfig.from_pretrained(answerer.model)
    except OSError:  # a model need not have one
        generation = GenerationConfig()
    tokenizer = preparer.tokenizer
    return {
        "weights": weight_files_digest(weight_files(answerer.model)),
        "config": configs_digest(checkpoint.config, generation),
        "tokenizer": json_digest([tokenizer.get_vocab(), tokenizer.chat_template]),
        "preprocessing": json_digest(repr(preparer.processing)),
        "dtype": answerer.dtype,
        "load_in": answerer.load_in and f"{answerer.load_in} by {quantizer(answerer.load_in)}",
        "frames": frames,
        "fps": answerer.fps,
        "max_new_tokens": answerer.max_new_tokens,
        "backend": answerer.backend,
        "sampling": answerer.sampling,
        **answerer.options,
    }
