"""Which tensor of the original layout becomes which of ``TemporalVideoLlava``.

The checkpoint is a Llama with a projector, ``nn.Sequential(Linear, GELU, Linear)``, and where they
were saved with it the towers; a tower in a directory of its own is a whole CLIP.
"""

from __future__ import annotations

from collections.abc import Mapping

TEXT, PROJECTOR, TOWER = (
    "model.language_model.",
    "model.multi_modal_projector.",
    "model.video_tower.",
)

EMBEDDING, HEAD = TEXT + "embed_tokens.weight", "lm_head.weight"
"""The two with a row for every token."""

CHECKPOINT = {
    "model.embed_tokens.": TEXT + "embed_tokens.",
    "model.layers.": TEXT + "layers.",
    "model.norm.": TEXT + "norm.",
    "model.mm_projector.0.": PROJECTOR + "linear_1.",
    "model.mm_projector.2.": PROJECTOR + "linear_2.",
    "model.video_tower.video_tower.": TOWER,
    "lm_head.": "lm_head.",
}
CHECKPOINT_DROPPED = {"model.image_tower.": "image tower, which a model for videos does not have"}

TOWER_DIRECTORY = {"vision_model.": TOWER}
_CLIP = "the text side and projections of the tower's CLIP"
TOWER_DIRECTORY_DROPPED = dict.fromkeys(
    ("text_model.", "text_projection.", "visual_projection.", "logit_scale"), _CLIP
)

_MADE_ANEW = (".position_ids", ".rotary_emb.inv_freq")  # constants that old releases saved


def renamed(
    name: str, prefixes: Mapping[str, str], dropped: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """``(our name, None)``, ``(None, why it is dropped)``, or ``(None, None)``: unknown."""
    if name.endswith(_MADE_ANEW):
        return None, "constants that the model makes anew"
    for prefix, reason in dropped.items():
        if name.startswith(prefix):
            return None, reason
    for prefix, ours in prefixes.items():
        if name.startswith(prefix):
            return ours + name.removeprefix(prefix), None
    return None, None
