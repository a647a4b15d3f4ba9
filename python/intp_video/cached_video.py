"""A video's part of a prompt in a cache: how it comes there, and how questions are asked behind it.

A :class:`GrowingVideo` says which tokens that part has, and where they stand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from .generation import generate
from .growing import GrowingVideo
from .hook import Handle
from .hook.cache import forgetting
from .models import family_for
from .processing.prompt import History
from .streaming import Emit, TextPieces


def empty_cache(model: PreTrainedModel) -> DynamicCache:
    """The default cache of a model, before it is extended or after."""
    return DynamicCache(config=family_for(model.config).text_model(model).config)


def layers_that_forget(cache: Cache) -> str:
    """Kinds of layers of an empty cache that do not keep every token (a sliding window, a recurrent
    state), so that no question can be taken back; empty where all do."""
    others = {type(layer).__name__ for layer in cache.layers if type(layer) is not DynamicLayer}
    return ", ".join(sorted(others))


def prefill(
    handle: Handle,
    cache: Cache,
    ids: torch.Tensor,
    positions: torch.Tensor,
    tensors: dict[str, torch.Tensor],
) -> None:
    """Encode frames, and put their tokens behind what is cached; without the language head.

    Args:
        handle: of the extended model.
        cache: what an earlier pass wrote, or an empty one.
        ids: int64 ``[S]``, the new tokens.
        positions: ``[1, S]`` or ``[3, 1, S]``.
        tensors: the frames, as the family's processing makes them.
    """
    model = handle.model
    pixels = {
        name: x.to(model.device, model.dtype if name.startswith("pixel_values") else None)
        for name, x in tensors.items()
    }
    handle.multimodal_module(
        input_ids=ids[None].to(model.device),
        position_ids=positions.to(model.device),
        use_cache=True,
        **pixels,
        **{handle.cache_argument: cache},
    )


def answer(
    handle: Handle,
    cache: Cache,
    video: GrowingVideo,
    question: str,
    max_new_tokens: int,
    history: History = (),
    on_text: Emit | None = None,
    **more: Any,
) -> str:
    """The greedy answer to a question behind a cached video; both are forgotten again.

    Args:
        handle: of the extended model.
        cache: holds the tokens that ``video.shown()`` has, in layers of the extended model alone.
        video: what is cached.
        question: in words, checked.
        max_new_tokens: the most tokens of the answer.
        history: turns about the same video before this one.
        on_text: called with pieces of the answer as they are decoded.
        **more: arguments of ``model.generate``.
    """
    prompt = video.prompt(question, history)[0]
    inputs = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
    more[handle.cache_argument] = cache
    if on_text is not None:
        more["streamer"] = TextPieces(video.preparer, on_text)
    positions = functools.partial(video.positions, question, history=history)
    with forgetting(cache), _positions_of(handle, cache, video, positions):
        return video.preparer.text_of(generate(handle.model, inputs, max_new_tokens, **more))


@contextmanager
def _positions_of(
    handle: Handle,
    cache: Cache,
    video: GrowingVideo,
    positions: Callable[[Any], torch.Tensor],
) -> Iterator[None]:
    """Positions of three axes for ``generate``, which knows nothing of the cached video; text goes
    on after the largest one, as in one pass. The offset that the stock model keeps between calls is
    put back."""
    if video.axes == 1:
        yield
        return
    module = handle.multimodal_module
    prompt = positions(module)
    length, largest = prompt.shape[-1], int(prompt.max())

    def put(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        begin = cache.get_seq_length()
        end = begin + kwargs["input_ids"].shape[1]
        after = largest + 1 + torch.arange(max(0, end - length), device=prompt.device)
        all_of_them = torch.cat((prompt, after.expand(3, 1, -1)), dim=-1)
        return args, {**kwargs, "position_ids": all_of_them[..., begin:end]}

    kept = module.rope_deltas
    module.rope_deltas = torch.full((1, 1), largest + 1 - length, device=prompt.device)
    hook = module.register_forward_pre_hook(put, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
        module.rope_deltas = kept
