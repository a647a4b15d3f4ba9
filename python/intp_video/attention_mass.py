"""Which frames an answer looked at: the attention that its tokens paid to the tokens of each."""

from __future__ import annotations

import torch


class AttentionMass:
    """Collects attention, layer by layer and token by token; a mean over heads, layers and tokens.

    Only the last row of a pass counts, which is the one that makes the next token. It sees every
    token, whatever the window of the frames.

    Args:
        visual: int64 ``[V]``, where the video's tokens stand in the cache.
        frame_of: int64 ``[V]``, the frame of each; several frames that share their tokens are
            counted as the first of them.
        frames: M.

    Example::

        with video.watch_attention() as mass:
            video.ask("What happens?")
        mass.frames  # float64 [M], sums to mass.on_video
    """

    def __init__(self, visual: torch.Tensor, frame_of: torch.Tensor, frames: int) -> None:
        self._visual, self._frame_of = visual, frame_of
        self._sum = torch.zeros(frames, dtype=torch.float64)
        self._calls = 0

    @property
    def frames(self) -> torch.Tensor:
        """float64 ``[M]``: the part of all attention that went to each frame; zeros before an
        answer."""
        return self._sum / max(1, self._calls)

    @property
    def on_video(self) -> float:
        """The part that went to the video; the rest went to text."""
        return float(self.frames.sum())

    def add(self, query: torch.Tensor, key: torch.Tensor, scaling: float) -> None:
        """One layer of one pass.

        Args:
            query: ``[1, Hq, S, D]``, rotated.
            key: ``[1, Hkv, K, D]``, rotated, in the order of time.
            scaling: of their products.
        """
        heads, dim = key.shape[1], key.shape[3]
        rows = query[0, :, -1].reshape(heads, -1, dim)
        shares = (rows.float() @ key[0].float().mT * scaling).softmax(dim=-1).mean(dim=(0, 1))
        visual = shares[self._visual.to(shares.device)].double().cpu()
        self._sum.index_add_(0, self._frame_of, visual)
        self._calls += 1
