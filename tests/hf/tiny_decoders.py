"""Decoders of transformers on tiny random weights, one row of the table for each."""

from __future__ import annotations

import warnings

import pytest
import torch
import transformers

WINDOW = 12  # of sliding layers and chunks: far fewer than the tokens of a test
VOCAB = 120

_LLAMA = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 256,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_SLIDING = {"sliding_window": WINDOW}
_MIXED = {**_SLIDING, "layer_types": ["sliding_attention", "full_attention"]}
_GEMMA = {**_LLAMA, **_MIXED, "head_dim": 16, "query_pre_attn_scalar": 16}

# name: (the model's class, the config's, what the config is given)
DECODERS: dict[str, tuple[str, str, dict[str, object]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", _LLAMA),
    "mistral": ("MistralForCausalLM", "MistralConfig", {**_LLAMA, **_SLIDING, "head_dim": 16}),
    "qwen2": (
        "Qwen2ForCausalLM",
        "Qwen2Config",
        {**_LLAMA, **_SLIDING, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**_LLAMA, "head_dim": 16}),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        {**_LLAMA, **_EXPERTS, "head_dim": 16, "num_experts": 4},
    ),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**_GEMMA, "attn_logit_softcapping": 1.0}),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", _GEMMA),
    "gemma4": (
        "Gemma4ForCausalLM",
        "Gemma4TextConfig",
        {
            **_LLAMA,
            **_SLIDING,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "full_attention", "full_attention"],
            "head_dim": 16,
            "global_head_dim": 32,
            "num_kv_shared_layers": 1,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCAB,
        },
    ),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", {**_LLAMA, **_SLIDING}),
    "granite": ("GraniteForCausalLM", "GraniteConfig", {**_LLAMA, "attention_multiplier": 0.3}),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", _LLAMA),
    "smollm3": ("SmolLM3ForCausalLM", "SmolLM3Config", {**_LLAMA, "no_rope_layers": [1, 0]}),
    "cohere2": ("Cohere2ForCausalLM", "Cohere2Config", {**_LLAMA, **_MIXED}),
    "llama4": (
        "Llama4ForCausalLM",
        "Llama4TextConfig",
        {
            **_LLAMA,
            "intermediate_size_mlp": 96,
            "head_dim": 16,
            "attention_chunk_size": WINDOW,
            "no_rope_layers": [1, 0],  # the first in chunks, the second in full
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
        },
    ),
    "gpt_oss": (
        "GptOssForCausalLM",
        "GptOssConfig",
        {**_LLAMA, **_SLIDING, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "deepseek_v3": (
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        {
            **_LLAMA,
            "num_key_value_heads": 4,
            "q_lora_rank": 24,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 16,
            "v_head_dim": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 32,
            "n_shared_experts": 1,
        },
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": VOCAB, "n_positions": 256},
    ),
    "opt": (
        "OPTForCausalLM",
        "OPTConfig",
        {
            "hidden_size": 64,
            "ffn_dim": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": VOCAB,
            "max_position_embeddings": 256,
            "word_embed_proj_dim": 64,
        },
    ),
}

# Makes a mask of its own, past the mask interface.
OWN_MASKS = {"opt"} if transformers.__version__.startswith("4.") else set()


def make_decoder(row: tuple[str, str, dict[str, object]], attention: str = "intp"):
    """The model of a row of the table, in float32; skips where this transformers has none."""
    model_class, config_class, options = row
    if not hasattr(transformers, model_class):
        pytest.skip(f"no {model_class} in this transformers")
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = getattr(transformers, config_class)(**options, **special)
    torch.manual_seed(0)
    model = getattr(transformers, model_class)._from_config(config, attn_implementation=attention)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                values = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(0.7 * values * parameter[0].numel() ** -0.5)
    return model.float().eval()


def make_tokens(batch: int = 2, length: int = 30, padding: int = 0) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask; the first row is padded on the left."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCAB, (batch, length), generator=generator)
    mask = torch.ones_like(ids)
    ids[0, :padding] = mask[0, :padding] = 0
    return {"input_ids": ids, "attention_mask": mask}
