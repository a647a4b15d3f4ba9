"""Our attention for any decoder-only model of transformers: ``attn_implementation="intp"``.

>>> import intp_video.backend
>>> model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="intp")

Importing this package registers it. ``import intp_video`` alone does not: transformers has to be
imported for that, which takes seconds that a command line may not need.

rules       which keys a query sees, read from a mask function of transformers
carrier     what a pass tells its attention layers in place of a mask
mask        the mask function
attention   the attention function
arguments   what a model hands to it: used, ignored, refused
fallback    what torch's own attention computes instead, said once
"""

from transformers import AttentionInterface, AttentionMaskInterface

from .attention import intp_attention
from .mask import intp_mask

__all__ = ["NAME", "register"]

NAME = "intp"


def register(attention=intp_attention, mask=intp_mask) -> None:
    """Let ``attn_implementation="intp"`` stand for these functions, from now on."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, mask)


register()
