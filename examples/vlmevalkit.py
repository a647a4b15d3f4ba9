"""A model for VLMEvalKit: any supported family, with any number of frames and any option.

    python examples/vlmevalkit.py --data MVBench_MP4_64frame --model intp_video

in an environment with VLMEvalKit. The arguments are those of its ``run.py``; what the model is
stands in ``MODEL`` below.
"""

import functools
import runpy

from intp_video import SMALL_MODEL
from intp_video.evals.asking import Asked, Asker
from intp_video.evals.messages import asked_in
from vlmeval.vlm.base import BaseModel

MODEL = {"pretrained": str(SMALL_MODEL), "frames": 64, "kv_bits": 4}


class IntpVideo(BaseModel):
    """Reads whole videos itself (``VIDEO_LLM``); a message holds one video and text."""

    INSTALL_REQ = False
    INTERLEAVE = False
    VIDEO_LLM = True

    def __init__(self, pretrained, frames=64, max_new_tokens=64, **options):
        super().__init__()
        self.frames, self.max_new_tokens = frames, max_new_tokens
        self.asker = Asker(pretrained, frames=frames, **options)

    @property
    def nframe(self):
        return self.frames

    @nframe.setter
    def nframe(self, wanted):
        """VLMEvalKit sets it to what the data set is called after."""
        raise ValueError(f"expected a data set of {self.frames} frames, got one of {wanted}")

    def generate_inner(self, message, dataset=None):
        content = [{**part, "url": part["value"], "text": part["value"]} for part in message]
        asked = asked_in([{"role": "user", "content": content}])
        return self.asker.ask([Asked(**asked, max_new_tokens=self.max_new_tokens)])[0]


if __name__ == "__main__":
    from vlmeval.config import supported_VLM

    supported_VLM["intp_video"] = functools.partial(IntpVideo, **MODEL)
    runpy.run_module("vlmeval.run", run_name="__main__")
