"""Arguments that several commands share."""

import argparse
from typing import Any

from ..errors import ModelError
from ..model_source import check_folder
from ..shipped import SMALL_MODEL

DTYPES = ("auto", "float32", "bfloat16", "float16")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="auto",
        help="of weights and cache (default: auto, what the checkpoint was saved in)",
    )


def model_directory(name: str) -> str:
    """The directory or hub id that ``--model`` names; "small" is the model of the package."""
    if name == "small":
        return str(SMALL_MODEL)
    try:
        check_folder(name)
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def add_grouping_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--grouping",
        choices=("interleaved", "contiguous"),
        default="interleaved",
        help="which frames are encoded together: every m-th, or N in a row (default: interleaved)",
    )


def add_kv_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--kv-bits",
        type=int,
        choices=(2, 4, 8, 16),
        default=16,
        metavar="BITS",
        help="2, 4, 8 or 16: bits of a cached key or value, scales apart; 16 keeps the model's "
        "dtype (default: 16)",
    )


def torch_dtype(name: str) -> Any:
    """The torch dtype, or None for "auto"."""
    import torch

    return None if name == "auto" else getattr(torch, name)


def quiet_transformers() -> None:
    """Its loading bars and advice are not ours to show."""
    import huggingface_hub
    import transformers

    transformers.utils.logging.set_verbosity_error()
    huggingface_hub.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
