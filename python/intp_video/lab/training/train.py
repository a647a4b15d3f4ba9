"""Two stages, as Video-LLaVA was made: an encoder learns to see, then a language model to answer.

1. The video tower, with two linear heads on the class token of every frame: which shape, which
   color. It is frozen afterwards, as LanguageBind's is in Video-LLaVA.
2. Projector and language model, on questions about short clips of 8 frames.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import ModelError
from ..shapes import COLORS, KINDS, SHAPES
from .batches import Batch, make_clips, pack_questions
from .recipe import untrained_model, write_directory

STAGES = ("tower", "answers")
LOG_EVERY = 50  # steps; also how many an average goes over


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
    run = _Run(Path(directory), recipe, device, init_from)
    for stage in STAGES[STAGES.index(run.stage) :]:
        run.enter(stage)
        for step in run.steps(quiet):
            run.train_step(step)
            last = step + 1 == run.total
            if last or (step + 1) % save_every == 0:
                run.save(step + 1)
    write_directory(run.directory, run.model)


class _Run:
    """Model, optimizer and place on the way."""

    def __init__(self, directory: Path, recipe: Recipe, device: str, init_from: Any) -> None:
        self.directory, self.recipe, self.device = directory, recipe, device
        self.model = untrained_model(recipe.seed)
        # One table of words while training, so that what a word looks like, how it is said and what
        # it asks for are learnt together; saved as the two that the architecture has.
        self.model.lm_head.weight = self.model.get_input_embeddings().weight
        size = self.model.config.vision_config.hidden_size
        self.heads = nn.ModuleDict(
            {
                "shape": nn.Linear(size, len(SHAPES) + 1),
                "color": nn.Linear(size, len(COLORS) + 1),
            }
        )
        self.stage, self.begin, self.resumed = STAGES[0], 0, None
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / "checkpoint.pt").exists():
            self._resume(torch.load(directory / "checkpoint.pt", weights_only=True))
        elif init_from is not None:
            from safetensors.torch import load_file

            self.model.load_state_dict(load_file(Path(init_from) / "model.safetensors"))
        self.model.to(device)
        self.heads.to(device)
        self.recent: dict[str, deque] = defaultdict(lambda: deque(maxlen=LOG_EVERY))

    def _resume(self, saved: dict[str, Any]) -> None:
        if saved["recipe"] != asdict(self.recipe):
            raise ModelError(
                f"train: {self.directory} holds a checkpoint of another recipe, {saved['recipe']}; "
                "give another directory"
            )
        self.model.load_state_dict(saved["model"])
        self.heads.load_state_dict(saved["heads"])
        self.stage, self.begin, self.resumed = saved["stage"], saved["step"], saved["optimizer"]

    def enter(self, stage: str) -> None:
        """Freeze what this stage does not train, and give the rest a fresh optimizer."""
        if stage != self.stage:
            self.stage, self.begin = stage, 0
        seeing = stage == "tower"
        self.total = self.recipe.tower_steps if seeing else self.recipe.answer_steps
        tower = self.model.model.video_tower
        self.model.requires_grad_(not seeing)
        tower.requires_grad_(seeing)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        trained += self.heads.parameters() if seeing else ()
        self.trained = trained
        self.optimizer = torch.optim.AdamW(
            trained, lr=self.recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        if self.resumed is not None:
            self.optimizer.load_state_dict(self.resumed)
            self.resumed = None
        self.recent.clear()

    def steps(self, quiet: bool) -> Iterator[int]:
        from tqdm import tqdm

        numbers = range(self.begin, self.total)
        self.bar = tqdm(
            numbers,
            desc=self.stage,
            initial=self.begin,
            total=self.total,
            file=sys.stderr,
            disable=quiet or None,  # None: on a terminal alone
        )
        return iter(self.bar)

    def train_step(self, step: int) -> None:
        began = time.perf_counter()
        warm, done = min(1.0, (step + 1) / 100), step / self.total
        rate = self.recipe.learning_rate * warm * (0.05 + 0.475 * (1 + math.cos(math.pi * done)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # the two stages see different worlds
        offset = 0 if self.stage == "tower" else self.recipe.tower_steps
        clips = make_clips(self.recipe.seed, offset + step, self.recipe.clips)
        with torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16):
            loss = self._see(clips) if self.stage == "tower" else self._answer(clips)
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.recent["loss"].append(loss.item())
        self.recent["seconds"].append(time.perf_counter() - began)
        if (step + 1) % LOG_EVERY == 0:
            self._log(step + 1, rate)

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

    def _answer(self, clips: Any) -> torch.Tensor:
        batch = pack_questions(clips)
        batch = Batch(**{name: value.to(self.device) for name, value in vars(batch).items()})
        hidden = self.model.model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            pixel_values_videos=clips.pixels.to(self.device),
            use_cache=False,
        ).last_hidden_state
        logits = self.model.lm_head(hidden[batch.row, batch.place]).float()
        right = logits.argmax(-1) == batch.token
        for number, kind in enumerate(KINDS):
            self.recent[kind].append(right[batch.kind == number].float().mean().item())
        return F.cross_entropy(logits, batch.token)

    def _log(self, step: int, rate: float) -> None:
        line = {name: round(sum(v) / len(v), 4) for name, v in self.recent.items()}
        line = {"stage": self.stage, "step": step, "rate": round(rate, 6), **line}
        with open(self.directory / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        self.bar.set_postfix({name: line[name] for name in line if name in (*KINDS, "loss")})

    def save(self, step: int) -> None:
        """The checkpoint, all or nothing."""
        draft = self.directory / "checkpoint.pt.part"
        torch.save(
            {
                "recipe": asdict(self.recipe),
                "stage": self.stage,
                "step": step,
                "model": self.model.state_dict(),
                "heads": self.heads.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            },
            draft,
        )
        os.replace(draft, self.directory / "checkpoint.pt")
