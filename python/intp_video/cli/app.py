"""``intp-video app``: a page in the browser."""

import argparse
import contextlib
import dataclasses
import importlib.util
import logging
import select
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..sampling import SAMPLINGS, round_up_to_groups
from ..shipped import SMALL_MODEL
from ..video import Part
from .ask import METHOD, device_of
from .console import Stages, add_talk_arguments, print_json, say
from .interrupts import interrupts
from .model_arguments import (
    add_answer_limits,
    add_loading_arguments,
    add_option_arguments,
    add_part_arguments,
    chosen_options,
    model_directory,
    part_of,
    quiet_transformers,
    torch_dtype,
)
from .progress import Progress

if TYPE_CHECKING:
    from ..app.page import Example

__all__ = ["add_arguments", "run"]

_DESCRIPTION = """\
Serve a page on this machine: drop a video, see the frames that are sampled, their groups and order,
and what they will take, before anything runs; ask questions, and see the answers as they come,
beside those of the model as it is. Nothing is fetched from the network, and nothing is sent to it.

Options given here are what the page begins with. Pages take turns at the model, and the video that
was asked about last stays encoded and prefilled. Ctrl-C ends it.

examples:
  intp-video app                                with the model of this package, and an example
  intp-video app --model DIR_OR_ID --frames 128 --window 32 --port 8000
  intp-video app --model DIR_OR_ID --load-in 4bit
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "app",
        help="a page to drop videos on and ask about them",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        type=model_directory,
        default="small",
        metavar="DIR_OR_ID",
        help="a Hugging Face Video-LLM (default: small, the one of this package)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="PORT",
        help="of http://127.0.0.1 (default: the first free one from 7860 on)",
    )
    add_option_arguments(parser, "frames")
    add_part_arguments(parser)
    add_option_arguments(parser.add_argument_group("method"), *METHOD)
    add_answer_limits(parser)
    parser.add_argument(
        "--sampling", choices=SAMPLINGS, default=SAMPLINGS[0], help="see ask (default: centers)"
    )
    add_loading_arguments(parser, "a GPU if there is one")
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("gradio") is None:
        raise ValueError('the page needs gradio: pip install "intp-ext[app]"')
    stages = Stages(Progress(args.quiet))
    with stages.stage("start"):
        part = Part(**part_of(args))
        device = device_of(args.device)
        from ..app.desk import Desk
        from ..app.page import Page, launch, make_page
        from ..app.showing import Choice, Projector
        from ..checkpoint import Checkpoint
        from ..quantized import quantizer

        quiet_transformers()
        logging.getLogger("httpx").setLevel(logging.WARNING)  # gradio asks itself whether it is up
        options = chosen_options(args)
        if args.load_in is not None:
            quantizer(args.load_in)
        checkpoint = Checkpoint(args.model)
        preparer = checkpoint.preparer()
        frames = round_up_to_groups(args.frames, preparer.frames_per_group)
        checkpoint.check_options(frames, **options)
        checkpoint.check_weights()
    with stages.stage("load"):
        dtype = torch_dtype(args.dtype)
        model = checkpoint.model(dtype=dtype, device=device, load_in=args.load_in)
    chosen = {field.name for field in dataclasses.fields(Choice)}
    fixed = {name: options[name] for name in chosen & options.keys()}
    choice = Choice(frames, **fixed, part=part)
    kept = {name: value for name, value in options.items() if name not in chosen}
    projector = Projector(
        checkpoint.config,
        preparer,
        model.dtype,
        backend=args.backend,
        sampling=args.sampling,
        grouping=args.grouping,
        factor=args.factor,
    )
    desk = Desk(model, preparer, args.max_new_tokens, **kept)
    name = "the model of this package" if args.model == str(SMALL_MODEL) else args.model
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    told = f"{name}: {parameters:,.1f} M parameters, {str(model.dtype)[6:]} on {device}"
    with interrupts() as stop, _example() as example, contextlib.closing(desk):
        with stages.stage("serve"):
            blocks = make_page(Page(desk, projector, told, choice, example))
            address = launch(blocks, args.port)
        stages.print_table(quiet=args.quiet)
        if args.json:
            print_json({"address": address})
        else:
            print(address, flush=True)
        say("Ctrl-C ends it", quiet=args.quiet)
        select.select([stop], [], [])
        desk.close()
        blocks.close(verbose=False)
    return 0


def _port(text: str) -> int:
    """An argparse type."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected 1 to 65535, got {text!r}")
    return int(text)


@contextlib.contextmanager
def _example() -> Iterator["Example"]:
    """The video of `demo`, rendered, and its questions; the file is there within the block."""
    from ..app.page import Example
    from ..lab.evaluation.question_file import SHAPES_FRAMES
    from ..lab.shapes import write_world
    from .demo import demo_world

    with tempfile.TemporaryDirectory(prefix="intp-video-") as folder:
        path = Path(folder) / "shapes.mp4"
        world, questions = demo_world()
        write_world(path, world, frames=SHAPES_FRAMES, size=128)
        yield Example(str(path), [question.text for question in questions])
