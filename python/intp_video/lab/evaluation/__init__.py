"""How often a model answers right, over ways of showing it more frames: ``intp-video eval``."""

from ...records.digests import weights_digest
from .arms import METHODS, Arm, arms_of
from .folder import exclusive
from .question_file import BadLine, VideoQuestion, read_questions, shapes_questions
from .report import summarize, write_report
from .run import evaluate
from .scoring import is_right

__all__ = [
    "METHODS",
    "Arm",
    "BadLine",
    "VideoQuestion",
    "arms_of",
    "evaluate",
    "exclusive",
    "is_right",
    "read_questions",
    "shapes_questions",
    "summarize",
    "weights_digest",
    "write_report",
]
