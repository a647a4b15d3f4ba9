"""The video encoder of an extended model: encodes in groups, puts tokens back in time order."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import torch

import intp_ext

from ..errors import ModelError
from ..grouping import encode_in_groups, encoder_order, storage_order
from ..models import VideoFamily
from ..options import Options
from .passes import DecoderState, broken, saw_features
from .visual import VideoTokens, shows_one_video_a_row


class GroupedEncoder:
    """Replaces a model's method that encodes videos (``VideoFamily.encoder``).

    Args:
        family: of the model.
        config: of the model.
        options: grouping, rearrange and groups_per_chunk.
        frames: M, the most frames of a video.
        frames_per_group: N.
        decoder: is told what was encoded.
        on_encode: called with (groups done, groups in all).
    """

    def __init__(
        self,
        family: VideoFamily,
        config: Any,
        options: Options,
        frames: int,
        frames_per_group: int,
        decoder: DecoderState,
        on_encode: Callable[[int, int], None] | None,
    ) -> None:
        self._family, self._options, self._decoder = family, options, decoder
        self._per_unit = family.frames_per_unit(config)
        self._per_group = frames_per_group // self._per_unit
        self._most = frames // self._per_unit
        self._per_frame = family.tokens_per_frame(config)
        self._surplus = family.surplus_tokens(config)
        self.on_encode = on_encode
        self._last = _Last()

    def around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The model's own method, called with groups of frames."""
        signature = inspect.signature(original)

        @functools.wraps(original)  # generate() reads the signature
        def encode_video(*args: Any, return_dict: bool | None = None, **kwargs: Any) -> Any:
            arguments = _by_name(signature, args, kwargs)
            units = self._family.units(arguments)
            if not any(units):
                raise ValueError(f"{self._family.pixels}: expected a video, got no frames")
            for count in units:
                self._check_units(count)
            if return_dict is not None:
                arguments["return_dict"] = True
            output = self._encode(original, arguments, units)
            return output.to_tuple() if return_dict is False else output

        return encode_video

    def _encode(
        self, original: Callable[..., Any], arguments: dict[str, Any], units: list[int]
    ) -> Any:
        total = sum(-(-count // self._per_group) for count in units)
        done = 0
        output: Any = None
        tail: list[torch.Tensor] = []

        def report(groups: int) -> None:
            nonlocal done
            done += groups
            if self.on_encode is not None:
                self.on_encode(done, total)

        videos, shown = [], []
        for video, count in enumerate(units):
            if not count:
                continue  # a row of a batch that shows no video

            def encode(groups: torch.Tensor, video: int = video) -> list[torch.Tensor]:
                nonlocal output, tail
                output = original(**self._family.take(arguments, video, groups))
                rows = self._family.rows_of(output)
                rows, tail = self._without_surplus(rows, groups)
                return rows

            order = self._order(count)
            rows = encode_in_groups(
                encode, order, self._per_group, self._options.groups_per_chunk, report
            )
            per_unit, rest = divmod(len(rows[0]), count)
            if rest:
                raise broken(f"the encoder made {len(rows[0])} tokens of {count} units of time")
            if self._family.groups_are_real and self._options.rearrange == "features":
                back = self.storage_order(count * per_unit, per_unit).to(rows[0].device)
                rows = [intp_ext.rearrange(kind[None], back)[0] for kind in rows]
            if tail:
                rows = [torch.cat(pair) for pair in zip(rows, tail, strict=True)]
            videos.append(rows)
            shown.append(VideoTokens(count, per_unit, self._surplus))
        self._decoder.encoded += len(units)
        self._last.videos = shown
        added = 0 if tail else self._surplus * len(videos)  # by forward, up to 5.17
        saw_features(sum(len(rows[0]) for rows in videos) + added)
        output = self._family.output_like(output, videos)
        if not isinstance(output, tuple):  # of 4.57, whose forward takes no output
            output.intp_videos = shown
        return output

    def videos(self, output: Any) -> tuple[list[VideoTokens], bool]:
        """The videos of an output, and whether it is all of them.

        One that ``generate`` cut into chunks is of the last call of this thread.

        Raises:
            ModelError: a chunk under a window, where it cannot be told whether text at its end is
                followed by another frame.
        """
        known = getattr(output, "intp_videos", None)
        if known is not None:
            return known, True
        if self._family.text_between_frames and self._options.window is not None:
            raise ModelError(
                "a window, text between frames and a prompt in chunks do not go together: text at "
                "the end of a chunk does not know whether a frame follows; leave out "
                "prefill_chunk_size, or the window"
            )
        return self._last.videos, False

    def _order(self, units: int) -> torch.Tensor:
        if not self._family.groups_are_real:
            return torch.arange(units)
        return encoder_order(units, self._per_group, self._options.grouping)

    def _without_surplus(
        self, rows: list[torch.Tensor], groups: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Rows of the units of every group alone, and what stood behind those of the last group."""
        if self._per_frame is None:
            return rows, []
        count, length = groups.shape
        wanted = length * self._per_unit * self._per_frame
        each = len(rows[0]) / count
        if each == wanted:
            return rows, []
        if each != wanted + self._surplus:
            raise broken(
                f"the video encoder made {each / length:g} tokens of a frame, not the "
                f"{self._per_frame} of its config"
            )
        by_group = [kind.unflatten(0, (count, wanted + self._surplus)) for kind in rows]
        return (
            [kind[:, :wanted].flatten(0, 1) for kind in by_group],
            [kind[-1, wanted:] for kind in by_group],
        )

    def storage_order(self, tokens: int, per_unit: int) -> torch.Tensor:
        """int32 ``[M * P]``: the storage row of the token at each time."""
        return storage_order(tokens // per_unit, self._per_group, per_unit, self._options.grouping)

    def residual_order(self, is_visual: torch.Tensor, videos: list[VideoTokens]) -> torch.Tensor:
        """int32 ``[B, S]``: text stays in place, visual tokens follow the encoder's order.

        Args:
            is_visual: bool ``[B, S]``, one video in a row.
            videos: of all rows.

        Raises:
            ModelError: visual tokens that do not stand together, or do not fill whole groups.
        """
        rows = is_visual.shape[1]
        order = torch.arange(rows, dtype=torch.int32, device=is_visual.device)
        order = order.repeat(len(is_visual), 1)
        for row, visual in enumerate(is_visual):
            at = visual.nonzero()[:, 0]
            if not len(at):
                continue
            first, count = int(at[0]), len(at)
            if int(at[-1]) - first + 1 != count:
                raise ModelError(
                    f'row {row}: rearrange="attention" needs one video in a row, got visual tokens '
                    'that do not stand together; use rearrange="features"'
                )
            assert self._per_frame is not None
            frames, rest = divmod(count, self._per_frame)
            if rest or frames % self._per_group:
                raise ModelError(
                    f'row {row}: rearrange="attention" needs the whole video in one pass, got '
                    f"{count} visual tokens, which are no whole groups; use "
                    'rearrange="features" for a prompt in chunks'
                )
            within = self.storage_order(count, self._per_frame).to(order.device)
            order[row, first : first + count] = within + first
        if not shows_one_video_a_row(is_visual, videos):
            raise ModelError(
                'rearrange="attention" needs one video in a row, got '
                f'{len(videos)} videos without text between them; use rearrange="features"'
            )
        return order

    def _check_units(self, units: int) -> None:
        frames = units * self._per_unit
        name = self._family.pixels
        if self._family.groups_are_real and units % self._per_group:
            raise ValueError(
                f"{name}: expected whole groups of {self._per_group} frames, got {frames} frames; "
                "intp_video.prepare() rounds up by repeating some"
            )
        if self._family.frames_are_of_one_video and units > self._most:
            raise ValueError(
                f"{name}: expected at most the {self._most * self._per_unit} frames the model was "
                f"extended to, got {frames}; restore() and extend(frames={frames})"
            )


class _Last(threading.local):
    """What this thread encoded last."""

    videos: list[VideoTokens] = []  # noqa: RUF012 - replaced, never changed


def _by_name(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """All arguments of a call by their names, in the order of the parameters."""
    bound = signature.bind(*args, **kwargs).arguments
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            bound.update(bound.pop(name, {}))
    return dict(bound)
