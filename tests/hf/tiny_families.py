"""A tiny random model of every family that can be extended, and inputs for it.

``FAMILIES`` is the table of tests/hf/test_families.py: a new family is one more entry.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers
from intp_video import compat
from intp_video.decoder_layers import cached_windows

VIDEO, IMAGE, START, END, VOCAB = 99, 98, 97, 96, 120
WHOLE_START, WHOLE_END = 95, 94  # around all frames of a video
TRAINED = 64  # positions
SLIDING = 24  # tokens of a sliding window: more than a frame, less than a prompt
SIDE = 8  # patches along a side of a grid, of which 2 x 2 become a token
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": TRAINED,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
IS_4 = transformers.__version__.startswith("4.")


def mrope(section: list[int], interleaved: bool = False, partial: float = 1.0) -> dict[str, Any]:
    """The entries of a text config, whose names differ between 4 and 5."""
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": section}
    if interleaved:
        rope["mrope_interleaved"] = True
    if IS_4:
        return {"rope_scaling": rope, "rope_theta": 10000.0, "partial_rotary_factor": partial}
    return {"rope_parameters": {**rope, "partial_rotary_factor": partial}}


@dataclass(frozen=True)
class TinyFamily:
    """A family under test.

    Attributes:
        name: its model type.
        config: makes the arguments of its config.
        pixels: how it takes a video: "frames", "images", "padded images", "grid" or "patches".
        tokens: of a unit of time.
        frames_per_unit: of the encoder.
        side: of a frame in pixels, or of a patch for a grid.
        between: text tokens before each unit, by its number; None for none.
        behind: the tokens around each unit.
        newline: placeholders behind the video.
        placeholder: the token.
        enclosed: a token stands before all units, and one behind them.
        types: positions are found by ``mm_token_type_ids``.
        extra: more arguments of ``forward``, by (units, rows).
        needs: what else a release must have.
    """

    name: str
    classes: tuple[str, str]
    config: Callable[[], dict[str, Any]]
    pixels: str
    tokens: int
    frames_per_unit: int = 1
    side: int = 0
    between: Callable[[int], list[int]] | None = None
    newline: int = 0
    placeholder: int = VIDEO
    enclosed: bool = False
    types: bool = False
    extra: Callable[[int, int], dict[str, Any]] | None = None
    needs: Callable[[], bool] | None = None

    @property
    def slides(self) -> bool:
        """Some layers of its decoder see a sliding window: no window over frames, no rotation on
        read."""
        text = self.config()["text_config"]
        return text.get("sliding_window") is not None

    def available(self) -> bool:
        known = hasattr(transformers, self.classes[1])
        return known and (self.needs is None or self.needs())

    def make_model(self, seed: int = 0) -> Any:
        if not self.available():
            pytest.skip(f"transformers {transformers.__version__} has no {self.name} that runs")
        torch.manual_seed(seed)
        config = getattr(transformers, self.classes[0])(**self.config())
        model = getattr(transformers, self.classes[1])(config).float().eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in sorted(model.named_parameters()):
                if parameter.ndim > 1:  # sharper than at birth: a wrong position shows
                    noise = torch.randn(parameter.shape, generator=generator)
                    parameter.copy_(1.5 * noise * parameter[0].numel() ** -0.5)
                elif name.endswith("A_log"):
                    parameter.fill_(-2)  # recurrent states that last for several tokens
                elif "bias" in name or "newline" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
            for module in model.modules():  # Gemma 4 learns the scale of its scores
                if getattr(module, "scaling", None) == 1.0 and hasattr(module, "q_norm"):
                    module.q_norm.weight.fill_(0.5 * module.head_dim**-0.5)
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        return model

    def units(self, frames: int) -> int:
        return frames // self.frames_per_unit

    def prompt(self, frames: int, generator: torch.Generator, before: int, after: int) -> list[int]:
        def words(count: int) -> list[int]:
            return torch.randint(3, 90, (count,), generator=generator).tolist()

        row = words(before)
        if self.between is None:
            video = [self.placeholder] * (self.units(frames) * self.tokens + self.newline)
            row += [START, *video, END] if self.enclosed else video
        else:
            for unit in range(self.units(frames)):
                visual = [self.placeholder] * self.tokens
                row += [*self.between(unit), START, *visual, END]
        return row + words(after)

    def make_inputs(
        self, frames: int, texts: tuple[tuple[int, int], ...] = ((5, 7),)
    ) -> dict[str, torch.Tensor]:
        """One row for each (tokens before the video, tokens after it), padded on the left."""
        generator = torch.Generator().manual_seed(1)
        rows = [self.prompt(frames, generator, *text) for text in texts]
        length = max(map(len, rows))
        ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        inputs = {"input_ids": ids, "attention_mask": mask}
        inputs |= self.make_pixels(frames, len(rows), generator)
        if self.types and compat.takes_token_types():
            inputs["mm_token_type_ids"] = (ids == self.placeholder).int() * 2
        if self.extra is not None:
            inputs |= self.extra(self.units(frames), len(rows))
        return inputs

    def make_pixels(
        self, frames: int, rows: int, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        if self.pixels == "grid":
            units = self.units(frames)
            patch = 3 * self.frames_per_unit * self.side**2
            return {
                "pixel_values_videos": torch.randn(
                    rows * units * SIDE**2, patch, generator=generator
                ),
                "video_grid_thw": torch.tensor([[units, SIDE, SIDE]] * rows),
            }
        if self.pixels == "patches":
            return self._make_patches(frames, rows, generator)
        pixels = torch.randn(rows, frames, 3, self.side, self.side, generator=generator)
        if self.pixels == "frames":
            return {"pixel_values_videos": pixels}
        return {"pixel_values": pixels.flatten(0, 1) if self.pixels == "images" else pixels}

    def _make_patches(
        self, frames: int, rows: int, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """4 x 4 patches of each frame, which become 2 x 2 tokens, and 8 of padding."""
        at = torch.arange(16)
        places = torch.full((rows * frames, 24, 2), -1)
        places[:, :16] = torch.stack((at % 4, at // 4), dim=-1)
        patches = torch.rand(rows * frames, 24, 12, generator=generator)
        patches[:, 16:] = 0
        made = {"pixel_values_videos": patches, "video_position_ids": places}
        if compat.gemma4_counts_frames():
            return {**made, "num_frames_per_video": torch.tensor([frames] * rows)}
        return {name: x.unflatten(0, (rows, frames)) for name, x in made.items()}


def _time(unit: int) -> list[int]:
    return [40, 41, 42, 43]


def _number(unit: int) -> list[int]:
    """A timestamp: one token more from the tenth unit on, as a number has one digit more."""
    return [40, 41, 42] if unit < 9 else [40, 41, 42, 43]


def _number_in_video(unit: int) -> list[int]:
    return [WHOLE_START] * (unit == 0) + _number(unit)


def _clip(**more: Any) -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "projection_dim": 32,
        **more,
    }


def _video_llava() -> dict[str, Any]:
    return {
        "vision_config": _clip(image_size=16, patch_size=8),
        "text_config": {"model_type": "llama", **TEXT},
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "video_seq_length": 40,
        "image_seq_length": 4,
    }


def _llava_next_video() -> dict[str, Any]:
    return {
        "vision_config": _clip(image_size=56, patch_size=14),
        "text_config": {"model_type": "llama", **TEXT},
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
        "vision_feature_layer": -2,
        "spatial_pool_stride": 2,
        "image_seq_length": 16,
        "video_seq_length": 4,
    }


def _llava_onevision() -> dict[str, Any]:
    vision = _clip(model_type="siglip_vision_model", image_size=42, patch_size=14)
    vision.pop("projection_dim")
    return {
        "vision_config": {**vision, "vision_use_head": False},
        "text_config": {"model_type": "qwen2", **TEXT},
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
        "vision_feature_select_strategy": "full",
        "vision_feature_layer": -1,
    }


def _internvl() -> dict[str, Any]:
    return {
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": [28, 28],
            "patch_size": [7, 7],
        },
        "text_config": {"model_type": "qwen2", **TEXT},
        "image_token_id": IMAGE,
        "image_seq_length": 4,
        "downsample_ratio": 0.5,
    }


def _smolvlm() -> dict[str, Any]:
    return {
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 16,
            "patch_size": 4,  # divides the tokens of a frame: 5.20 merges them in blocks of so many
            "max_num_patches": 16,
        },
        "text_config": {"model_type": "llama", **TEXT},
        "image_token_id": IMAGE,
        "scale_factor": 2,
        "pad_token_id": 0,
    }


def _video_llama_3() -> dict[str, Any]:
    return {
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "patch_size": 4,
        },
        "text_config": {"model_type": "qwen2", **TEXT},
        "video_token_id": VIDEO,
        "image_token_id": IMAGE,
    }


def _ids() -> dict[str, Any]:
    return {
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": START,
        "vision_end_token_id": END,
    }


def _qwen_vision(**more: Any) -> dict[str, Any]:
    return {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 64,
        **more,
    }


def _qwen2_vl() -> dict[str, Any]:
    vision = {
        "depth": 2,
        "embed_dim": 32,
        "hidden_size": 64,
        "mlp_ratio": 2,
        "num_heads": 4,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    return {"vision_config": vision, "text_config": {**TEXT, **mrope([2, 3, 3])}, **_ids()}


def _qwen2_5_vl() -> dict[str, Any]:
    vision = _qwen_vision(window_size=16, fullatt_block_indexes=[1], tokens_per_second=2)
    return {"vision_config": vision, "text_config": {**TEXT, **mrope([2, 3, 3])}, **_ids()}


def _exaone4_5() -> dict[str, Any]:
    vision = _qwen_vision(window_size=16, fullatt_block_indexes=[1], num_key_value_heads=2)
    # as by default: the fourth layer sees everything, without RoPE
    text = {"model_type": "exaone4", **TEXT, "num_hidden_layers": 4, "sliding_window": SLIDING}
    return {
        "vision_config": vision,
        "text_config": text,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
    }


def gemma4(**text: Any) -> dict[str, Any]:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "patch_size": 2,
        "pooling_kernel_size": 2,
        "position_embedding_size": 64,
    }
    # as by default: the sixth layer sees everything, with wider heads of which a quarter turns
    rope = {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 10000.0}
    text = {
        **TEXT,
        "num_hidden_layers": 6,
        "head_dim": 16,
        "global_head_dim": 32,
        "sliding_window": SLIDING,
        "hidden_size_per_layer_input": 32,  # of 8, a norm may divide by next to nothing
        "vocab_size_per_layer_input": 300,  # of the tokenizer of bytes, too
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": rope,
        },
        **text,
    }
    return {
        "vision_config": vision,
        "text_config": text,
        "audio_config": None,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "audio_token_id": 91,
        "boi_token_id": START,
        "eoi_token_id": END,
    }


def _gemma4_takes_videos() -> bool:
    """The cache of 5.10 does not know its layers; 5.20 asks for a number and loses it."""
    from transformers.models.gemma4.modeling_gemma4 import Gemma4Model

    handed_on = "num_frames_per_video=" in inspect.getsource(Gemma4Model.forward)
    known = handed_on or not compat.gemma4_counts_frames()
    config = transformers.Gemma4Config(**gemma4())
    return known and any(cached_windows(config.text_config))


def _gemma4_shared() -> dict[str, Any]:
    """As small ones: the last layers read the keys of earlier ones."""
    types = ["sliding_attention", "full_attention"] * 3
    return gemma4(layer_types=types, num_kv_shared_layers=2)


def _qwen3_vl(**text: Any) -> dict[str, Any]:
    vision = _qwen_vision(num_position_embeddings=64, deepstack_visual_indexes=[0, 1], depth=3)
    rope = mrope([4, 2, 2], interleaved=True)
    return {
        "vision_config": vision,
        "text_config": {**TEXT, "head_dim": 16, **rope, **text},
        **_ids(),
    }


def _qwen3_vl_moe() -> dict[str, Any]:
    return _qwen3_vl(
        num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, decoder_sparse_step=1
    )


def _qwen3_5(**text: Any) -> dict[str, Any]:
    types = ["linear_attention", "full_attention"] * 2
    text = {
        **TEXT,
        "num_hidden_layers": len(types),
        "layer_types": types,
        "head_dim": 32,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_conv_kernel_dim": 4,
        **mrope([2, 1, 1], interleaved=True, partial=0.25),
        **text,
    }
    vision = _qwen_vision(num_position_embeddings=64)
    return {"vision_config": vision, "text_config": text, **_ids()}


def _qwen3_5_moe() -> dict[str, Any]:
    return _qwen3_5(
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
    )


def _glm(**text: Any) -> dict[str, Any]:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "patch_size": 4,
        "image_size": 32,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 64,
    }
    return {
        "vision_config": vision,
        "text_config": {**TEXT, **mrope([2, 1, 1], partial=0.5), **text},
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "image_start_token_id": START,
        "image_end_token_id": END,
        "video_start_token_id": WHOLE_START,
        "video_end_token_id": WHOLE_END,
    }


def _glm_moe(**text: Any) -> dict[str, Any]:
    return _glm(
        head_dim=16,
        moe_intermediate_size=32,
        num_experts_per_tok=4,  # all: a cache of 8 bits must not choose others
        n_routed_experts=4,
        first_k_dense_replace=1,
        **text,
    )


def _omni(vision: dict[str, Any], text: dict[str, Any], audio: dict[str, Any]) -> dict[str, Any]:
    audio = {
        "num_mel_bins": 8,
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "output_dim": 64,
        **audio,
    }
    return {
        "vision_config": vision,
        "text_config": {**TEXT, **text},
        "audio_config": audio,
        "audio_start_token_id": 93,
        "audio_end_token_id": 92,
        "position_id_per_seconds": 2,
        "vision_start_token_id": START,
        "vision_end_token_id": END,
    }


def _qwen2_5_omni() -> dict[str, Any]:
    vision = _qwen_vision(patch_size=14, window_size=56, fullatt_block_indexes=[1])
    ids = {"audio_token_index": 91, "image_token_index": IMAGE, "video_token_index": VIDEO}
    return {**_omni(vision, mrope([2, 3, 3]), {}), **ids}


def _qwen3_omni() -> dict[str, Any]:
    vision = _qwen_vision(
        patch_size=14, num_position_embeddings=64, deepstack_visual_indexes=[0, 1], depth=3
    )
    text = {
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 4,  # all, as above
        "moe_intermediate_size": 32,
        **mrope([4, 2, 2], interleaved=True),
    }
    audio = {"downsample_hidden_size": 8}
    ids = {"audio_token_id": 91, "image_token_id": IMAGE, "video_token_id": VIDEO}
    return {**_omni(vision, text, audio), **ids}


FAMILIES = [
    TinyFamily(
        "video_llava",
        ("VideoLlavaConfig", "VideoLlavaForConditionalGeneration"),
        _video_llava,
        "frames",
        tokens=5,
        side=16,
    ),
    TinyFamily(
        "llava_next_video",
        ("LlavaNextVideoConfig", "LlavaNextVideoForConditionalGeneration"),
        _llava_next_video,
        "frames",
        tokens=4,
        side=56,
    ),
    TinyFamily(
        "llava_onevision",
        ("LlavaOnevisionConfig", "LlavaOnevisionForConditionalGeneration"),
        _llava_onevision,
        "frames",
        tokens=4,
        side=42,
        newline=1,
    ),
    TinyFamily(
        "internvl",
        ("InternVLConfig", "InternVLForConditionalGeneration"),
        _internvl,
        "images",
        tokens=4,
        side=28,
        between=_number,
        placeholder=IMAGE,
    ),
    TinyFamily(
        "smolvlm",
        ("SmolVLMConfig", "SmolVLMForConditionalGeneration"),
        _smolvlm,
        "padded images",
        tokens=4,
        side=16,
        between=_number,
        placeholder=IMAGE,
    ),
    TinyFamily(
        "video_llama_3",
        ("VideoLlama3Config", "VideoLlama3ForConditionalGeneration"),
        _video_llama_3,
        "grid",
        tokens=16,
        side=4,
        between=_number,
        extra=lambda units, rows: {
            "video_merge_sizes": torch.tensor([2] * rows),
            "video_compression_mask": torch.ones(rows * units * 16, dtype=torch.bool),
        },
    ),
    TinyFamily(
        "qwen2_vl",
        ("Qwen2VLConfig", "Qwen2VLForConditionalGeneration"),
        _qwen2_vl,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        enclosed=True,
        types=True,
    ),
    TinyFamily(
        "qwen2_5_vl",
        ("Qwen2_5_VLConfig", "Qwen2_5_VLForConditionalGeneration"),
        _qwen2_5_vl,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        enclosed=True,
        types=True,
        extra=lambda units, rows: {"second_per_grid_ts": torch.tensor([1.0] * rows)},
    ),
    TinyFamily(
        "exaone4_5",
        ("Exaone4_5_Config", "Exaone4_5_ForConditionalGeneration"),
        _exaone4_5,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        enclosed=True,
    ),
    *(
        TinyFamily(
            "gemma4",
            ("Gemma4Config", "Gemma4ForConditionalGeneration"),
            config,
            "patches",
            tokens=4,
            side=8,
            between=_time,
            types=True,
            needs=_gemma4_takes_videos,
        )
        for config in (gemma4, _gemma4_shared)
    ),
    TinyFamily(
        "qwen3_vl",
        ("Qwen3VLConfig", "Qwen3VLForConditionalGeneration"),
        _qwen3_vl,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        between=_number,
        types=True,
        needs=compat.takes_text_between_patches,
    ),
    TinyFamily(
        "qwen3_vl_moe",
        ("Qwen3VLMoeConfig", "Qwen3VLMoeForConditionalGeneration"),
        _qwen3_vl_moe,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        between=_number,
        types=True,
        needs=compat.takes_text_between_patches,
    ),
    TinyFamily(
        "qwen3_5",
        ("Qwen3_5Config", "Qwen3_5ForConditionalGeneration"),
        _qwen3_5,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        between=_number,
        types=True,
        needs=compat.caches_recurrent_layers,
    ),
    TinyFamily(
        "qwen3_5_moe",
        ("Qwen3_5MoeConfig", "Qwen3_5MoeForConditionalGeneration"),
        _qwen3_5_moe,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        between=_number,
        types=True,
        needs=compat.caches_recurrent_layers,
    ),
    TinyFamily(
        "glm4v",
        ("Glm4vConfig", "Glm4vForConditionalGeneration"),
        _glm,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        between=_number_in_video,
        placeholder=IMAGE,
        types=True,
    ),
    TinyFamily(
        "glm4v_moe",
        ("Glm4vMoeConfig", "Glm4vMoeForConditionalGeneration"),
        _glm_moe,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        between=_number_in_video,
        placeholder=IMAGE,
        types=True,
    ),
    TinyFamily(
        "glm46v",
        ("Glm46VConfig", "Glm46VForConditionalGeneration"),
        _glm,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        between=_number_in_video,
        placeholder=IMAGE,
        types=True,
    ),
    TinyFamily(
        "glm46v",
        ("Glm46VConfig", "Glm46VForConditionalGeneration"),
        lambda: _glm_moe(model_type="glm4v_moe_text"),
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=4,
        between=_number_in_video,
        placeholder=IMAGE,
        types=True,
    ),
    TinyFamily(
        "qwen2_5_omni_thinker",
        ("Qwen2_5OmniThinkerConfig", "Qwen2_5OmniThinkerForConditionalGeneration"),
        _qwen2_5_omni,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=14,  # their rule of size is fixed, and would make thousands of small patches
        enclosed=True,
        extra=lambda units, rows: {"video_second_per_grid": torch.tensor([1.0] * rows)},
    ),
    TinyFamily(
        "qwen3_omni_moe_thinker",
        ("Qwen3OmniMoeThinkerConfig", "Qwen3OmniMoeThinkerForConditionalGeneration"),
        _qwen3_omni,
        "grid",
        tokens=16,
        frames_per_unit=2,
        side=14,  # their rule of size is fixed, and would make thousands of small patches
        enclosed=True,
        extra=lambda units, rows: {"video_second_per_grid": torch.tensor([1.0] * rows)},
        needs=lambda: not transformers.__version__.startswith("5.0."),  # cannot unpack its features
    ),
]
