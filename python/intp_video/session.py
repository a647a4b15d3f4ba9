"""A video that grows: frames are added as they arrive, questions are asked in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from .cached_video import answer, empty_cache, layers_that_forget, prefill
from .errors import ModelError
from .growing import GrowingVideo
from .hook import extend
from .hook.cache import kv_cache_bytes
from .models import family_for
from .planning import text_reserve
from .preparation import Preparer, check_preparer
from .processing.grid import GridProcessing
from .processing.prompt import History
from .sampling import repeat_to_groups, round_up_to_groups
from .streaming import Emit
from .video import Clip, read_video
from .viewer import Viewer


class Session(Viewer):
    """Watches a growing video and answers, without a second prefill of old frames.

    Keys are cached unrotated (``kv_rotate="on_read"``). When the frames need a larger scaling
    factor, RoPE is stretched for everything that is cached: old and new keys stand at the positions
    a video of this length has.

    With a constant ``factor`` (given, or 1 while the video fits into the trained context), a
    session is one full forward pass in chunks, and equals it up to rounding at 16 bits. When the
    factor grows, all rotations and the first layer's keys and values still equal that pass. Those
    of deeper layers are an approximation: they come from hidden states that saw earlier tokens
    under the factor of that time. Frames are encoded in the groups in which they arrive
    ("contiguous"), which matters for encoders that attend over time. Questions and answers are
    forgotten: the next question sees only the video.

    Text between frames goes on from chunk to chunk, and so do the positions of M-RoPE, which the
    model itself counts over the whole prompt; they rarely leave training, and are then not
    stretched. Where a family chooses the size of frames by their number, that is ``frames``. A
    family whose prompt tells the length of a video first, or ends it with a token of its own,
    cannot grow. VideoLLaMA 3 leaves out no token of the first frame of a chunk.

    Args:
        model: a Hugging Face Video-LLM; extended until :meth:`close`.
        preparer: see :func:`intp_video.load`.
        frames: the most frames it will watch.
        rope: "none", "linear", "ntk" or "yarn".
        factor: a fixed factor; None: ``max(1, (positions of the frames so far + reserve) / L0)``,
            which grows.
        kv_bits: 16, 8, 4, 3, 2.5 or 2.
        **options: of :func:`intp_video.extend`: window, sink, ...

    Attributes:
        frames: frames watched so far.
        factor: scaling factor in use.

    Raises:
        ModelError: the family's prompt cannot grow (said at the first :meth:`add` where it shows
            there), or its cache has sliding or recurrent layers.
        ModelError, TypeError, ValueError: see :func:`intp_video.extend`.

    Example::

        with intp_video.Session(model, preparer, frames=256, kv_bits=4) as session:
            session.add(first_clip)
            print(session.ask("What happens?"))
            session.add(next_clip)
            print(session.ask("And now?"))
    """

    def __init__(
        self,
        model: PreTrainedModel,
        preparer: Preparer,
        frames: int = 256,
        *,
        rope: str = "yarn",
        factor: float | None = None,
        kv_bits: float = 16,
        **options: Any,
    ) -> None:
        check_preparer(preparer, "Session")
        if rope == "dynamic_ntk":
            raise ValueError(
                'Session: rope: expected "none", "linear", "ntk" or "yarn", got "dynamic_ntk"; '
                '"ntk" grows with the video here'
            )
        for name in ("span", "rearrange", "grouping", "kv_rotate", "fused"):
            if name in options:
                raise ValueError(
                    f"Session: {name}: expected not to be given, got {options[name]!r}"
                )
        family = family_for(model.config)
        if family.surplus_tokens(model.config):
            raise ModelError(
                f"Session: {family.model_type} ends every video with a token of its own, which "
                "would stand between the chunks of a growing one; use intp_video.ask"
            )
        cache = empty_cache(model)
        if others := layers_that_forget(cache):
            raise ModelError(
                f"Session: {family.model_type} caches in {others}, from which no question can be "
                "taken back; use intp_video.ask"
            )
        if family.groups_are_real:
            options["grouping"] = "contiguous"
        if isinstance(preparer.processing, GridProcessing):
            sized = replace(preparer.processing, sized_for=frames)
            preparer = replace(preparer, processing=sized)
        super().__init__(preparer)
        self._model = model
        self._video = GrowingVideo(preparer, 1 if family.mrope is None else 3)
        self._positions = torch.empty(0)  # of the tokens that are cached
        self._last = -1.0  # second of the newest frame
        self._grows = factor is None and rope != "none"
        self._handle = extend(
            model,
            frames,
            rope=rope,
            factor=1.0 if self._grows else factor,
            kv_bits=kv_bits,
            kv_rotate="on_read",
            **options,
        )
        self._cache = cache
        self.frames = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        if self._handle.active:
            self.close()

    def close(self) -> None:
        """Restore the model; an answer that is being streamed ends.

        Raises:
            ModelError: it is already closed.
        """
        self._stop_streaming()
        self._handle.restore()

    @property
    def factor(self) -> float:
        return self._handle.factor

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values in use, everything counted."""
        return kv_cache_bytes(self._cache)[0]

    @torch.no_grad()
    def add(self, clip: Clip | torch.Tensor | str | Path, **reading: Any) -> None:
        """Show the next frames: only they are encoded and prefilled.

        Args:
            clip: whole groups of N frames: a :class:`Clip`, or uint8 ``[M, height, width, 3]``, a
                second apart. Or a video file, whose frames fill up whole groups. A clip that begins
                before the last frame is taken to follow it.
            **reading: of :func:`read_video`, for a file: frames, start, end, fps, ...

        Raises:
            VideoError: the file cannot be read, or has no such part.
            ModelError: the family's prompt, or its positions in this transformers, cannot grow; or
                the session is closed.
            TypeError: not frames.
            ValueError: the groups are not whole, the session was made for fewer frames, or they
                have another size, or for positions in seconds another distance, than those before.

        A call that fails, or is interrupted, leaves the session as it was.
        """
        self._check_open("add")
        if isinstance(clip, str | Path):
            clip = self._read(clip, **reading)
        elif reading:
            raise TypeError(
                f"Session.add: {', '.join(reading)}: expected with a video file only, got "
                f"{type(clip).__name__}"
            )
        with self._alone("add"):
            self._add(clip)

    def _read(self, path: str | Path, frames: int | None = None, **reading: Any) -> Clip:
        group = self._preparer.frames_per_group
        if frames is not None:
            frames = round_up_to_groups(frames, group)
        clip = read_video(path, frames, **reading)
        return clip.take(repeat_to_groups(len(clip), group))

    def _add(self, clip: Clip | torch.Tensor) -> None:
        frames = clip.frames if isinstance(clip, Clip) else clip
        if not hasattr(frames, "__len__") or getattr(frames, "ndim", 1) == 0:
            raise TypeError(
                f"Session.add: clip: expected a Clip or frames [M, height, width, 3], got {clip!r}"
            )
        frames = torch.as_tensor(frames)
        count, group = len(frames), self._preparer.frames_per_group
        if count == 0 or count % group:
            raise ValueError(
                f"Session.add: clip: expected whole groups of {group} frames, got {count}; keep "
                "the rest for the next call"
            )
        if self.frames + count > self._handle.frames:
            raise ValueError(
                f"Session.add: clip: expected at most {self._handle.frames} frames in all, got "
                f"{self.frames} and {count} more; open a Session with more frames"
            )
        times = self._times(clip, count)
        made = self._preparer.processing.frames(frames, times)
        video, module = self._video.grown(made), self._handle.multimodal_module
        prompt, begin = video.shown(), self._cache.get_seq_length()
        positions = video.positions("?", module)[..., : len(prompt)]
        if begin and not torch.equal(positions[..., :begin], self._positions):
            raise ModelError(
                "Session.add: this release of transformers counts the positions of a frame by how "
                "many frames follow it (5.3 and 5.4 do), so what is cached would have to change"
            )
        factor = self.factor
        try:
            if self._grows:
                is_visual = prompt == self._preparer.video_token_id
                self._stretch(positions[..., is_visual], frames.shape[1:3])
            prefill(self._handle, self._cache, prompt[begin:], positions[..., begin:], made.tensors)
        except BaseException:  # the pass undoes itself
            if self.factor != factor:
                self._handle.restretch(self._cache, factor)
            raise
        self._video, self._positions, self._last = video, positions, times[-1]
        self.frames += count

    def _answer(
        self, question: str, history: History, max_new_tokens: int, on_text: Emit | None
    ) -> str:
        return answer(
            self._handle, self._cache, self._video, question, max_new_tokens, history, on_text
        )

    def _check_ready(self, method: str) -> None:
        self._check_open(method)
        if self._video.units is None:
            raise ValueError(f"Session.{method}: expected frames first, got none; call add()")

    def _check_open(self, method: str) -> None:
        if not self._handle.active:
            raise ModelError(f"Session.{method}: the session is closed already")

    def _times(self, clip: Clip | torch.Tensor, count: int) -> list[float]:
        """Seconds of the new frames, after those of the frames before."""
        times = clip.timestamps.tolist() if isinstance(clip, Clip) else list(range(count))
        if times[0] > self._last:
            return times
        step = (times[-1] - times[0]) / (count - 1) if count > 1 else 1.0
        return [self._last + step + time - times[0] for time in times]

    def _stretch(self, positions: torch.Tensor, size: torch.Size) -> None:
        """For the positions of all visual tokens; ``size`` is the height and width of a frame."""
        trained = self._handle.text_config.max_position_embeddings
        config, family = self._model.config, self._handle.family
        in_training = family.layout(config, family.frames_per_group(config), *size).positions
        used = int(positions.max() - positions.min()) + 1 + text_reserve(in_training, trained)
        distance = family.rope_distance(config, used)
        self._handle.restretch(self._cache, max(1.0, distance / trained))
