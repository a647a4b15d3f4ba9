"""``intp-video frames``: a picture of the frames that would be shown to the model."""

import argparse
from pathlib import Path

from ..sampling import repeat_to_groups, round_up_to_groups
from ..video import BACKENDS, Clip, read_video
from .console import (
    Stages,
    add_talk_arguments,
    frame_count,
    print_json,
    say,
    write_atomically,
)
from .model_arguments import add_grouping_argument

__all__ = ["add_arguments", "run"]

_DESCRIPTION = """\
Draw the frames that a model would be shown: sampled evenly over the video, each with its time and
in the colour of the group it is encoded in; and below, how the groups' output is rearranged into
time order. No model is needed.

A number of frames that does not fill whole groups is rounded up by showing some frames twice.
What was lost or repeated is said, in the picture too.

examples:
  intp-video frames video.mp4                          64 frames -> video.frames.png
  intp-video frames video.mp4 --frames 128 --out sheet.png
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
        type=frame_count,
        default=64,
        metavar="M",
        help="how many frames to sample (default: 64; a picture holds up to 512)",
    )
    parser.add_argument(
        "--frames-per-group",
        type=frame_count,
        default=8,
        metavar="N",
        help="how many frames the encoder takes at a time (default: 8, Video-LLaVA's)",
    )
    add_grouping_argument(parser)
    parser.add_argument(
        "--backend", choices=("auto", *BACKENDS), default="auto", help="the decoder (default: auto)"
    )
    parser.add_argument(
        "--out",
        metavar="PNG",
        help="the picture (default: the video's name with .frames.png, in the current directory)",
    )
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..contact_sheet import MAX_SHEET_FRAMES, contact_sheet

    if round_up_to_groups(args.frames, args.frames_per_group) > MAX_SHEET_FRAMES:
        raise ValueError(f"--frames: a picture holds at most {MAX_SHEET_FRAMES} frames")
    stages = Stages()
    with stages.stage("decode") as stage:
        clip = read_video(args.video, args.frames, args.backend)
        stage.detail = f"{args.frames} of {clip.duration:.1f} s, with {clip.backend}"
    for note in clip.notes:
        say(f"note: {note}", quiet=args.quiet)
    clip = clip.take(repeat_to_groups(args.frames, args.frames_per_group))
    if len(clip) > args.frames:
        say(
            f"note: {args.frames} frames do not fill groups of {args.frames_per_group}: "
            f"rounded up to {len(clip)}, some are repeated",
            quiet=args.quiet,
        )
    out = args.out or Path(args.video).with_suffix(".frames.png").name
    with stages.stage("draw") as stage:
        image = contact_sheet(clip, args.frames_per_group, args.grouping)
        stage.detail = f"{image.width}x{image.height} pixels"
    with stages.stage("write"), write_atomically(out) as file:
        image.save(file, format="PNG")
    stages.print_table(quiet=args.quiet)
    if args.json:
        print_json(_as_json(clip, args, out) | {"stages": stages.as_json()})
    else:
        print(out)
    return 0


def _as_json(clip: Clip, args: argparse.Namespace, out: str) -> dict:
    from ..grouping import encoder_order

    order = encoder_order(len(clip), args.frames_per_group, args.grouping)
    place = order.argsort()  # of each frame, in encoder order
    return {
        "video": clip.path,
        "picture": out,
        "backend": clip.backend,
        "fps": clip.fps,
        "duration_seconds": clip.duration,
        "size": {"width": clip.frames.shape[2], "height": clip.frames.shape[1]},
        "grouping": args.grouping,
        "frames_per_group": args.frames_per_group,
        "groups": len(clip) // args.frames_per_group,
        "frames": [
            {
                "index": int(clip.indices[frame]),
                "seconds": round(float(clip.timestamps[frame]), 6),
                "group": int(place[frame]) // args.frames_per_group,
                "place_in_group": int(place[frame]) % args.frames_per_group,
            }
            for frame in range(len(clip))
        ],
        "notes": list(clip.notes),
    }
