"""A Video-LLM on disk or on the hub, and everything that is made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from .errors import ModelError
from .hook import extend
from .model_source import check_weights, load_config
from .models import empty_model, family_for
from .preparation import Preparer
from .quantized import quantization
from .reasons import in_one_line


class Checkpoint:
    """A Hugging Face directory or hub id of a Video-LLM; its config.json is read once, here.

    Attributes:
        source: the directory or id.
        config: of the model.

    Raises:
        ModelError: there is no config, or its model type is not known.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = source
        self.config = load_config(source)
        self._family = family_for(self.config)

    def preparer(self) -> Preparer:
        """What prepares inputs.

        Raises:
            ModelError: there are no tokenizer or preprocessor values.
        """
        return Preparer.from_pretrained(self.source, self.config)

    def check_weights(self) -> None:
        """Say what is wrong with the weight files, reading only their headers.

        Raises:
            ModelError: see :func:`intp_video.model_source.check_weights`.
        """
        check_weights(self.source)

    def empty_model(self) -> PreTrainedModel:
        """The model with shapes but without weights.

        Raises:
            ModelError: config.json describes no model.
        """
        try:
            return empty_model(self.config)
        except Exception as error:  # a number in a config can lead to anything
            raise ModelError(
                f"{self.source}: no model in config.json: {in_one_line(error)}"
            ) from error

    def check_options(self, frames: int, **options: Any) -> None:
        """Say what is wrong with options of :func:`extend`, without reading the weights.

        Raises:
            ModelError, TypeError, ValueError: as :func:`extend`.
        """
        extend(self.empty_model(), frames, **options).restore()

    def model(
        self,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        load_in: str | None = None,
        **parallel: Any,
    ) -> PreTrainedModel:
        """The model with its weights, for inference.

        Args:
            dtype: of the weights; None for the config's own.
            device: where it goes, unless ``parallel`` says it.
            load_in: "4bit" or "8bit": weights that a library packs, bitsandbytes or
                optimum-quanto, whichever is installed.
            **parallel: ``device_map``, ``tp_plan`` or ``distributed_config``, as
                ``from_pretrained`` takes them (docs/parallel.md).

        Raises:
            ModelError: weights are missing, are damaged, or do not match the config; or what packs
                them is not installed.
            ValueError: ``load_in`` is neither None, "4bit" nor "8bit"; torch knows no such device.
        """
        where = _torch_device(device)
        self.check_weights()
        model_class = self._family.model_class(self.config)
        placed = dict(parallel)
        if load_in is not None:
            own = dtype or getattr(self.config, "dtype", None) or torch.float32
            placed["quantization_config"] = quantization(load_in, own)
            placed.setdefault("device_map", {"": where})  # packed weights do not move
        try:
            model, found = model_class.from_pretrained(
                self.source, dtype=dtype or "auto", output_loading_info=True, **placed
            )
        except Exception as error:  # whatever is wrong with the files: OSError, SafetensorError
            raise ModelError(f"{self.source}: no weights: {in_one_line(error)}") from error
        if missing := found["missing_keys"]:  # transformers makes random ones for them
            raise ModelError(
                f"{self.source}: the weights lack {len(missing)} tensors of the model, "
                f"{min(missing)} among them"
            )
        return (model if placed else model.to(where)).eval()


def load(
    directory: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    load_in: str | None = None,
    **parallel: Any,
) -> tuple[PreTrainedModel, Preparer]:
    """A Video-LLM and what prepares its inputs, from a Hugging Face directory or hub id.

    Args:
        directory: with config.json, weights, tokenizer and preprocessor values; or a hub id.
        dtype: of the weights; None for the config's own.
        device: where the model goes. A GPU is used only if you name it.
        load_in: "4bit" or "8bit" to pack the weights, see :meth:`Checkpoint.model`.
        **parallel: ``device_map``, ``tp_plan`` and the like, see there.

    Raises:
        ModelError: something is missing or broken there, or the model type is not known.
        ValueError: ``load_in`` is neither None, "4bit" nor "8bit"; torch knows no such device.
    """
    checkpoint = Checkpoint(directory)
    return checkpoint.model(
        dtype=dtype, device=device, load_in=load_in, **parallel
    ), checkpoint.preparer()


def _torch_device(name: torch.device | str) -> torch.device:
    try:
        return torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device: expected one of torch's, such as 'cpu' or 'cuda:0', got {name!r}"
        ) from error
