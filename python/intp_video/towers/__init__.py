"""Video encoders that transformers does not have.

Importing this package makes them known to transformers' ``AutoConfig`` and ``AutoModel``, so that a
``vision_config`` of their model type builds them.
"""

from transformers import AutoConfig, AutoModel

from .temporal_clip import NoImageTower, TemporalClipConfig, TemporalClipModel, TemporalVideoLlava

__all__ = ["NoImageTower", "TemporalClipConfig", "TemporalClipModel", "TemporalVideoLlava"]

AutoConfig.register(TemporalClipConfig.model_type, TemporalClipConfig, exist_ok=True)
AutoModel.register(TemporalClipConfig, TemporalClipModel, exist_ok=True)
