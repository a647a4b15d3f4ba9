"""Video models of transformers that cannot be extended, and why."""

from __future__ import annotations

_SPARSE = "its attention is sparse by an indexer of its own, which a window would contradict"
_RECURRENT = (
    "most of its layers are recurrent or convolutional: a window over frames has no meaning"
)
_ONE_PAGE = "it reads pages, not videos"
_TALKS = "it hears and talks, too; its thinker sees: extend model.thinker"

WHY_NOT: dict[str, str] = {
    "dots3_note": _SPARSE,
    "ernie4_5_vl_moe": "its timestamps are drawn into the pixels, which takes a font",
    "gemma4_unified": "it has no encoder: patches of frames go into the decoder as they are",
    "glm5_next": _SPARSE,
    "glm_ocr": _ONE_PAGE,
    "hy_v4_vl": _SPARSE,
    "instructblipvideo": "its features depend on the question (Q-Former), written for 4 frames",
    "kimi_k25": "it averages the frames of a clip: there are no tokens to bring into order",
    "lfm3_vl": _RECURRENT,
    "minicpm_ocr": _ONE_PAGE,
    "minimax_m3_vl": _SPARSE,
    "molmo2": "its frames see each other both ways, which causal kernels do not do",
    "nemotron_h_omni": _RECURRENT,
    "paddleocr_vl": _ONE_PAGE,
    "perception_lm": "its encoder comes from timm, which is not among our packages",
    "qwen2_5_omni": _TALKS,
    "qwen3_omni_moe": _TALKS,
    "qwen4_exp": _SPARSE,
}
