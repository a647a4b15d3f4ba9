"""What the rest of the package needs to know about a family of Video-LLMs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ASSUMED_SIDE = 448
"""Height and width of a frame, in pixels, where sizes decide and none is given."""


@dataclass(frozen=True)
class Layout:
    """What a video takes of a prompt.

    Attributes:
        tokens_per_unit: visual tokens that one unit of time becomes.
        visual_tokens: of the whole video.
        tokens: of the whole video and the text between its frames.
        positions: the range of RoPE positions that the video takes. With M-RoPE it is far smaller
            than ``tokens``: the patches of a frame share one step of time.
        values: pixel values that the encoder takes, three for each pixel.
    """

    tokens_per_unit: int
    visual_tokens: int
    tokens: int
    positions: int
    values: int


class VideoFamily(ABC):
    """A family: how its video encoder is called, and where its parts are; one file for each.

    A *unit* is the shortest stretch of time that the encoder takes: one frame, or the two frames of
    a temporal patch. Frames are counted as frames, groups are made of whole units.

    Attributes:
        model_type: as in config.json.
        class_name: the class for generation, in ``transformers``.
        encoder: the method that encodes videos; its first parameter takes the pixels.
        pixels: what ``forward`` calls the pixels of a video.
        modality: what ``mm_encoder_outputs`` calls the features of a video.
        groups_are_real: the encoder looks across the units of a group, so grouping changes
            features, and has to be undone in time. False: grouping bounds memory, nothing else.
        frames_are_of_one_video: a call tells which video a frame is of.
        text_between_frames: each unit stands in a run of placeholders of its own.
        text_overtakes_frames: stock lets the text after a long video stand before its last frames.
        rope_by_layer: layers that slide have frequencies of their own, which are not stretched.
        makes_masks: ``forward`` makes the masks of the decoder before it calls it.
        mrope: positions have three axes; "contiguous" or "interleaved" sections. None: one axis.
    """

    model_type: str
    class_name: str
    encoder = "get_video_features"
    pixels = "pixel_values_videos"
    modality = "video"
    groups_are_real = False
    frames_are_of_one_video = True
    text_between_frames = False
    text_overtakes_frames = False
    rope_by_layer = False
    makes_masks = False
    mrope: str | None = None

    # ---- where its parts are ----

    def model_class(self, config: Any) -> type[PreTrainedModel]:
        """The class for generation: the auto classes of 4.57 lack some families.

        Raises:
            ModelError: this release of transformers lacks it.
        """
        import transformers

        found = getattr(transformers, self.class_name, None)
        if found is None:
            raise ModelError(
                f"model type {self.model_type!r} needs a newer transformers than "
                f"{transformers.__version__}, which has no {self.class_name}"
            )
        return found

    def multimodal_module(self, model: PreTrainedModel) -> PreTrainedModel:
        """The module whose ``forward`` merges features into embeddings, and that has the encoder.

        Raises:
            ModelError: it is not the whole model.
        """
        module = getattr(model, "model", None)
        if module is None or not hasattr(module, self.encoder):
            raise ModelError(
                f"expected the whole model, a {self.class_name}, got its part "
                f"{type(model).__name__}"
            )
        return module

    def text_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """The decoder: embeddings in, hidden states out; owns ``layers`` and ``rotary_emb``."""
        return uncompiled(self.multimodal_module(model).language_model)

    def rotates_pairs(self, config: Any) -> bool:
        """Whether neighboring channels of a head turn together. The fused kernels turn halves
        (rotate_half); pairs are left to the model's own module, with our frequencies."""
        return False

    def sees_both_ways(self, config: Any) -> bool:
        """Whether the tokens of a frame see those after them, too, in the decoder."""
        return False

    def cached_heads(self, config: Any, place: int) -> tuple[int, int]:
        """Key heads, and the channels of each, of a layer of the decoder."""
        text = config.text_config
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        return heads, getattr(
            text, "head_dim", None
        ) or text.hidden_size // text.num_attention_heads

    # ---- time ----

    def frames_per_unit(self, config: Any) -> int:
        """Frames in a unit."""
        return 1

    def frames_per_group(self, config: Any) -> int:
        """N: frames that are encoded together, in whole units."""
        return 8

    def frames_per_step(self, config: Any) -> int:
        """What the number of frames of a video is a multiple of."""
        if self.groups_are_real:
            return self.frames_per_group(config)
        return self.frames_per_unit(config)

    @abstractmethod
    def layout(
        self, config: Any, frames: int, height: int = ASSUMED_SIDE, width: int = ASSUMED_SIDE
    ) -> Layout:
        """What ``frames`` frames of height x width pixels take of a prompt."""

    def rope_distance(self, config: Any, positions: int) -> int:
        """How far apart two tokens are at most, of so many positions, that a layer with RoPE sees:
        what decides how far RoPE is stretched."""
        return positions

    def tokens_per_frame(self, config: Any) -> int | None:
        """P, or None where it depends on the size of the frames."""
        return None

    def placeholder_id(self, config: Any) -> int:
        """The token that a video feature replaces."""
        return config.video_token_id

    # ---- one call of the encoder ----

    @abstractmethod
    def units(self, arguments: dict[str, Any]) -> list[int]:
        """Units of each video in the arguments of a call.

        Raises:
            ValueError: arguments of another shape.
        """

    @abstractmethod
    def take(self, arguments: dict[str, Any], video: int, groups: torch.Tensor) -> dict[str, Any]:
        """The arguments of a call that encodes some groups of one video, each as a video.

        Args:
            arguments: of the whole call, by name.
            video: its index.
            groups: int64 ``[g, n]``, units of the video.
        """

    def rows_of(self, output: Any) -> list[torch.Tensor]:
        """``[rows, C]`` of everything that a call returned: the features, then those for deeper
        layers, if there are any; video after video, unit after unit."""
        pooled = output.pooler_output if hasattr(output, "pooler_output") else output
        deeper = getattr(output, "deepstack_features", None) or []
        return [flat(pooled), *(flat(layer) for layer in deeper)]

    def output_like(self, output: Any, videos: list[list[torch.Tensor]]) -> Any:
        """The rows of each video (as :meth:`rows_of` lists them) in the form that ``output`` has.

        Args:
            output: of a call for some groups; it is changed where it is an object.
            videos: rows by video, then by kind.
        """
        main, *deeper = ([video[kind] for video in videos] for kind in range(len(videos[0])))
        if not hasattr(output, "pooler_output"):
            return shaped_like(output, main)
        output.pooler_output = shaped_like(output.pooler_output, main)
        if deeper:
            pairs = zip(output.deepstack_features, deeper, strict=True)
            output.deepstack_features = [shaped_like(layer, rows) for layer, rows in pairs]
        return output

    def surplus_tokens(self, config: Any) -> int:
        """Placeholders behind those of the units of a video (a newline, for one)."""
        return 0

    # ---- one call of forward ----

    @abstractmethod
    def tokens_per_unit(self, config: Any, arguments: dict[str, Any]) -> list[int]:
        """Tokens of a unit of time of each video in the arguments of ``forward``; one entry may
        stand for all."""

    def merged_rows(self, arguments: dict[str, Any]) -> int | None:
        """Rows of features that ``forward`` merges, where it drops some; None for all."""
        return None

    def shares_placeholder(self, arguments: dict[str, Any]) -> bool:
        """Whether placeholders of this call stand for something other than its videos, too."""
        return False


def uncompiled(module: Any) -> Any:
    """The module inside torch.compile's wrapper."""
    return getattr(module, "_orig_mod", module)


def flat(features: Any) -> torch.Tensor:
    """``[rows, C]`` of a tensor with any number of leading dimensions, or of several."""
    if isinstance(features, torch.Tensor):
        return features.flatten(0, -2)
    return torch.cat([part.flatten(0, -2) for part in features])


def shaped_like(features: Any, videos: list[torch.Tensor]) -> Any:
    """The rows of all videos in the container that a family returns.

    One entry for each video for a tuple or a list, ``[rows, C]`` for a matrix, ``[V * F, P, C]``
    for frames of P rows.
    """
    if not isinstance(features, torch.Tensor):
        first = features[0]
        return type(features)(video.reshape(-1, *first.shape[1:]) for video in videos)
    return torch.cat(videos).reshape(-1, *features.shape[1:])
