"""One stage: tower, projector and language model together, on questions about moves.

The gradient of the answers reaches the tower's attention over time. Beside it, linear heads on the
patches learn to tell of a shape in them which way it moves, how fast, whether it has begun, and
whether it is the first; without them the tower finds motion much later.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...motion import KINDS
from ..run import Run, tie_words
from .batches import LABELS, make_clips, pack_questions
from .recipe import untrained_model, write_directory


@dataclass(frozen=True)
class Recipe:
    """What decides the result: the same recipe gives the same weights, on the same machine.

    Attributes:
        seed: of weights and worlds.
        steps: of the optimizer.
        clips: short clips in a step; six questions each, or one.
        learning_rate: at its highest; 100 steps of warm-up, then a cosine to a twentieth of it.
    """

    seed: int = 0
    steps: int = 3000
    clips: int = 32
    learning_rate: float = 1.5e-3


def train(
    directory: str | os.PathLike,
    recipe: Recipe,
    *,
    device: str = "cpu",
    save_every: int = 250,
    quiet: bool = False,
) -> None:
    """Trains the model of the motion task, or goes on where it was interrupted.

    Args:
        directory: gets the model, ``checkpoint.pt`` and ``log.jsonl`` (one line every 50 steps).
        recipe: what to do; a checkpoint of another recipe is refused.
        device: of the model.
        save_every: steps between checkpoints.
        quiet: no progress bar.

    Raises:
        ModelError: ``directory`` holds a checkpoint of another recipe.
        OSError: it cannot be written.
    """
    run = _Run(directory, recipe, device)
    run.train(save_every=save_every, quiet=quiet)
    write_directory(run.directory, run.model)


class _Run(Run):
    def __init__(self, directory: str | os.PathLike, recipe: Recipe, device: str) -> None:
        model = untrained_model(recipe.seed)
        tie_words(model)
        size = model.config.vision_config.hidden_size
        heads = {name: nn.Linear(size, n) for name, n in LABELS.items()}
        super().__init__(
            directory,
            recipe,
            device,
            model=model,
            heads=nn.ModuleDict(heads),
            stages={"together": recipe.steps},
            shown=KINDS,
        )
        model.model.video_tower.register_forward_hook(self._keep)

    def _keep(self, tower: nn.Module, inputs: Any, output: Any) -> None:
        self._seen = output.last_hidden_state[:, 1:]  # [B * 8, 9, D], the patches

    def trained(self, stage: str) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self.heads.parameters()]

    def loss(self, stage: str, step: int) -> torch.Tensor:
        clips = make_clips(self.recipe.seed, step, self.recipe.clips)
        answers = self.answer_loss(pack_questions(clips), clips.pixels, KINDS)
        self.recent["answers"].append(answers.item())
        return answers + self._seeing(clips.labels)

    def _seeing(self, labels: dict[str, torch.Tensor]) -> torch.Tensor:
        loss = torch.zeros((), device=self.device)
        for name, head in self.heads.items():
            label = labels[name].flatten().to(self.device)
            logits = head(self._seen).float().flatten(0, 1)
            right = logits.argmax(-1) == label
            self.recent[f"sees {name}"].append(right[label > 0].float().mean().item())
            loss = loss + F.cross_entropy(logits, label)
        return loss
