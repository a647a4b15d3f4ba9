"""A complete Video-LLaVA directory with random weights, for tests and for trying things out.

It answers nonsense, but every part is there that a trained checkpoint has (configuration, weights,
a tokenizer, the preprocessors' values, a chat template), in the format of the Hugging Face hub, and
transformers 4.57 and 5 load it alike.
"""

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelError
from ..reasons import in_one_line
from .model_directory import CHAT_TEMPLATE, write_json, write_processors

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
        return (self.image // self.patch) ** 2 + 1


SIZES = {
    # About 0.2 million parameters, 17 tokens a frame: 8 frames fit the context, 64 do not.
    "tiny": RandomModelSize(32, 8, 32, 3, 64, 160, 2, 4, 2, 256),
    # About 5 million, 65 tokens a frame.
    "small": RandomModelSize(112, 14, 128, 4, 256, 704, 4, 4, 2, 1024),
    # About 100 million, with the real frames, tokens per frame (257), head size and context.
    "medium": RandomModelSize(224, 14, 384, 6, 768, 2048, 12, 12, 12, 4096),
}

_PAD, _BOS, _EOS, _IMAGE, _VIDEO = range(5)
_SPECIAL = ("<pad>", "<s>", "</s>", "<image>", "<video>")  # in the order of their ids
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
    directory: str | os.PathLike, size: str = "tiny", seed: int = 0, *, overwrite: bool = False
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
        silent = _write_tokenizer(draft, SIZES[size])
        _write_model(draft, SIZES[size], seed, silent)
        write_processors(draft, SIZES[size].image, SIZES[size].patch)
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


def _write_model(directory: Path, size: RandomModelSize, seed: int, silent: list[int]) -> None:
    """Configuration and weights. Tokens in `silent` are never the most likely."""
    import torch
    from safetensors.torch import save_file
    from transformers import VideoLlavaConfig, VideoLlavaForConditionalGeneration

    with torch.random.fork_rng(devices=[]):
        model = VideoLlavaForConditionalGeneration(
            VideoLlavaConfig.from_dict(_config(size))
        ).float()
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
    weights["lm_head.weight"][silent] = 0  # a logit of zero is never the largest of hundreds
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", _config(size))  # as transformers 4.57 spells it
    write_json(
        directory / "generation_config.json",
        {"bos_token_id": _BOS, "eos_token_id": _EOS, "pad_token_id": _PAD},
    )


def _config(size: RandomModelSize) -> dict:
    tokens = size.tokens_per_frame
    return {
        "architectures": ["VideoLlavaForConditionalGeneration"],
        "model_type": "video_llava",
        "torch_dtype": "float32",
        "image_token_index": _IMAGE,
        "video_token_index": _VIDEO,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "image_seq_length": tokens - 1,  # images lose the class token, videos keep it
        "video_seq_length": tokens * 8,
        "tie_word_embeddings": False,
        "vision_config": {  # of both towers, image and video
            "model_type": "clip_vision_model",
            "image_size": size.image,
            "patch_size": size.patch,
            "hidden_size": size.tower_hidden,
            "intermediate_size": 4 * size.tower_hidden,
            "num_hidden_layers": size.tower_layers,
            "num_attention_heads": max(2, size.tower_hidden // 64),
            "projection_dim": size.tower_hidden,
        },
        "text_config": {
            "model_type": "llama",
            "vocab_size": _VOCABULARY,
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": size.hidden // size.heads,
            "max_position_embeddings": size.context,
            "rope_theta": 10000.0,
            "rms_norm_eps": 1e-5,
            "bos_token_id": _BOS,
            "eos_token_id": _EOS,
            "pad_token_id": _PAD,
            "tie_word_embeddings": False,
        },
    }


def _write_tokenizer(directory: Path, size: RandomModelSize) -> list[int]:
    """A byte-level BPE: any text survives, and the built-in one in few tokens.

    Returns the tokens that cannot be seen: the special ones, and single bytes that are no letter.
    An answer without them can be read, and is as long as was asked for.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=list(_SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TOKENIZER_TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", _BOS)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    write_json(directory / "special_tokens_map.json", names)
    write_json(
        directory / "tokenizer_config.json",
        names
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": size.context,
            "padding_side": "left",
            "clean_up_tokenization_spaces": False,
        },
    )
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    visible = re.compile(r"[!-~Ġ]*[!-~]")  # printable ASCII, and "Ġ", which stands for a space
    return sorted(
        number
        for token, number in tokenizer.get_vocab().items()
        if token in _SPECIAL or not visible.fullmatch(token)
    )
