"""``intp-video frames``: a picture of the frames that would be shown to the model."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from ..sampling import repeat_to_groups, round_up_to_groups
from ..video import BACKENDS, Clip, check_video_file, read_video
from .console import (
    Stages,
    add_talk_arguments,
    check_writable,
    print_json,
    say,
    say_rounding,
    whole_number,
    write_atomically,
)
from .model_arguments import (
    add_option_arguments,
    add_part_arguments,
    model_directory,
    part_of,
    quiet_transformers,
)
from .progress import Progress

__all__ = ["add_arguments", "run"]

Box = tuple[float, float, float, float]  # left, top, right, bottom

_FRAMES_PER_GROUP = 8  # Video-LLaVA's
_LONGEST_NAME = 255  # bytes, of a file on any common file system
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", "": "PNG"}

_DESCRIPTION = """\
Draw the frames that a model would be shown: sampled evenly over the video, each with its time and
in the color of the group it is encoded in; and below, how the groups' output is rearranged into
time order. What a model does not see, because it crops to the middle, is faded. No model is needed:
without one, groups and crop are those of Video-LLaVA.

As in `ask`, a number of frames that does not fill whole groups is rounded up. What was lost or
repeated is said, in the picture too.

examples:
  intp-video frames video.mp4                          64 frames -> video.frames.png
  intp-video frames video.mp4 --frames 128 --out sheet.png
  intp-video frames video.mp4 --model DIR              with the groups and the crop of this model
  intp-video frames video.mp4 --frames 16 --json       times and groups, for programs
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "frames",
        help="draw the sampled frames, their groups and their order",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", metavar="VIDEO", help="a video file")
    parser.add_argument(
        "--frames",
        type=whole_number,
        default=64,
        metavar="M",
        help="frames to show; rounded up to whole groups (default: 64; a picture holds up to 512)",
    )
    parser.add_argument(
        "--frames-per-group",
        type=whole_number,
        metavar="N",
        help="how many frames the encoder takes at a time (default: the model's, or 8)",
    )
    parser.add_argument(
        "--model",
        type=model_directory,
        metavar="DIR_OR_ID",
        help="whose groups and crop (default: Video-LLaVA's)",
    )
    add_part_arguments(parser)
    add_option_arguments(parser, "grouping")
    parser.add_argument(
        "--backend", choices=("auto", *BACKENDS), default="auto", help="the decoder (default: auto)"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the picture, .png, .jpg or .webp (default: the video's name with .frames.png, in the "
        "current directory)",
    )
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..contact_sheet import MAX_SHEET_FRAMES, contact_sheet

    check_video_file(args.video)
    part = part_of(args)
    out = args.out or _default_name(args.video)
    picture = _format_of(out)
    check_writable(out)
    per_group, seen_of = _model(args)
    frames = round_up_to_groups(args.frames, per_group)
    if frames > MAX_SHEET_FRAMES:
        raise ValueError(f"--frames: a picture holds at most {MAX_SHEET_FRAMES} frames")
    stages = Stages(Progress(args.quiet))
    with stages.stage("decode") as stage:
        clip = read_video(args.video, frames, args.backend, **part)
        asked = len(clip) if args.fps is not None else args.frames
        clip = clip.take(repeat_to_groups(len(clip), per_group))
        stage.detail = f"{len(clip)} frames of {clip.extent}, with {clip.backend}"
    for note in clip.notes:
        say(f"note: {note}", quiet=args.quiet)
    say_rounding(asked, len(clip), per_group, quiet=args.quiet)
    seen = seen_of(*clip.frames.shape[1:3])
    with stages.stage("draw") as stage:
        image = contact_sheet(clip, per_group, args.grouping, seen)
        stage.detail = f"{image.width}x{image.height} pixels"
    with stages.stage("write"), write_atomically(out) as file:
        image.save(file, format=picture)
    stages.print_table(quiet=args.quiet)
    if args.json:
        print_json(
            _as_json(clip, per_group, args.grouping, seen, out) | {"stages": stages.as_json()}
        )
    else:
        print(out)
    return 0


def _default_name(video: str) -> str:
    """The video's with another ending, shortened where no file may have so long a name."""
    stem, ending = Path(video).stem, ".frames.png"
    while len(os.fsencode(stem + ending)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem + ending


def _format_of(out: str) -> str:
    """PIL's name of the kind of picture; a device without an ending gets PNG."""
    ending = Path(out).suffix.lower()
    if ending not in _FORMATS:
        known = ", ".join(filter(None, _FORMATS))
        raise ValueError(f"--out: expected a name that ends in {known}, got {out!r}")
    return _FORMATS[ending]


def _model(args: argparse.Namespace) -> tuple[int, Callable[[int, int], Box]]:
    """Frames per group, and what is seen of a frame of some height and width."""
    if args.model is None:
        return args.frames_per_group or _FRAMES_PER_GROUP, _center_square
    from ..preparation import Preparer

    quiet_transformers()
    preparer = Preparer.from_pretrained(args.model)
    if args.frames_per_group is not None:
        raise ValueError(
            "--frames-per-group: expected without --model, which says it "
            f"({preparer.frames_per_group}), got both"
        )
    return preparer.frames_per_group, preparer.processing.seen


def _center_square(height: int, width: int) -> Box:
    side = min(height, width)
    x, y = (width - side) / 2, (height - side) / 2
    return x, y, width - x, height - y


def _as_json(clip: Clip, per_group: int, grouping: str, seen: Box, out: str) -> dict:
    from ..grouping import encoder_order

    order = encoder_order(len(clip), per_group, grouping)
    place = order.argsort()  # of each frame, in encoder order
    return {
        "video": clip.path,
        "picture": out,
        "backend": clip.backend,
        "fps": clip.fps,
        "duration_seconds": clip.duration,
        "shown_seconds": {"start": clip.start, "end": clip.end},
        "size": {"width": clip.frames.shape[2], "height": clip.frames.shape[1]},
        "seen": dict(zip(("left", "top", "right", "bottom"), seen, strict=True)),
        "grouping": grouping,
        "frames_per_group": per_group,
        "groups": len(clip) // per_group,
        "frames": [
            {
                "index": int(clip.indices[frame]),
                "seconds": round(float(clip.timestamps[frame]), 6),
                "group": int(place[frame]) // per_group,
                "place_in_group": int(place[frame]) % per_group,
            }
            for frame in range(len(clip))
        ],
        "notes": list(clip.notes),
    }
