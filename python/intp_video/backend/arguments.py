"""The keyword arguments that models hand to the attention interface, and what becomes of them.

What would change the result is used or refused by name. Nothing is swallowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModelError

USED = {
    "scaling": "the factor on the scores",
    "is_causal": "where there is no mask",
    "sliding_window": "must be the window that the mask has",
    "softcap": "our kernels only; refused where torch's attention computes",
    "s_aux": "attention sinks; our kernels only, likewise",
    "dropout": "torch's attention only; our kernels refuse it: call `model.eval()`",
}

IGNORED = {
    "position_ids": "the model has rotated q and k already",
    "cache_position": "in the mask",
    "vision_feature_layer": "of other parts of a model",
    "vision_feature_select_strategy": "likewise",
    "logits_to_keep": "likewise",
    "use_cache": "likewise",
    "output_hidden_states": "likewise",
    "output_router_logits": "likewise",
    "return_dict": "likewise",
    "num_items_in_batch": "likewise",
}

_PACKED = "sequences packed in a row are told apart by position_ids alone"
REFUSED = {
    "output_attentions": 'attention weights are never built; use attn_implementation="eager" (an '
    "extended model: restore() first)",
    "sinks": "there are no attention sinks of this kind",
    "position_bias": "nothing is added to the scores",
    "cu_seq_lens_q": _PACKED,
    "cu_seq_lens_k": _PACKED,
    "max_length_q": _PACKED,
    "max_length_k": _PACKED,
    "head_mask": "heads are not switched off",
    "indices": "keys are not chosen one by one",
    "block_indices": "blocks of keys are not chosen",
}


def check_arguments(arguments: Mapping[str, Any], where: str = "") -> None:
    """Raise ModelError for an argument that is not ignored, by its name; a value that says "no" is
    no argument. ``where`` says where it is not implemented."""
    if IGNORED.keys() >= arguments.keys():
        return  # the usual case, in every layer
    for name, value in arguments.items():
        if name in IGNORED or value is None or value is False:
            continue
        why = REFUSED.get(name, f"it is not implemented{where or ' here'}")
        raise ModelError(
            f"the attention of this model takes {name}: {why}. The answer would be wrong, so there "
            "is none"
        )
