"""A Video-LLaVA directory in the format of the Hugging Face hub, from a config, weights and words.

Every model that this package makes is written here. transformers 4.57 and 5 load them alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model_files import write_json, write_processors

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

__all__ = [
    "BOS",
    "EOS",
    "FRAMES",
    "IMAGE",
    "PAD",
    "SPECIAL",
    "VIDEO",
    "tokens_per_frame",
    "video_llava_config",
    "write_model_directory",
]

FRAMES = 8  # that one clip of the training has
SPECIAL = ("<pad>", "<s>", "</s>", "<image>", "<video>")  # the first tokens of every vocabulary
PAD, BOS, EOS, IMAGE, VIDEO = range(len(SPECIAL))

_CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ message['role'] | upper + ': ' }}
{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for item in message['content'] if item['type'] in ('image', 'video') -%}
{{ '<' + item['type'] + '>\\n' }}
{%- endfor -%}
{%- for item in message['content'] if item['type'] == 'text' -%}
{{ item['text'] }}
{%- endfor -%}
{%- endif -%}
{{ ' ' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ 'ASSISTANT:' }}
{%- endif -%}
"""


def tokens_per_frame(image: int, patch: int) -> int:
    """The patches of a square frame, `image` pixels wide, and the class token."""
    return (image // patch) ** 2 + 1


def video_llava_config(
    architecture: str,
    vision: dict[str, Any],
    text: dict[str, Any],
    *,
    feature_layer: int,
    feature_strategy: str,
) -> dict[str, Any]:
    """config.json, as transformers 4.57 spells it.

    Args:
        architecture: name of the model class.
        vision: the vision_config, of both towers where there are two.
        text: sizes of the Llama.
        feature_layer: whose output the language model gets.
        feature_strategy: "default", where images lose the class token and videos keep it; "full",
            where both keep it.
    """
    tokens = tokens_per_frame(vision["image_size"], vision["patch_size"])
    return {
        "architectures": [architecture],
        "model_type": "video_llava",
        "torch_dtype": "float32",
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": feature_layer,
        "vision_feature_select_strategy": feature_strategy,
        "image_seq_length": tokens - (feature_strategy == "default"),
        "video_seq_length": tokens * FRAMES,
        "tie_word_embeddings": False,
        "vision_config": vision,
        "text_config": {
            "model_type": "llama",
            **text,
            "rope_theta": 10000.0,
            "rms_norm_eps": 1e-5,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": PAD,
            "tie_word_embeddings": False,
        },
    }


def write_model_directory(
    directory: Path,
    config: dict[str, Any],
    weights: dict[str, torch.Tensor],
    tokenizer: Tokenizer,
) -> None:
    """Writes all files that ``from_pretrained`` reads.

    Args:
        directory: made if need be; files of the same names are replaced.
        config: from :func:`video_llava_config`; the other files take their values from it.
        weights: by name, contiguous, no two of them in the same memory.
        tokenizer: without a post-processor: it gets the one that begins every prompt with ``<s>``.

    Raises:
        OSError: a file cannot be written.
        SafetensorError: the weights cannot be written.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", config)
    write_json(
        directory / "generation_config.json",
        {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD},
    )
    _write_tokenizer(directory, tokenizer, config["text_config"]["max_position_embeddings"])
    vision = config["vision_config"]
    write_processors(directory, vision["image_size"], vision["patch_size"])


def _write_tokenizer(directory: Path, tokenizer: Tokenizer, context: int) -> None:
    from tokenizers import processors

    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    if tokenizer.model.unk_token is not None:
        names["unk_token"] = tokenizer.model.unk_token
    write_json(directory / "special_tokens_map.json", names)
    write_json(
        directory / "tokenizer_config.json",
        names
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": context,
            "padding_side": "left",
            "clean_up_tokenization_spaces": False,
        },
    )
    (directory / "chat_template.jinja").write_text(_CHAT_TEMPLATE)
