"""One small checkpoint of every family, two clips, and the inputs that we and transformers make.

Values are those that differ from the family's defaults, chosen so that frames stay small and every
rule of size is met. transformers' side needs torchvision, see ``with_torchvision``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from intp_video.processing import processing_for
from intp_video.processing.prompt import VICUNA
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

QUESTION = "What happens?"
# fmt: off
MARKUP = (
    "<pad>", "<s>", "</s>", "<image>", "<video>", "<|image_pad|>", "<|video_pad|>",
    "<|vision_start|>", "<|vision_end|>", "<img>", "</img>", "<IMG_CONTEXT>",
    "<fake_token_around_image>", "<global-img>", "<|im_start|>", "<|im_end|>",
    "<end_of_utterance>", "<|image|>", "<|video|>", "<|begin_of_video|>", "<|end_of_video|>",
    "<|begin_of_image|>", "<|end_of_image|>", "<boi>", "<eoi>", "<|audio|>", "<|audio_start|>",
    "<|audio_end|>",
)
# fmt: on
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}VIDEO{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shown:
    """Frames with what a reader knows about them.

    Attributes:
        indices: of the frames, counted in a video of ``total`` frames at ``fps``.
    """

    height: int
    width: int
    indices: tuple[int, ...]
    total: int
    fps: float

    @property
    def frames(self) -> np.ndarray:
        """uint8 ``[T, height, width, 3]``: a pattern that moves on the left and stays on the
        right, except between the first two frames, which are equal."""
        t, y, x, c = np.ogrid[: len(self.indices), : self.height, : self.width, :3]
        moves = np.where(x < self.width // 2, np.maximum(t, 1) * 31, 0)
        return ((x * y + 7 * x + 13 * y + 53 * c + moves) % 256).astype(np.uint8)

    @property
    def times(self) -> list[float]:
        return [index / self.fps for index in self.indices]

    @property
    def duration(self) -> float:
        return self.total / self.fps


CLIPS = {
    "odd": Shown(40, 60, (2, 7, 12, 17, 21), 24, 4.0),
    "tall": Shown(90, 52, (1, 3, 5, 7), 8, 0.1),  # of 80 seconds
}


@dataclass(frozen=True)
class Checkpoint:
    """What differs from the defaults of a family, and the names of transformers' classes.

    Attributes:
        placeholder, marker: tokens: a feature's, and a video's in a template.
        config: what the family reads of config.json, beside the placeholder.
        stock: options of transformers' processor, beside its parts.
        names: of tokens, which the family's tokenizer gives them.
        sound: whether transformers' processor has a part for it.
    """

    model_type: str
    processor: str
    video: str
    image: str
    values: dict[str, Any]
    placeholder: str
    marker: str
    config: dict[str, Any] = field(default_factory=dict)
    stock: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    sound: bool = False

    @property
    def processing(self):
        family = processing_for(self.model_type)
        name = f"{family.shown_as}_token_id"
        placeholder = {name: token_id(self.placeholder)}
        config = SimpleNamespace(model_type=self.model_type, **placeholder, **self.config)
        return family.from_values({**family.defaults, **self.values}, config)

    def tokenizer(self, template: str | None = None) -> PreTrainedTokenizerFast:
        """A token for each byte, and all the markup of all families."""
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary = {token: i for i, token in enumerate([*MARKUP, *alphabet])}
        tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(list(MARKUP))
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            bos_token="<s>",
            eos_token="</s>",
            chat_template=template,
            model_input_names=["input_ids", "attention_mask"],
            extra_special_tokens=self.names,
        )

    def template(self) -> str | None:
        """None for Video-LLaVA, whose prompt without one is that of Vicuna v1."""
        return None if self.model_type == "video_llava" else TEMPLATE.replace("VIDEO", self.marker)

    def prompt(self) -> str:
        """The text before the video is put into it."""
        if self.model_type == "video_llava":
            return VICUNA.first.format(video=self.marker, question=QUESTION)
        if self.model_type == "smolvlm":
            return f"<|im_start|>User: {self.marker}{QUESTION}<end_of_utterance>\nAssistant:"
        return f"<|im_start|>user\n{self.marker}{QUESTION}<|im_end|>\n<|im_start|>assistant\n"

    def ours(self, shown: Shown) -> dict[str, torch.Tensor]:
        processing = self.processing
        made = processing.frames(shown.frames, shown.times, shown.duration)
        tokenizer = self.tokenizer(self.template())
        ids, more = processing.text(made, QUESTION, tokenizer)
        return {"input_ids": ids, **made.tensors, **more}

    def theirs(self, shown: Shown) -> dict[str, torch.Tensor]:
        """What transformers' own processor returns, without what only it reads."""
        import transformers
        from transformers.processing_utils import ProcessorMixin
        from transformers.video_utils import VideoMetadata

        parts = {
            "tokenizer": self.tokenizer(),
            "video_processor": getattr(transformers, self.video)(**self.values),
            "image_processor": getattr(transformers, self.image)(),
        }
        options = {}
        if self.sound:
            parts["feature_extractor"] = transformers.WhisperFeatureExtractor()
            options["videos_kwargs"] = {"fps": len(shown.indices) / shown.duration}
        with patch.object(ProcessorMixin, "check_argument_for_proper_class"):  # of the tokenizer
            processor = getattr(transformers, self.processor)(**parts, **self.stock)
        metadata = VideoMetadata(
            total_num_frames=shown.total,
            fps=shown.fps,
            duration=shown.duration,
            frames_indices=list(shown.indices),
            width=shown.width,
            height=shown.height,
        )
        if self.model_type != "video_llava":  # transformers 4 has no place for it there
            options |= {"video_metadata": [metadata], "do_sample_frames": False}
        video = torch.from_numpy(shown.frames).permute(0, 3, 1, 2)
        made = processor(text=[self.prompt()], videos=[video], return_tensors="pt", **options)
        unread = ("attention_mask", "video_metadata", "num_soft_tokens_per_video")
        return {name: made[name] for name in made if name not in unread}


def vision(side: int, patch: Any, num_frames: int | None = None, **more: Any) -> dict[str, Any]:
    tower = SimpleNamespace(image_size=side, patch_size=patch, num_frames=num_frames)
    return {"vision_config": tower, **more}


_SQUARE_28 = {"size": {"height": 28, "width": 28}}
_CROP_28 = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
_VISION = "<|vision_start|><|video_pad|><|vision_end|>"
_GLM = "<|begin_of_video|><|video|><|end_of_video|>"
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

_OMNI = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "audio_token": "<|audio|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}

CHECKPOINTS = [
    Checkpoint(
        "video_llava",
        "VideoLlavaProcessor",
        "VideoLlavaVideoProcessor",
        "VideoLlavaImageProcessor",
        {**_CLIP, **_CROP_28},
        "<video>",
        "<video>",
        vision(28, 14, num_frames=1),
        {"patch_size": 14},
    ),
    Checkpoint(
        "qwen2_5_vl",
        "Qwen2_5_VLProcessor",
        "Qwen2VLVideoProcessor",
        "Qwen2VLImageProcessor",
        {"size": {"shortest_edge": 28 * 28 * 6, "longest_edge": 28 * 28 * 9}},
        "<|video_pad|>",
        _VISION,
    ),
    Checkpoint(
        "qwen2_vl",
        "Qwen2VLProcessor",
        "Qwen2VLVideoProcessor",
        "Qwen2VLImageProcessor",
        {"size": {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 3}},
        "<|video_pad|>",
        _VISION,
    ),
    Checkpoint(
        "qwen3_vl",
        "Qwen3VLProcessor",
        "Qwen3VLVideoProcessor",
        "Qwen2VLImageProcessor",
        {"size": {"shortest_edge": 32 * 32, "longest_edge": 32 * 32 * 10}},
        "<|video_pad|>",
        "<|video_pad|>",
    ),
    Checkpoint(
        "qwen3_5",
        "Qwen3VLProcessor",
        "Qwen3VLVideoProcessor",
        "Qwen2VLImageProcessor",
        {"size": {"shortest_edge": 32 * 32 * 40, "longest_edge": 32 * 32 * 80}},
        "<|video_pad|>",
        "<|video_pad|>",
    ),
    Checkpoint(
        "llava_onevision",
        "LlavaOnevisionProcessor",
        "LlavaOnevisionVideoProcessor",
        "LlavaOnevisionImageProcessor",
        {"size": {"height": 42, "width": 42}},
        "<video>",
        "<video>",
        vision(42, 14),
        {"num_image_tokens": 9, "vision_feature_select_strategy": "full"},
    ),
    Checkpoint(
        "internvl",
        "InternVLProcessor",
        "InternVLVideoProcessor",
        "GotOcr2ImageProcessor",
        _SQUARE_28,
        "<IMG_CONTEXT>",
        "<video>",
        vision(28, [14, 14], image_seq_length=1),
        {"image_seq_length": 1},
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
    Checkpoint(
        "llava_next_video",
        "LlavaNextVideoProcessor",
        "LlavaNextVideoVideoProcessor",
        "LlavaNextImageProcessor",
        {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}},
        "<video>",
        "<video>",
        vision(56, 14, spatial_pool_stride=2),
        {"patch_size": 14},
    ),
    Checkpoint(
        "smolvlm",
        "SmolVLMProcessor",
        "SmolVLMVideoProcessor",
        "SmolVLMImageProcessor",
        {"size": {"longest_edge": 67}, "max_image_size": {"longest_edge": 32}},
        "<image>",
        "<video>",
        vision(32, 8, scale_factor=2),
        {"image_seq_len": 4},
    ),
    Checkpoint(
        "video_llama_3",
        "VideoLlama3Processor",
        "VideoLlama3VideoProcessor",
        "VideoLlama3ImageProcessor",
        {"size": {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 40}},
        "<|video_pad|>",
        _VISION,
    ),
    Checkpoint(
        "glm4v",
        "Glm4vProcessor",
        "Glm4vVideoProcessor",
        "Glm4vImageProcessor",
        {"size": {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 20}},
        "<|image|>",
        _GLM,
    ),
    Checkpoint(
        "glm46v",
        "Glm46VProcessor",
        "Glm46VVideoProcessor",
        "Glm46VImageProcessor",
        {"size": {"shortest_edge": 28 * 28 * 30, "longest_edge": 28 * 28 * 40}},
        "<|image|>",
        _GLM,
    ),
    Checkpoint(
        "gemma4",
        "Gemma4Processor",
        "Gemma4VideoProcessor",
        "Gemma4ImageProcessor",
        {"patch_size": 4, "pooling_kernel_size": 2},
        "<|video|>",
        "<|video|>",
        names={
            "image_token": "<|image|>",
            "audio_token": "<|audio|>",
            "boi_token": "<boi>",
            "eoi_token": "<eoi>",
            "boa_token": "<|audio_start|>",
            "eoa_token": "<|audio_end|>",
        },
        sound=True,
    ),
    Checkpoint(
        "exaone4_5",
        "Exaone4_5_Processor",
        "Qwen2VLVideoProcessor",
        "Qwen2VLImageProcessor",
        {"size": {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 3}},
        "<|video_pad|>",
        _VISION,
    ),
    Checkpoint(
        "qwen2_5_omni_thinker",
        "Qwen2_5OmniProcessor",
        "Qwen2VLVideoProcessor",
        "Qwen2VLImageProcessor",
        {},
        "<|video_pad|>",
        _VISION,
        names=_OMNI,
        sound=True,
    ),
    Checkpoint(
        "qwen3_omni_moe_thinker",
        "Qwen3OmniMoeProcessor",
        "Qwen2VLVideoProcessor",
        "Qwen2VLImageProcessor",
        {"patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        "<|video_pad|>",
        _VISION,
        names=_OMNI,
        sound=True,
    ),
]


def token_id(token: str) -> int:
    return MARKUP.index(token)
