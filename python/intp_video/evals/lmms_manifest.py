"""What the entry point ``lmms_eval.models`` names: how lmms-eval finds the model."""

from typing import Any


def manifest() -> Any:
    """``--model intp_video``; with ``--force_simple``, tasks that want likelihoods run too."""
    from lmms_eval.models.registry_v2 import ModelManifest

    folder = f"{__package__}.lmms_model"
    return ModelManifest(
        model_id="intp_video",
        chat_class_path=f"{folder}.IntpVideo",
        simple_class_path=f"{folder}.IntpVideoSimple",
    )
