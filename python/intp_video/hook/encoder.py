"""The video encoder of an extended model: encodes in groups, puts tokens back in time order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

import intp_ext

from ..errors import ModelError
from ..grouping import encode_in_groups, storage_order
from ..models import VideoModel
from ..options import Options
from .passes import DecoderState, saw_features


class GroupedEncoder:
    """Replaces a model's ``get_video_features``.

    Args:
        family: of the model.
        options: grouping, rearrange and groups_per_chunk.
        frames: M, the most frames of a video.
        frames_per_group: N.
        tokens_per_frame: P.
        decoder: is told what was encoded.
        on_encode: called with (groups done, groups in all).
    """

    def __init__(
        self,
        family: VideoModel,
        options: Options,
        frames: int,
        frames_per_group: int,
        tokens_per_frame: int,
        decoder: DecoderState,
        on_encode: Callable[[int, int], None] | None,
    ) -> None:
        self._family, self._options, self._decoder = family, options, decoder
        self._frames, self._per_group, self._per_frame = frames, frames_per_group, tokens_per_frame
        self.on_encode = on_encode

    def around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The model's own ``get_video_features``, called with groups of frames."""

        @functools.wraps(original)  # generate() reads the signature
        def get_video_features(
            pixel_values_videos: torch.Tensor,
            *args: Any,
            return_dict: bool | None = None,
            **kwargs: Any,
        ) -> Any:
            self._check_frames(pixel_values_videos)
            videos, frames = pixel_values_videos.shape[:2]
            if args:
                kwargs["vision_feature_layer"] = args[0]
            if return_dict is not None:
                kwargs["return_dict"] = True
            output = None

            def encode(chunk: torch.Tensor) -> torch.Tensor:  # [g, N, 3, H, W] -> [g * N, P, C]
                nonlocal output
                output = original(chunk, **kwargs)
                return self._family.features_of(output)

            features = encode_in_groups(
                encode,
                pixel_values_videos,
                self._per_group,
                self._options.grouping,
                self._options.groups_per_chunk,
                self.on_encode,
            )  # [V, M*P, C] in storage order
            if features.shape[1] != frames * self._per_frame:
                raise ModelError(
                    f"the video encoder made {features.shape[1] / frames:g} tokens of a frame, not "
                    f"the {self._per_frame} of its config (patches and a class token)"
                )
            if self._options.rearrange == "features":
                order = self.storage_order(frames).to(features.device)
                features = intp_ext.rearrange(features, order)
            self._decoder.encoded += videos
            saw_features(features)
            features = features.view(videos * frames, self._per_frame, -1)
            output = self._family.output_like(output, features, frames)
            return output.to_tuple() if return_dict is False else output

        return get_video_features

    def storage_order(self, frames: int) -> torch.Tensor:
        """int32 ``[M * P]``: the storage row of the token at each time."""
        return storage_order(frames, self._per_group, self._per_frame, self._options.grouping)

    def residual_order(self, start: torch.Tensor, length: torch.Tensor, rows: int) -> torch.Tensor:
        """int32 ``[B, S]``: text stays in place, visual tokens follow the encoder's order.

        Args:
            start, length: int ``[B]``, of the video in each row.
            rows: S.

        Raises:
            ModelError: visual tokens that do not fill whole groups.
        """
        order = torch.arange(rows, dtype=torch.int32, device=start.device).repeat(len(start), 1)
        for row, (first, count) in enumerate(zip(start.tolist(), length.tolist(), strict=True)):
            frames, rest = divmod(count, self._per_frame)
            if rest or frames % self._per_group:
                raise ModelError(
                    f'row {row}: rearrange="attention" needs the whole video in one pass, got '
                    f"{count} visual tokens, which are no whole groups; use "
                    'rearrange="features" for a prompt in chunks'
                )
            if count:
                within = self.storage_order(frames).to(order.device)
                order[row, first : first + count] = within + first
        return order

    def _check_frames(self, pixel_values_videos: torch.Tensor) -> None:
        if pixel_values_videos.dim() != 5:
            raise ValueError(
                "pixel_values_videos: expected [videos, frames, 3, height, width], got "
                f"{list(pixel_values_videos.shape)}"
            )
        frames = pixel_values_videos.shape[1]
        if frames % self._per_group:
            raise ValueError(
                f"pixel_values_videos: expected whole groups of {self._per_group} frames, "
                f"got {frames} frames; intp_video.prepare() rounds up by repeating some"
            )
        if frames > self._frames:
            raise ValueError(
                f"pixel_values_videos: expected at most the {self._frames} frames the model was "
                f"extended to, got {frames}; restore() and extend(frames={frames})"
            )
