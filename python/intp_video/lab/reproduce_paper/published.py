"""What the paper reports (Shang et al., arXiv 2409.12963): sets, frames, accuracies."""

from __future__ import annotations

from dataclasses import dataclass

MODEL = "LanguageBind/Video-LLaVA-7B-hf"
STOCK_FRAMES = 8
INTP_FRAMES = 32  # what it recommends; at 64 it reports a loss of 3 to 4 points
FRAMES = (8, 16, 32, 64)  # of its ablation
SOURCE = (
    "arXiv 2409.12963, as reviews of it quote its tables; not read off the tables themselves, so "
    "check before you cite"
)


@dataclass(frozen=True)
class Benchmark:
    """A set of questions that the paper reports on.

    Attributes:
        name: as a file name.
        title: as the paper writes it.
        judge: whether answers are open, and judged by a language model; otherwise options are
            shown, and the one that is named counts.
        stock: accuracy of the model with its 8 frames, in per cent; None where it was not found.
        gain: points that 32 frames add to it.
    """

    name: str
    title: str
    judge: bool
    stock: float | None
    gain: float

    @property
    def intp(self) -> float | None:
        """Accuracy with 32 frames, in per cent."""
        return None if self.stock is None else round(self.stock + self.gain, 1)


BENCHMARKS = (
    Benchmark("msvd", "MSVD-QA", True, 70.7, 1.3),
    Benchmark("msrvtt", "MSRVTT-QA", True, 59.2, 2.2),
    Benchmark("activitynet", "ActivityNet-QA", True, 45.3, 3.6),
    Benchmark("nextqa", "NExT-QA", False, None, 2.2),
    Benchmark("egoschema", "EgoSchema", False, None, 1.6),
)
