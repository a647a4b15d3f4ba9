"""The small model: its sizes, its words, and the directory that ``from_pretrained`` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..model_directory import CHAT_TEMPLATE, write_json, write_processors
from ..shapes import COLORS, SHAPES
from ..shapes.worlds import MAX_EVENTS

IMAGE_SIZE, PATCH_SIZE, FRAMES = 24, 8, 8
TOKENS_PER_FRAME = (IMAGE_SIZE // PATCH_SIZE) ** 2 + 1

SPECIAL = ("<pad>", "<s>", "</s>", "<image>", "<video>", "<unk>")
PAD, BOS, EOS, IMAGE, VIDEO, UNKNOWN = range(len(SPECIAL))
WORDS = (
    *("user:", "assistant:", "what", "color", "was", "the", "which", "shape", "shapes", "came"),
    *("first", "last", "how", "many", "were", "there", "a", "yes", "no"),
    *COLORS,
    *SHAPES,
    *(str(number) for number in range(MAX_EVENTS + 1)),
)
TOKEN_OF = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}

# <s> user: [video] [the longest question] assistant: [answer] </s>
TRAINED_CONTEXT = 2 + FRAMES * TOKENS_PER_FRAME + 6 + 3


def config() -> dict[str, Any]:
    """config.json, as transformers 4.57 spells it."""
    return {
        "architectures": ["TemporalVideoLlava"],
        "model_type": "video_llava",
        "torch_dtype": "float32",
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "image_seq_length": TOKENS_PER_FRAME,
        "video_seq_length": TOKENS_PER_FRAME * FRAMES,
        "tie_word_embeddings": False,
        "vision_config": {
            "model_type": "temporal_clip_vision_model",
            "num_frames": FRAMES,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "projection_dim": 96,
        },
        "text_config": {
            "model_type": "llama",
            "vocab_size": len(TOKEN_OF),
            "hidden_size": 160,
            "intermediate_size": 448,
            "num_hidden_layers": 4,
            "num_attention_heads": 5,
            "num_key_value_heads": 5,
            "head_dim": 32,
            "max_position_embeddings": TRAINED_CONTEXT,
            "rope_theta": 10000.0,
            "rms_norm_eps": 1e-5,
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": PAD,
            "tie_word_embeddings": False,
        },
    }


def token_ids(text: str) -> list[int]:
    """What the tokenizer makes of a question or an answer, without the ``<s>``.

    Raises:
        KeyError: a word that the model does not know.
    """
    return [TOKEN_OF[word] for word in text.lower().replace("?", " ").split()]


def write_directory(directory: Path, model: Any) -> None:
    """Weights, config, tokenizer and preprocessor values, in the format of the Hugging Face hub."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", config())
    write_json(
        directory / "generation_config.json",
        {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD},
    )
    _write_tokenizer(directory)
    write_processors(directory, IMAGE_SIZE, PATCH_SIZE)


def _write_tokenizer(directory: Path) -> None:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel(TOKEN_OF, unk_token="<unk>"))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex("[?.!,]"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
    }
    write_json(directory / "special_tokens_map.json", names)
    write_json(
        directory / "tokenizer_config.json",
        names
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": TRAINED_CONTEXT,
            "padding_side": "left",
            "clean_up_tokenization_spaces": False,
        },
    )
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE)
