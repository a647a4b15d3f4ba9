"""Qwen3-VL and Qwen3.5: a time before the placeholders of each temporal patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .grid import GridProcessing
from .model_frames import Units
from .pixels import BICUBIC, HALF
from .prompt import cut_at, special_token
from .sizes import Size, smart_video_size


@dataclass(frozen=True, kw_only=True)
class Qwen3VlProcessing(GridProcessing):
    """The bounds are of all frames together."""

    model_types = ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
    token_types = True
    defaults: ClassVar[Mapping[str, Any]] = {
        **HALF,
        "resample": BICUBIC,
        "size": {"shortest_edge": 128 * 32 * 32, "longest_edge": 768 * 32 * 32},
        "patch_size": 16,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }

    def size(self, count: int, height: int, width: int) -> Size:
        factor = self.patch_size * self.merge_size
        return smart_video_size(
            count, height, width, self.temporal_patch_size, factor, self.least, self.most
        )

    def _second(self, times: Sequence[float]) -> float:
        return (times[0] + times[-1]) / 2

    def _around(self, prompt: str, marker: str, tokenizer: Any) -> tuple[str, str]:
        """Without the start and end of vision that a template writes around the video: each patch
        has its own. transformers takes them off up to 5.3 and leaves them later; the authors' own
        releases took them off."""
        before, after = cut_at(prompt, marker)
        start, end = _start_and_end(tokenizer)
        if before.endswith(start) and after.startswith(end):
            return before.removesuffix(start), after.removeprefix(end)
        return before, after

    def _video_text(
        self, units: Units, placeholder: str, tokenizer: Any
    ) -> tuple[str, Sequence[int]]:
        start, end = _start_and_end(tokenizer)
        stamps = (f"<{second:.1f} seconds>{start}{placeholder}{end}" for second in units.seconds)
        return "".join(stamps), units.tokens


def _start_and_end(tokenizer: Any) -> tuple[str, str]:
    return (
        special_token(tokenizer, "vision_start_token", "<|vision_start|>"),
        special_token(tokenizer, "vision_end_token", "<|vision_end|>"),
    )
