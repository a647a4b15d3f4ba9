"""A mapper of Data-Juicer that adds what was said to each sample; a recipe names it
``video_answer_mapper``."""

from data_juicer.ops.base_op import OPERATORS, Mapper
from intp_video.batch import VideoAnswerer


@OPERATORS.register_module("video_answer_mapper")
class VideoAnswerMapper(Mapper):
    """Answers the ``question`` of each sample about its ``video``."""

    _accelerator = "cpu"  # or "cuda"
    _batched_op = True

    def __init__(self, model: str, frames: int = 64, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.answerer = VideoAnswerer(model, frames)

    def process_batched(self, samples):
        return self.answerer(samples)
