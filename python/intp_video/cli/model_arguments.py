"""Arguments that several commands share."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from ..errors import ModelError
from ..model_source import check_folder
from ..options import DTYPES, LOAD_IN, Options, number
from ..shipped import SMALL_MODEL
from ..video import BACKENDS, Part
from .console import say, whole_number


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        default="auto",
        help="dtype of weights and cache (default: auto, what the checkpoint was saved in)",
    )


def add_loading_arguments(parser: argparse.ArgumentParser, devices: str) -> None:
    """``--device``, ``--dtype`` and ``--load-in``; ``devices`` says what the default device is."""
    parser.add_argument(
        "--device", default="auto", help=f"cpu, cuda, cuda:1, ... (default: {devices})"
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--load-in",
        choices=LOAD_IN,
        help="pack the weights into fewer bits, by bitsandbytes or optimum-quanto, whichever is "
        "installed",
    )


def add_part_arguments(parser: argparse.ArgumentParser) -> None:
    """``--start``, ``--end`` and ``--fps``, as :func:`read_video` takes them."""
    for name, told in (
        ("start", "where the part to show begins (default: at the first frame)"),
        ("end", "where the part to show ends (default: at the end of the video)"),
    ):
        parser.add_argument(
            f"--{name}",
            type=float,
            metavar="SECONDS",
            help=told,
        )
    add_rate_argument(parser)


def add_rate_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fps",
        type=float,
        metavar="RATE",
        help="frames to show per second of video; --frames is then the most in all",
    )


def part_of(args: argparse.Namespace) -> dict[str, Any]:
    """Those of :func:`add_part_arguments`, checked."""
    part = Part(args.start, args.end, args.fps)
    part.check(args.command)
    return dataclasses.asdict(part)


def model_directory(name: str) -> str:
    """The directory or hub id that ``--model`` names; "small" is the model of the package."""
    if name == "small":
        return str(SMALL_MODEL)
    try:
        check_folder(name)
    except ModelError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def say_what_small_knows(model: str, *, quiet: bool) -> None:
    """Its answers about any other video look no different, and mean nothing."""
    if model == str(SMALL_MODEL):
        say(
            "note: this model knows drawn shapes, as in the video of intp-video demo, and nothing "
            "else",
            quiet=quiet,
        )


def add_answer_limits(parser: argparse.ArgumentParser) -> None:
    """How long an answer may be, and what decodes its video."""
    parser.add_argument(
        "--max-new-tokens",
        type=whole_number,
        default=64,
        metavar="T",
        help="the most tokens of an answer (default: 64)",
    )
    parser.add_argument(
        "--backend", choices=("auto", *BACKENDS), default="auto", help="the decoder (default: auto)"
    )


def add_option_arguments(parser: argparse._ActionsContainer, *names: str) -> None:
    """Fields of :class:`Options`, under the same names."""
    fields = {field.name: field for field in dataclasses.fields(Options)}
    for name in names:
        field = fields[name]
        flag, told = name.replace("_", "-"), field.metadata["told"]
        if field.default is True:
            parser.add_argument(f"--no-{flag}", dest=name, action="store_false", help=told)
            continue
        if field.default is not None:
            told += f" (default: {field.default})"
        parser.add_argument(
            f"--{flag}",
            type=_type_of(field),
            choices=field.metadata["choices"],
            default=field.default,
            metavar=field.metadata["unit"],
            help=told,
        )


def _type_of(field: dataclasses.Field) -> Callable[[str], Any]:
    if field.metadata["choices"] is not None:
        return str if isinstance(field.default, str) else number
    if field.name == "factor":
        return float
    return whole_number if field.metadata["least"] == 1 else int


def chosen_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those of :func:`add_option_arguments`, as :func:`intp_video.extend` takes them."""
    names = (field.name for field in dataclasses.fields(Options))
    return {name: getattr(args, name) for name in names if name != "frames" and name in args}


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
