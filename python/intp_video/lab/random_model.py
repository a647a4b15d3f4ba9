"""A complete Video-LLaVA directory with random weights, for tests and for trying things out.

It answers nonsense, but every part is there that a trained checkpoint has (configuration, weights,
a tokenizer, the preprocessors' values, a chat template).
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..reasons import in_one_line
from .model_directory import SPECIAL, tokens_per_frame, video_llava_config, write_model_directory

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

__all__ = ["SIZES", "RandomModelSize", "make_random_model"]


@dataclass(frozen=True)
class RandomModelSize:
    """The numbers that tell one size from another."""

    image: int  # pixels, square
    patch: int
    tower_hidden: int
    tower_layers: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    context: int  # tokens the text model says it was trained on

    @property
    def tokens_per_frame(self) -> int:
        """The patches of one frame and the class token."""
        return tokens_per_frame(self.image, self.patch)


SIZES = {
    # About 0.2 million parameters, 17 tokens a frame: 8 frames fit the context, 64 do not.
    "tiny": RandomModelSize(32, 8, 32, 3, 64, 160, 2, 4, 2, 256),
    # About 5 million, 65 tokens a frame.
    "small": RandomModelSize(112, 14, 128, 4, 256, 704, 4, 4, 2, 1024),
    # About 100 million, with the real frames, tokens per frame (257), head size and context.
    "medium": RandomModelSize(224, 14, 384, 6, 768, 2048, 12, 12, 12, 4096),
}

_VOCABULARY = 512

_TOKENIZER_TEXT = """\
USER: What happens in the video? ASSISTANT: A red circle moves from the left to the right, and then
a blue square appears. Which shape came first, the triangle or the cross? The triangle came first.
How many shapes were there before the green one? There were three of them: one white, one yellow,
one purple. What is the colour of the last shape? It is orange. Describe what the person is doing.
The person is flipping a pancake in the kitchen and puts it on a plate. Where does the rocket land?
It lands on the moon, after a long journey. When does the clock stop? Near the end of the video. Who
is speaking, and why? Nobody is speaking; there is only music. Yes, no, maybe, nothing, everything,
before, after, during, while, until, again, twice, quickly, slowly. 0 1 2 3 4 5 6 7 8 9 10 16 32 64
"""


def make_random_model(
    directory: str | os.PathLike[str], size: str = "tiny", seed: int = 0, *, overwrite: bool = False
) -> Path:
    """Writes a Video-LLaVA with random weights (float32) that `from_pretrained` loads.

    Nothing appears under `directory` until all of it is written.

    Args:
        directory: where to; made if need be.
        size: one of `SIZES`.
        seed: of the weights; torch's own generator is left as it was.
        overwrite: write into a directory that is not empty, replacing files of the same names.

    Returns:
        `directory`.

    Raises:
        ModelError: unknown size; the directory is not empty or is a file.
        TypeError: `seed` is no integer.
        OSError: it cannot be written.
    """
    if size not in SIZES:
        raise ModelError(f"make_random_model: size must be {', '.join(SIZES)}, got {size!r}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"make_random_model: seed must be an int, got {type(seed).__name__}")
    target = Path(directory)
    if target.exists() and not target.is_dir():
        raise ModelError(f"make_random_model: {str(target)!r} is a file")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise ModelError(
            f"make_random_model: {str(target)!r} is not empty; "
            "give another directory, or overwrite=True (--overwrite)"
        )

    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".intp-video-", dir=target.parent))
    try:
        config, tokenizer = _config(SIZES[size]), _tokenizer()
        write_model_directory(draft, config, _weights(config, seed, tokenizer), tokenizer)
        target.mkdir(exist_ok=True)
        for path in draft.iterdir():
            os.replace(path, target / path.name)
    except Exception as error:
        if _is_about_writing(error):
            raise OSError(f"cannot write {str(target)!r}: {in_one_line(error)}") from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _is_about_writing(error: Exception) -> bool:
    """A full disk and the like. The libraries in Rust have no OSError, only its words."""
    return isinstance(error, OSError) or "os error" in str(error)


def _weights(config: dict[str, Any], seed: int, tokenizer: Tokenizer) -> dict[str, torch.Tensor]:
    """Under the names of the hub. The most likely token is one that can be read."""
    import torch
    from transformers import VideoLlavaConfig, VideoLlavaForConditionalGeneration

    with torch.random.fork_rng(devices=[]):
        model = VideoLlavaForConditionalGeneration(VideoLlavaConfig.from_dict(config)).float()
    # transformers 5 leaves "vision_model." out of its own names, and reads either; 4.57 needs it.
    weights = {
        re.sub(r"_tower\.(?!vision_model\.)", "_tower.vision_model.", name): tensor
        for name, tensor in model.state_dict().items()
    }
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(weights):
        tensor = weights[name]
        if tensor.ndim > 1 or name.endswith("class_embedding"):
            # Unit variance in gives unit variance out: attention that depends on what it sees and
            # where. Biases and norms stay as they are made, zeros and ones.
            fan_in = tensor[0].numel() if tensor.ndim > 1 else tensor.numel()
            tensor.normal_(0.0, fan_in**-0.5, generator=generator)
    # a logit of zero is never the largest of hundreds
    weights["lm_head.weight"][_unreadable(tokenizer)] = 0
    return weights


def _config(size: RandomModelSize) -> dict[str, Any]:
    vision = {
        "model_type": "clip_vision_model",
        "image_size": size.image,
        "patch_size": size.patch,
        "hidden_size": size.tower_hidden,
        "intermediate_size": 4 * size.tower_hidden,
        "num_hidden_layers": size.tower_layers,
        "num_attention_heads": max(2, size.tower_hidden // 64),
        "projection_dim": size.tower_hidden,
    }
    text = {
        "vocab_size": _VOCABULARY,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.hidden // size.heads,
        "max_position_embeddings": size.context,
    }
    architecture = "VideoLlavaForConditionalGeneration"
    return video_llava_config(
        architecture, vision, text, feature_layer=-2, feature_strategy="default"
    )


def _tokenizer() -> Tokenizer:
    """A byte-level BPE: any text survives, and the built-in one in few tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TOKENIZER_TEXT], trainer)
    return tokenizer


def _unreadable(tokenizer: Tokenizer) -> list[int]:
    """The special tokens, and single bytes that are no letter.

    An answer without them can be read, and is as long as was asked for.
    """
    visible = re.compile(r"[!-~Ġ]*[!-~]")  # printable ASCII, and "Ġ", which stands for a space
    return sorted(
        number
        for token, number in tokenizer.get_vocab().items()
        if token in SPECIAL or not visible.fullmatch(token)
    )
