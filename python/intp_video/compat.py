"""The differences between supported releases of transformers, and nothing else.

Each difference says which releases it is about and which test fails without it. Where possible, a
fact is looked up in what transformers hands us (a signature, an attribute), not in its version
number. A new difference belongs here; the rest of the package asks this module.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import logging
import re
from collections.abc import Callable
from typing import Any, NamedTuple

log = logging.getLogger("intp_video")

OLDEST, NEWEST_TESTED = "4.57.6", "5.24.0"
"""The ends of the table in docs/transformers.md (``tests/transformers_matrix.py`` writes it)."""


def transformers_version() -> str | None:
    """The installed version, found without an import; None if it is not installed."""
    try:
        return importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        return None


def tested_with() -> str:
    """One line: the installed version and the tested versions."""
    version = transformers_version()
    if version is None:
        return "not installed (pip install transformers)"
    return untested_note() or f"{version}, of {OLDEST} to {NEWEST_TESTED} that are tested"


def untested_note(version: str | None = None) -> str | None:
    """The note for a transformers that is newer than any release tested with this package."""
    version = version or transformers_version()
    if version is None or _release(version) <= _release(NEWEST_TESTED):
        return None
    return (
        f"{version}, newer than the newest that is tested ({NEWEST_TESTED}): what does not fit "
        "is an error, not a wrong answer; please report it"
    )


@functools.cache
def note_untested() -> None:
    """Log :func:`untested_note`, the first time in this process."""
    note = untested_note()
    if note is not None:
        log.warning("transformers %s", note)


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version; a pre-release counts as the release it leads to."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


# ---- the prompt ----


def takes_token_types() -> bool:
    """Whether models with positions in three directions find a video by ``mm_token_type_ids``.

    Since 5.3.0; before, ``generate`` refuses an argument of that name:
    ``test_token_types_are_given_to_releases_that_take_them``.
    """
    return _release(transformers_version() or "0") >= (5, 3)


def takes_text_between_patches() -> bool:
    """Whether Qwen3-VL counts the positions of a prompt as its own processor makes it.

    5.3 does not: it expects each video in one run of placeholders, and ends in a StopIteration at
    the text between the patches of time: ``test_qwen3_vl_is_refused_where_stock_cannot_run_it``.
    """
    return _release(transformers_version() or "0")[:2] != (5, 3)


def gemma4_counts_frames() -> bool:
    """Whether Gemma 4 takes the frames of all videos in one row, and how many are of each.

    Since a release between 5.17.0 and 5.20.2; before, each video has a dimension of its own:
    ``test_inputs_are_those_that_transformers_makes``.
    """
    try:
        from transformers.models.gemma4.modeling_gemma4 import Gemma4Model
    except ImportError:  # a release without it
        return True
    return "num_frames_per_video" in inspect.signature(Gemma4Model.forward).parameters


def gemma4_cached_heads(text_config: Any, place: int) -> tuple[int, int]:
    """Key heads, and the channels of each, of a layer: ``per_layer_config`` from 5.23 on at the
    latest, ``global_head_dim`` before: ``test_what_is_planned_for_gemma4``."""
    own = getattr(text_config, "per_layer_config", None)
    if own is not None:
        return own[place].num_key_value_heads, own[place].head_dim
    heads, channels = text_config.num_key_value_heads, text_config.head_dim
    if text_config.layer_types[place] == "full_attention":
        channels = text_config.global_head_dim or channels
        if text_config.attention_k_eq_v:
            heads = text_config.num_global_key_value_heads
    return heads, channels


# ---- the cache ----


_CACHE_ARGUMENTS = ("cache", "past_key_values")


def cache_argument(forward: Callable[..., Any]) -> str | None:
    """What ``forward`` calls its cache: "cache" from 5.24 on, "past_key_values" before.

    Every test of a cached pass needs it, tests/hf/test_stock_equality.py first of all.
    """
    names = inspect.signature(forward).parameters
    return next((name for name in _CACHE_ARGUMENTS if name in names), None)


def caches_recurrent_layers() -> bool:
    """Whether a ``DynamicCache`` has layers for recurrent states, too.

    Since a release between 5.4.0 and 5.10.4; before, Qwen3.5 has a cache of its own, without layers
    that could be replaced: ``test_a_cache_without_layers_is_refused``.
    """
    from transformers import cache_utils

    return hasattr(cache_utils, "LinearAttentionLayer")


def take_cache(arguments: dict[str, Any]) -> Any:
    """Remove the cache from the arguments of a forward pass, whichever name it has.

    5.24 accepts the old name too, but inside the function, after our hook has looked:
    ``test_both_names_of_the_cache``.
    """
    given = [arguments.pop(name) for name in _CACHE_ARGUMENTS if name in arguments]
    return next((cache for cache in given if cache is not None), None)


def cache_of(output: Any) -> Any:
    """The cache in what a forward pass returned, an output object or a tuple; None without one."""
    from transformers.cache_utils import Cache

    if isinstance(output, tuple):
        return next((part for part in output if isinstance(part, Cache)), None)
    return next((output[name] for name in _CACHE_ARGUMENTS if name in output), None)


class CacheLayerNames:
    """The names that releases have for one method of a cache layer.

    ``get_max_cache_shape`` up to 5.10, ``get_max_length`` from 5.17 on at the latest:
    ``test_kv_bits.py``, which generates over packed layers.
    """

    max_cache_len: int | None

    def get_max_length(self) -> int:
        return self.max_cache_len or -1

    get_max_cache_shape = get_max_length


def length_after_crop(tokens: int, length: int) -> int:
    """The length that remains after ``crop(tokens)``.

    Up to 5.10 ``tokens`` is the length to keep, or minus the number to drop; from 5.17 on it is
    always minus the number to drop: ``test_cropped_by_hand``. 5.17 crops by a tensor when it
    decodes with an assistant: ``test_assisted_decoding``.
    """
    tokens = int(tokens)
    return max(0, min(length + tokens if tokens <= 0 else tokens, length))


STATIC_CACHE = "_cache"
"""Where ``generate`` keeps its static cache for the next call, up to 5.10:
``test_at_16_bits_generate_is_the_stock_one``."""


# ---- masks ----


def mask_makers(model: Any) -> tuple[str, ...]:
    """What ``generate`` calls on the model to make the masks of a static cache before the pass.

    An instance attribute of that name that returns the padding mask as it is keeps them away, and
    the mask is made inside the pass, for each type of layer. The first is looked up in every
    release, and makes a dict where the text config has ``layer_types``:
    tests/hf/test_text_models.py. The second, up to 5.0, makes a whole ``[B, 1, Q, K]`` mask past
    the mask interface: ``test_static_cache``.
    """
    whole = "_prepare_4d_causal_attention_mask_with_cache_position"
    return ("create_masks_for_generate", *((whole,) if hasattr(model, whole) else ()))


class MaskRows(NamedTuple):
    """The rows that transformers asks its mask interface for.

    Attributes:
        arguments: in transformers' own words.
        first: the index of the first, an int or a tensor ``[]``.
        number: of the rows.
    """

    arguments: dict[str, Any]
    first: Any
    number: int


def mask_rows(arguments: dict[str, Any]) -> MaskRows | None:
    """Take out of the arguments which rows are asked for; None where they do not say it.

    ``cache_position`` up to 5.3, ``q_length, q_offset`` from 5.4 on: test_stock_equality.py.
    """
    if (positions := arguments.pop("cache_position", None)) is not None:
        return MaskRows({"cache_position": positions}, positions[0], positions.shape[0])
    rows: dict[str, Any] = {n: arguments.pop(n) for n in ("q_length", "q_offset") if n in arguments}
    return MaskRows(rows, rows["q_offset"], rows["q_length"]) if len(rows) == 2 else None


# ---- video features ----


def merges_features_itself(model: Any, encoder: str) -> bool:
    """Whether the whole model merges features into embeddings, and not its ``model``.

    So do the thinkers of Qwen Omni up to 5.20; in 5.23 they have a part that does it:
    tests/hf/test_families.py.
    """
    inner = getattr(model, "model", None)
    return hasattr(model, "lm_head") and hasattr(model, encoder) and not hasattr(inner, encoder)


def pooled_features(output: Any) -> Any:
    """Features in what ``get_video_features`` returned: (features, frames) in 4.57, an output
    object from 5.0 on. tests/hf/test_grouping.py."""
    return output[0] if isinstance(output, tuple) else output.pooler_output


def output_with_features(output: Any, features: Any, frames: int) -> Any:
    """The same kind of output, with these features."""
    if isinstance(output, tuple):
        return features, frames
    return type(output)(pooler_output=features)


# ---- RoPE ----


def rope_theta(config: Any) -> float:
    """``rope_parameters["rope_theta"]`` from 5.0 on, ``rope_theta`` in 4.57: test_long_video.py."""
    parameters = getattr(config, "rope_parameters", None) or {}
    parameters = parameters.get("full_attention", parameters)  # by type of layer: Gemma 4
    return float(parameters.get("rope_theta") or config.rope_theta)


def mrope_section(text_model: Any) -> list[int] | None:
    """Frequencies by axis of M-RoPE: on the rotary module from 5.17 on (Qwen3-VL always), in
    ``rope_scaling`` of the config before. tests/hf/test_families.py."""
    config = text_model.config
    parameters = (
        getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    )
    own = getattr(text_model.rotary_emb, "mrope_section", None)
    return own or parameters.get("mrope_section")
