"""Long videos for Hugging Face Video-LLMs, without training (INTP, arXiv 2409.12963).

>>> handle = intp_video.extend(model, frames=64)
>>> inputs = intp_video.prepare(model_dir, "video.mp4", "What happens?", frames=64)
>>> ids = model.generate(**inputs, max_new_tokens=64)
>>> handle.restore()
"""

TYPE_CHECKING = False  # as type checkers know it: the command line begins with this file
if TYPE_CHECKING:
    from typing import Any

    from .answering import Answer, ask
    from .checkpoint import Checkpoint, load
    from .errors import IntpVideoError, ModelError, VideoError
    from .hook import Handle, extend
    from .lab.random_model import make_random_model
    from .options import Options
    from .planning import Plan, plan
    from .preparation import Preparer, prepare
    from .session import Session
    from .shipped import SMALL_MODEL
    from .streaming import AnswerStream
    from .video import Clip, read_video
    from .viewer import Viewer
    from .watching import WatchedVideo

# Imported when asked for: torch and transformers take seconds, and not every command needs them.
_HOMES = {
    "answering": ("Answer", "ask"),
    "checkpoint": ("Checkpoint", "load"),
    "errors": ("IntpVideoError", "ModelError", "VideoError"),
    "hook": ("Handle", "extend"),
    "lab.random_model": ("make_random_model",),
    "options": ("Options",),
    "planning": ("Plan", "plan"),
    "preparation": ("Preparer", "prepare"),
    "session": ("Session",),
    "shipped": ("SMALL_MODEL",),
    "streaming": ("AnswerStream",),
    "video": ("Clip", "read_video"),
    "viewer": ("Viewer",),
    "watching": ("WatchedVideo",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SMALL_MODEL",
    "Answer",
    "AnswerStream",
    "Checkpoint",
    "Clip",
    "Handle",
    "IntpVideoError",
    "ModelError",
    "Options",
    "Plan",
    "Preparer",
    "Session",
    "VideoError",
    "Viewer",
    "WatchedVideo",
    "ask",
    "extend",
    "load",
    "make_random_model",
    "plan",
    "prepare",
    "read_video",
]


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
