"""The original Video-LLaVA, tiny: random weights in its layout, and what it computes from them, in
plain torch and from its definition alone."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F

VOCAB, HIDDEN, HEADS, KV_HEADS, LAYERS, MLP = 40, 32, 4, 2, 2, 48
TOWER, TOWER_HEADS, TOWER_LAYERS, TOWER_MLP, PATCH, SIDE = 24, 2, 3, 40, 8, 16
TOKENS = (SIDE // PATCH) ** 2 + 1
EPS, THETA = 1e-6, 10000.0

CONFIG = {
    "architectures": ["LlavaLlamaForCausalLM"],
    "model_type": "llava",
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": MLP,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 128,
    "rms_norm_eps": EPS,
    "rope_scaling": None,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "mm_hidden_size": TOWER,
    "mm_projector_type": "mlp2x_gelu",
    "mm_video_tower": "LanguageBind/LanguageBind_Video_merge",
    "mm_image_tower": "LanguageBind/LanguageBind_Image",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
}


def tower_config(frames: int) -> dict:
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": TOWER,
        "intermediate_size": TOWER_MLP,
        "num_hidden_layers": TOWER_LAYERS,
        "num_attention_heads": TOWER_HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
        "hidden_act": "gelu",
        "num_frames": frames,
        "add_time_attn": True,
        "force_patch_dropout": 0.5,
        "lora_r": 16,
        "video_decode_backend": "decord",
    }
    return {"model_type": "LanguageBindVideo", "vision_config": vision, "text_config": {}}


Weights = dict[str, torch.Tensor]


def _random(shapes: dict[str, tuple[int, ...]], seed: int) -> Weights:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape, generator=generator) * (0.5 if len(shape) == 1 else 0.25)
        # scales of norms are around one
        weights[name] = tensor + 1 if "norm" in name and name.endswith("weight") else tensor
    return weights


def language_weights(seed: int = 0) -> Weights:
    """All of the checkpoint but its towers."""
    size, kv = (HIDDEN, HIDDEN), (HIDDEN // HEADS * KV_HEADS, HIDDEN)
    shapes = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for name, shape in {"q": size, "k": kv, "v": kv, "o": size}.items():
            shapes[f"{at}self_attn.{name}_proj.weight"] = shape
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = (MLP, HIDDEN)
        shapes[f"{at}mlp.down_proj.weight"] = (HIDDEN, MLP)
        shapes[f"{at}input_layernorm.weight"] = (HIDDEN,)
        shapes[f"{at}post_attention_layernorm.weight"] = (HIDDEN,)
    shapes["lm_head.weight"] = (VOCAB, HIDDEN)
    for number, width in ((0, TOWER), (2, HIDDEN)):
        shapes[f"model.mm_projector.{number}.weight"] = (HIDDEN, width)
        shapes[f"model.mm_projector.{number}.bias"] = (HIDDEN,)
    return _random(shapes, seed)


def tower_weights(frames: int, seed: int = 1) -> Weights:
    """``vision_model`` of the tower, without that prefix."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (TOWER,),
        "embeddings.patch_embedding.weight": (TOWER, 3, PATCH, PATCH),
        "embeddings.position_embedding.weight": (TOKENS, TOWER),
    }
    norms = ["pre_layrnorm", "post_layernorm"]
    for layer in range(TOWER_LAYERS):
        at = f"encoder.layers.{layer}."
        shapes[f"{at}temporal_embedding"] = (1, frames, TOWER)
        norms += [f"{at}{name}" for name in ("layer_norm1", "layer_norm2", "temporal_layer_norm1")]
        for attention in ("self_attn", "temporal_attn"):
            for name in "qkv":
                shapes[f"{at}{attention}.{name}_proj.weight"] = (TOWER, TOWER)
                shapes[f"{at}{attention}.{name}_proj.bias"] = (TOWER,)
            shapes[f"{at}{attention}.out_proj.weight"] = (TOWER, TOWER)
            shapes[f"{at}{attention}.out_proj.bias"] = (TOWER,)
        shapes |= {f"{at}mlp.fc1.weight": (TOWER_MLP, TOWER), f"{at}mlp.fc1.bias": (TOWER_MLP,)}
        shapes |= {f"{at}mlp.fc2.weight": (TOWER, TOWER_MLP), f"{at}mlp.fc2.bias": (TOWER,)}
    for norm in norms:
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (TOWER,)
    return _random(shapes, seed)


def whole_clip(tower: Weights) -> Weights:
    """The tower as it lies in a directory of its own, with what is not wanted of it."""
    named = {f"vision_model.{name}": tensor for name, tensor in tower.items()}
    named["vision_model.embeddings.position_ids"] = torch.arange(TOKENS)[None]
    named["text_model.embeddings.token_embedding.weight"] = torch.randn(9, 8)
    named["text_projection.weight"] = torch.randn(8, 8)
    named["visual_projection.weight"] = torch.randn(8, TOWER)
    named["logit_scale"] = torch.tensor(2.0)
    return named


def tower_features(weights: Weights, videos: torch.Tensor) -> torch.Tensor:
    """``[b, 3, t, h, w] -> [b, t, n, c]``: the hidden state of layer -2, class token and all."""
    b, _, t, _, _ = videos.shape
    images = videos.transpose(1, 2).flatten(0, 1)
    patches = F.conv2d(images, weights["embeddings.patch_embedding.weight"], stride=PATCH)
    first = weights["embeddings.class_embedding"].expand(b * t, 1, TOWER)
    x = torch.cat((first, patches.flatten(2).transpose(1, 2)), dim=1)
    x = x + weights["embeddings.position_embedding.weight"]
    states = [_norm(weights, "pre_layrnorm", x)]
    for layer in range(TOWER_LAYERS):
        at, x = f"encoder.layers.{layer}.", states[-1]
        over_time = x.view(b, t, TOKENS, TOWER).transpose(1, 2).flatten(0, 1)  # [b n, t, c]
        if t != 1:
            over_time = over_time + weights[f"{at}temporal_embedding"]
        normed = _norm(weights, f"{at}temporal_layer_norm1", over_time)
        over_time = over_time + _attend(weights, f"{at}temporal_attn", normed)
        x = over_time.view(b, TOKENS, t, TOWER).transpose(1, 2).flatten(0, 1)
        x = x + _attend(weights, f"{at}self_attn", _norm(weights, f"{at}layer_norm1", x))
        inner = F.gelu(_linear(weights, f"{at}mlp.fc1", _norm(weights, f"{at}layer_norm2", x)))
        states.append(x + _linear(weights, f"{at}mlp.fc2", inner))
    return states[-2].view(b, t, TOKENS, TOWER)


def logits(
    language: Weights, tower: Weights, before: list[int], videos: torch.Tensor, after: list[int]
) -> torch.Tensor:
    """``[s, VOCAB]`` of one prompt: words, the tokens of every frame in a row, words."""
    features = project(language, tower_features(tower, videos))[0].flatten(0, 1)
    words = language["model.embed_tokens.weight"]
    x = torch.cat((words[before], features, words[after]))
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        normed = _rms(language[f"{at}input_layernorm.weight"], x)
        x = x + _causal(language, f"{at}self_attn.", normed)
        normed = _rms(language[f"{at}post_attention_layernorm.weight"], x)
        gate, up = (normed @ language[f"{at}mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + (F.silu(gate) * up) @ language[f"{at}mlp.down_proj.weight"].T
    return _rms(language["model.norm.weight"], x) @ language["lm_head.weight"].T


def project(language: Weights, features: torch.Tensor) -> torch.Tensor:
    inner = F.gelu(_linear(language, "model.mm_projector.0", features))
    return _linear(language, "model.mm_projector.2", inner)


def _linear(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _rms(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * weight


def _attend(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    """Every token sees every other of its row."""
    q, k, v = (
        _linear(weights, f"{name}.{letter}_proj", x)
        .unflatten(-1, (TOWER_HEADS, -1))
        .transpose(1, 2)
        for letter in "qkv"
    )
    shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return _linear(weights, f"{name}.out_proj", (shares @ v).transpose(1, 2).flatten(2))


def _causal(weights: Weights, at: str, x: torch.Tensor) -> torch.Tensor:
    size = HIDDEN // HEADS
    q, k, v = (
        (x @ weights[f"{at}{letter}_proj.weight"].T).unflatten(-1, (-1, size)).transpose(0, 1)
        for letter in "qkv"
    )
    k, v = (tensor.repeat_interleave(HEADS // KV_HEADS, dim=0) for tensor in (k, v))
    turn = torch.arange(len(x))[:, None] * THETA ** (-torch.arange(0, size, 2) / size)
    cos, sin = turn.cos().repeat(1, 2), turn.sin().repeat(1, 2)
    q, k = (
        y * cos + torch.cat((-y[..., size // 2 :], y[..., : size // 2]), -1) * sin for y in (q, k)
    )
    scores = q @ k.transpose(-1, -2) / size**0.5
    future = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
    shares = scores.masked_fill(future, -torch.inf).softmax(-1)
    return (shares @ v).transpose(0, 1).flatten(1) @ weights[f"{at}o_proj.weight"].T


def write_config(folder: Path, config: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


def write_tokenizer(folder: Path) -> None:
    """Words of one token each, without the placeholders, as Vicuna's has none."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<unk>", "<s>", "</s>", *(f"w{number}" for number in range(VOCAB - 3))]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(names | {"tokenizer_class": "PreTrainedTokenizerFast"})
    )


def write_weights(folder: Path, weights: Weights, pickled: bool, shards: int) -> None:
    """Whole, or in shards with their index."""
    from safetensors.torch import save_file

    whole = "pytorch_model.bin" if pickled else "model.safetensors"
    stem, suffix = whole.split(".")
    names, where = sorted(weights), {}
    for number in range(shards):
        part = {name: weights[name] for name in names[number::shards]}
        file = f"{stem}-{number + 1:05d}-of-{shards:05d}.{suffix}" if shards > 1 else whole
        torch.save(part, folder / file) if pickled else save_file(part, folder / file)
        where |= dict.fromkeys(part, file)
    if shards > 1:
        (folder / f"{whole}.index.json").write_text(json.dumps({"weight_map": where}))
