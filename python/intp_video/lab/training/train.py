"""Two stages, as Video-LLaVA was made: an encoder learns to see, then a language model to answer.

1. The video tower, with two linear heads on the class token of every frame: which shape, which
   color. It is frozen afterwards, as LanguageBind's is in Video-LLaVA.
2. Projector and language model, on questions about short clips of 8 frames.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..shapes import COLORS, KINDS, SHAPES
from .batches import make_clips, pack_questions
from .recipe import untrained_model, write_directory
from .run import Run, tie_words


@dataclass(frozen=True)
class Recipe:
    """What decides the result: the same recipe gives the same weights, on the same machine.

    Attributes:
        seed: of weights and worlds.
        tower_steps, answer_steps: optimizer steps of either stage.
        clips: short clips in a step; about a dozen questions each.
        learning_rate: at its highest; 100 steps of warm-up, then a cosine to a twentieth of it.
    """

    seed: int = 0
    tower_steps: int = 1000
    answer_steps: int = 2000
    clips: int = 32
    learning_rate: float = 1e-3


def train(
    directory: str | os.PathLike,
    recipe: Recipe,
    *,
    device: str = "cpu",
    init_from: str | os.PathLike | None = None,
    save_every: int = 250,
    quiet: bool = False,
) -> None:
    """Trains the small model, or goes on where it was interrupted.

    Args:
        directory: gets the model, ``checkpoint.pt`` and ``log.jsonl`` (one line every 50 steps).
        recipe: what to do; a checkpoint of another recipe is refused.
        device: of the model.
        init_from: a directory with ``model.safetensors`` whose weights are the beginning.
        save_every: steps between checkpoints.
        quiet: no progress bar.

    Raises:
        ModelError: ``directory`` holds a checkpoint of another recipe.
        OSError: it cannot be written, or ``init_from`` cannot be read.
    """
    run = _Run(directory, recipe, device, init_from)
    run.train(save_every=save_every, quiet=quiet)
    write_directory(run.directory, run.model)


class _Run(Run):
    def __init__(
        self,
        directory: str | os.PathLike,
        recipe: Recipe,
        device: str,
        init_from: str | os.PathLike | None,
    ) -> None:
        model = untrained_model(recipe.seed)
        tie_words(model)
        size = model.config.vision_config.hidden_size
        heads = {
            "shape": nn.Linear(size, len(SHAPES) + 1),
            "color": nn.Linear(size, len(COLORS) + 1),
        }
        super().__init__(
            directory,
            recipe,
            device,
            model=model,
            heads=nn.ModuleDict(heads),
            stages={"tower": recipe.tower_steps, "answers": recipe.answer_steps},
            shown=KINDS,
            init_from=init_from,
        )

    def trained(self, stage: str) -> list[nn.Parameter]:
        seeing = stage == "tower"
        self.model.requires_grad_(not seeing)
        self.model.model.video_tower.requires_grad_(seeing)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return [*trained, *self.heads.parameters()] if seeing else trained

    def loss(self, stage: str, step: int) -> torch.Tensor:
        # the two stages see different worlds
        offset = 0 if stage == "tower" else self.recipe.tower_steps
        clips = make_clips(self.recipe.seed, offset + step, self.recipe.clips)
        if stage == "tower":
            return self._see(clips)
        return self.answer_loss(pack_questions(clips), clips.pixels, KINDS)

    def _see(self, clips: Any) -> torch.Tensor:
        pixels = clips.pixels.flatten(0, 1).to(self.device)
        seen = self.model.model.video_tower(pixels).last_hidden_state[:, 0]
        loss: Any = 0
        for name, head in self.heads.items():
            label = getattr(clips, name).flatten().to(self.device)
            logits = head(seen).float()
            loss = loss + F.cross_entropy(logits, label)
            self.recent[name].append((logits.argmax(-1) == label).float().mean().item())
        return loss
