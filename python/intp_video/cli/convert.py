"""``intp-video convert``: the original Video-LLaVA checkpoint, as a model of this package."""

import argparse

from .console import add_talk_arguments, print_json, say
from .model_arguments import quiet_transformers
from .progress import Progress

__all__ = ["add_arguments", "run"]

_DESCRIPTION = """\
Write the original Video-LLaVA checkpoint (LanguageBind/Video-LLaVA-7B) as a model directory that
every command here takes. Its video tower attends over the eight frames of a group; the port to
transformers dropped that, and shows each frame to a tower for images.

ORIGINAL holds config.json, the tokenizer, and the weights as safetensors or pytorch_model*.bin.
The tower is a folder of its own, LanguageBind/LanguageBind_Video_merge: its config.json is always
needed, its weights only if the checkpoint has none of the tower. Without --video-tower it is the
folder that mm_video_tower in config.json names, beside ORIGINAL's files or from here.

Every tensor is matched by name and shape, on both sides; an error lists what is missing and what is
left over. Dropped are, and it says how many: the image tower, the text side and the projections of
the tower's CLIP, constants that the model makes anew. Pickled weights are read as weights alone.
One weight file is in memory at a time. OUT appears when all of it is written, and must not exist.

example:
  hf download LanguageBind/Video-LLaVA-7B --local-dir original
  hf download LanguageBind/LanguageBind_Video_merge --local-dir tower
  intp-video convert original video-llava --video-tower tower
  intp-video ask video.mp4 "What happens?" --model video-llava --frames 32
"""


def add_arguments(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "convert",
        help="the original Video-LLaVA checkpoint, as a model of this package",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("original", metavar="ORIGINAL", help="folder of the original checkpoint")
    parser.add_argument("directory", metavar="OUT", help="where to write; must not exist")
    parser.add_argument("--video-tower", metavar="DIR", help="folder of the video tower")
    add_talk_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    quiet_transformers()
    progress = Progress(args.quiet)
    progress.begin("reading names and shapes")

    def show(done: int, total: int) -> None:
        if done == 0:
            progress.begin("converting")
        progress.update(done, total, "file")

    try:
        from ..convert import convert_video_llava

        done = convert_video_llava(
            args.original, args.directory, video_tower=args.video_tower, progress=show
        )
    finally:
        progress.end()
    for reason, number in sorted(done.dropped.items()):
        say(f"dropped {number} tensors: {reason}", quiet=args.quiet)
    say(f"wrote {done.tensors} tensors in {len(done.files)} files", quiet=args.quiet)
    if args.json:
        print_json(
            {
                "directory": str(done.directory),
                "files": done.files,
                "tensors": done.tensors,
                "dropped": done.dropped,
                "placeholders": done.placeholders,
            }
        )
    else:
        print(done.directory)
    return 0
