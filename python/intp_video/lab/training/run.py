"""A training run: stages of optimizer steps, a checkpoint to go on from, a log."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import ModelError
from .packing import Batch

LOG_EVERY = 50  # steps; also how many an average goes over
_WARM_UP = 100  # steps


class Run(ABC):
    """Model, optimizer and place on the way.

    A subclass says what a stage trains and what its loss is. The learning rate of each stage rises
    for 100 steps and falls as a cosine to a twentieth of ``recipe.learning_rate``.

    Args:
        directory: gets ``checkpoint.pt`` and ``log.jsonl`` (one line every 50 steps).
        recipe: a dataclass with a ``learning_rate``: everything that decides the result.
        device: of the model.
        model: to be trained.
        heads: used in training alone.
        stages: optimizer steps of each, in order.
        shown: averages that the progress bar shows.
        init_from: a directory with ``model.safetensors`` whose weights are the beginning.

    Raises:
        ModelError: ``directory`` holds a checkpoint of another recipe.
        OSError: it cannot be written, or ``init_from`` cannot be read.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        recipe: Any,
        device: str,
        *,
        model: Any,
        heads: nn.ModuleDict,
        stages: Mapping[str, int],
        shown: tuple[str, ...],
        init_from: str | os.PathLike | None = None,
    ) -> None:
        self.directory, self.recipe, self.device = Path(directory), recipe, device
        self.model, self.heads, self.stages = model, heads, dict(stages)
        self._shown = (*shown, "loss")
        self._stage, self._begin, self._resumed = next(iter(stages)), 0, None
        self.directory.mkdir(parents=True, exist_ok=True)
        checkpoint = self.directory / "checkpoint.pt"
        if checkpoint.exists():
            self._resume(torch.load(checkpoint, weights_only=True))
        elif init_from is not None:
            from safetensors.torch import load_file

            self.model.load_state_dict(load_file(Path(init_from) / "model.safetensors"))
        self.model.to(device)
        self.heads.to(device)
        self.recent: dict[str, deque] = defaultdict(lambda: deque(maxlen=LOG_EVERY))

    @abstractmethod
    def trained(self, stage: str) -> list[nn.Parameter]:
        """What this stage trains; freezes the rest."""

    @abstractmethod
    def loss(self, stage: str, step: int) -> torch.Tensor:
        """The loss of one step, a scalar; appends what the log shows to ``self.recent``."""

    def answer_loss(self, batch: Batch, pixels: torch.Tensor, kinds: Sequence[str]) -> torch.Tensor:
        """Cross-entropy of the answers, whose share of right ones is kept by kind of question."""
        batch = batch.to(self.device)
        hidden = self.model.model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            attention_mask=batch.attention_mask,
            pixel_values_videos=pixels.to(self.device),
            use_cache=False,
        ).last_hidden_state
        logits = self.model.lm_head(hidden[batch.row, batch.place]).float()
        right = logits.argmax(-1) == batch.token
        for number, kind in enumerate(kinds):
            self.recent[kind].append(right[batch.kind == number].float().mean().item())
        return F.cross_entropy(logits, batch.token)

    def train(self, *, save_every: int, quiet: bool) -> None:
        """All stages, or what is left of them."""
        names = list(self.stages)
        for stage in names[names.index(self._stage) :]:
            self._enter(stage)
            total = self.stages[stage]
            for step in self._steps(quiet):
                self._train_step(step)
                if step + 1 == total or (step + 1) % save_every == 0:
                    self._save(step + 1)

    def _resume(self, saved: dict[str, Any]) -> None:
        if saved["recipe"] != asdict(self.recipe):
            raise ModelError(
                f"train: {self.directory} holds a checkpoint of another recipe, {saved['recipe']}; "
                "give another directory"
            )
        self.model.load_state_dict(saved["model"])
        self.heads.load_state_dict(saved["heads"])
        self._stage, self._begin, self._resumed = saved["stage"], saved["step"], saved["optimizer"]

    def _enter(self, stage: str) -> None:
        if stage != self._stage:
            self._stage, self._begin = stage, 0
        self._trained = self.trained(stage)
        self._optimizer = torch.optim.AdamW(
            self._trained, lr=self.recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        if self._resumed is not None:
            self._optimizer.load_state_dict(self._resumed)
            self._resumed = None
        self.recent.clear()

    def _steps(self, quiet: bool) -> Iterator[int]:
        from tqdm import tqdm

        total = self.stages[self._stage]
        self._bar = tqdm(
            range(self._begin, total),
            desc=self._stage,
            initial=self._begin,
            total=total,
            file=sys.stderr,
            disable=quiet or None,  # None: on a terminal alone
        )
        return iter(self._bar)

    def _train_step(self, step: int) -> None:
        began = time.perf_counter()
        warm, done = min(1.0, (step + 1) / _WARM_UP), step / self.stages[self._stage]
        rate = self.recipe.learning_rate * warm * (0.05 + 0.475 * (1 + math.cos(math.pi * done)))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16):
            loss = self.loss(self._stage, step)
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.recent["loss"].append(loss.item())
        self.recent["seconds"].append(time.perf_counter() - began)
        if (step + 1) % LOG_EVERY == 0:
            self._log(step + 1, rate)

    def _log(self, step: int, rate: float) -> None:
        line = {name: round(sum(v) / len(v), 4) for name, v in self.recent.items()}
        line = {"stage": self._stage, "step": step, "rate": round(rate, 6), **line}
        with open(self.directory / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        self._bar.set_postfix({name: line[name] for name in self._shown if name in line})

    def _save(self, step: int) -> None:
        """The checkpoint, all or nothing."""
        draft = self.directory / "checkpoint.pt.part"
        torch.save(
            {
                "recipe": asdict(self.recipe),
                "stage": self._stage,
                "step": step,
                "model": self.model.state_dict(),
                "heads": self.heads.state_dict(),
                "optimizer": self._optimizer.state_dict(),
            },
            draft,
        )
        os.replace(draft, self.directory / "checkpoint.pt")


def tie_words(model: Any) -> None:
    """One table of words while training, so that what a word looks like, how it is said and what it
    asks for are learnt together; saved as the two that the architecture has."""
    model.lm_head.weight = model.get_input_embeddings().weight
