"""What fewer bits of cached keys and values cost: right answers, and how far probabilities move.

Held-out worlds of the shapes task (intp_video.lab.shapes) through video files, 64 frames with the
defaults of intp_video.extend, over caches of 16, 8, 4, 3 and 2 bits, keys and values apart, other
groups, values per channel, unrotated keys. The right answer is read by the model token by token
("teacher forcing"): it would have said it where each of its tokens was the likeliest. Beside that

  changed     answers with another likeliest token somewhere than over the cache of 16 bits
  KL          of the tokens' probabilities from those over 16 bits, in nats
  perplexity  of the right answers' tokens

What KVCache offers runs packed; the rest is simulated by its definition (kv_schemes.py).
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import intp_video
import torch
import transformers
from intp_video import compat
from intp_video.checkpoint import Checkpoint
from intp_video.lab.evaluation import VideoQuestion, shapes_questions, weights_digest
from intp_video.lab.evaluation.statistics import accuracy, average, difference
from intp_video.models import family_for
from intp_video.preparation import Preparer
from intp_video.video import read_video
from kv_schemes import Scheme
from tables_accuracy import kv_accuracy
from tqdm import tqdm

EXACT = Scheme(16, 16)
LARGEST_KL = 100.0  # nats; e^-100 is no probability of float32
SCHEMES = (
    EXACT,
    *(Scheme(bits, bits) for bits in (8, 4, 3, 2)),
    *(Scheme(*bits) for bits in ((4, 16), (16, 4), (2, 16), (16, 2), (4, 2), (2, 4))),
    *(Scheme(bits, bits, values="channel") for bits in (4, 2)),
    Scheme(16, 2, values="channel"),
    *(Scheme(bits, bits, key_group=group) for bits in (4, 2) for group in (128, 256)),
    *(Scheme(bits, bits, value_group=16) for bits in (4, 2)),
    *(Scheme(bits, bits, rotate="on_read") for bits in (4, 2)),
)


class Asker:
    """One model; answers are read over any scheme."""

    def __init__(self, model: torch.nn.Module, preparer: Preparer, frames: int) -> None:
        self.model, self.preparer, self.frames = model, preparer, frames
        self.family = family_for(model.config)

    @torch.no_grad()
    def prompts(self, video: str, questions: Sequence[VideoQuestion]) -> list[tuple]:
        """Embeddings ``[1, S, C]`` of each prompt, the video encoded once; ids ``[n]`` of its
        answer, the end included."""
        outer = self.family.multimodal_module(self.model)
        clip = read_video(video, self.frames)
        pixels = self.preparer.frame_processor(clip.frames)[None].to(self.model.dtype)
        with intp_video.extend(self.model, self.frames):
            features = self.family.rows_of(outer.get_video_features(pixels))[0]
        found = []
        for question in questions:
            ids = self.preparer.prompt_ids(question.question, self.frames)
            embeds = self.model.get_input_embeddings()(ids)
            embeds[ids == self.preparer.video_token_id] = features
            tokenizer = self.preparer.tokenizer
            answer = tokenizer(question.answer, add_special_tokens=False).input_ids
            found.append((embeds, torch.tensor([*answer, tokenizer.eos_token_id])))
        return found

    @torch.no_grad()
    def log_probabilities(self, scheme: Scheme, prompts: Sequence[tuple]) -> list[torch.Tensor]:
        """Of every prompt: float32 ``[n, V]``, the distributions its answer's tokens come from."""
        found = []
        with scheme.applied(self.model, self.frames) as empty_cache:
            for embeds, answer in prompts:
                cache = {compat.cache_argument(self.model.forward): empty_cache()}
                first = self.model(inputs_embeds=embeds, logits_to_keep=1, **cache)
                logits = [first.logits[0]]
                if len(answer) > 1:
                    rest = self.model(input_ids=answer[None, :-1], **cache)
                    logits.append(rest.logits[0])
                found.append(torch.cat(logits).float().log_softmax(-1))
        return found


def judge(exact: torch.Tensor, found: torch.Tensor, answer: torch.Tensor) -> dict[str, float]:
    """Of one question: log probabilities ``[n, V]`` over 16 bits and over fewer, the answer."""
    said = found.argmax(-1)
    return {
        "right": float(bool((said == answer).all())),
        "changed": float(bool((said != exact.argmax(-1)).any())),
        "kl": (exact.exp() * (exact - found)).sum(-1).mean().item(),
        "nll": -found.gather(1, answer[:, None]).mean().item(),
    }


def summarize(by_video: dict[str, list[dict]], exact: dict[str, list[dict]]) -> dict:
    """By video the judgements of its questions, over a scheme and over 16 bits."""

    def values(name: str) -> dict[str, list[float]]:
        return {video: [x[name] for x in judged] for video, judged in by_video.items()}

    pairs = {
        video: [a["right"] - b["right"] for a, b in zip(judged, exact[video], strict=True)]
        for video, judged in by_video.items()
    }
    every = [x for judged in by_video.values() for x in judged]
    nll = torch.tensor([x["nll"] for x in every])
    return {
        "accuracy": asdict(accuracy(values("right"))),
        "over_16_bits": asdict(difference(pairs)),
        "changed": asdict(accuracy(values("changed"))),
        "kl": asdict(average(values("kl"), 0.0, LARGEST_KL)) | {"max": max(x["kl"] for x in every)},
        "perplexity": nll.mean().exp().item(),
    }


def measure(
    asker: Asker, lengths: dict[int, list[VideoQuestion]], schemes: Sequence[Scheme]
) -> tuple[dict[Scheme, dict[int, dict[str, list[dict]]]], list[int]]:
    """``judged[scheme][length][video]``: a list over its questions; and tokens of the prompts."""
    judged = {scheme: {length: defaultdict(list) for length in lengths} for scheme in schemes}
    tokens = []
    videos = [
        (length, video, list(group))
        for length, questions in lengths.items()
        for video, group in groupby(questions, key=lambda question: question.video)
    ]
    for length, video, questions in tqdm(videos, file=sys.stderr, desc="kv_accuracy"):
        prompts = asker.prompts(video, questions)
        tokens += [embeds.shape[1] for embeds, _ in prompts]
        exact = asker.log_probabilities(EXACT, prompts)
        for scheme in schemes:
            found = exact if scheme == EXACT else asker.log_probabilities(scheme, prompts)
            judged[scheme][length][Path(video).name] += [
                judge(*three, answer)
                for *three, (_, answer) in zip(exact, found, prompts, strict=True)
            ]
    return judged, tokens


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a Video-LLM (default: the small one of intp_video)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything found")
    parser.add_argument(
        "--videos-in", type=Path, default=Path("kv_accuracy_videos"), metavar="DIR",
        help="video files, written if they are not there (default: kv_accuracy_videos)",
    )  # fmt: skip
    parser.add_argument("--videos", type=int, default=32, help="of each length (default: 32)")
    parser.add_argument(
        "--first-video", type=int, default=200, metavar="SEED", help="held out (default: 200)"
    )
    parser.add_argument(
        "--event-lengths", type=int, nargs="+", default=[32, 64], metavar="L",
        help="events last 1/L of their video (default: 32 64)",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, default=64, help="(default: 64)")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16",
        help="of the model and of 16 bits; float32: scales and zeros too (default: bfloat16)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="(default: 1, for a small model)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    torch.set_num_threads(options.threads)
    # a simulated cache is not ours, which extend() would say for every one
    logging.getLogger("intp_video").setLevel(logging.ERROR)
    name = options.model or "small_model"
    directory = options.model or intp_video.SMALL_MODEL
    checkpoint = Checkpoint(directory)
    model = checkpoint.model(dtype=getattr(torch, options.dtype))
    asker = Asker(model, checkpoint.preparer(), options.frames)
    lengths = {
        length: shapes_questions(
            options.videos_in, options.videos, 1 / length, [options.frames], options.first_video
        )
        for length in options.event_lengths
    }
    judged, tokens = measure(asker, lengths, SCHEMES)
    arms = []
    for scheme, by_length in judged.items():
        together = {
            str(length): (found, judged[EXACT][length]) for length, found in by_length.items()
        }
        together["all"] = tuple(
            {k: v for found in of.values() for k, v in found.items()}
            for of in (by_length, judged[EXACT])
        )
        dims = (model.config.get_text_config().head_dim, 128)
        arms.append(
            {
                "arm": scheme.name,
                **asdict(scheme),
                "simulated": scheme.simulated,
                "packed_tokens": scheme.packed(min(tokens)),
                "codes_share": scheme.share_of_16_bits(128, ranges=False),
                "share_of_16_bits": {str(dim): scheme.share_of_16_bits(dim) for dim in dims},
                "by_length": {length: summarize(*of) for length, of in together.items()},
            }
        )
    report = {
        "benchmark": "kv_accuracy",
        "about": {
            "model": name,
            "weights": weights_digest(model),
            "dtype": options.dtype,
            "frames": options.frames,
            "head_dim": dims[0],
            "tokens": [min(tokens), max(tokens)],
            "videos": options.videos,
            "first_video": options.first_video,
            "questions": {str(length): len(asked) for length, asked in lengths.items()},
            "command": f"python benchmarks/kv_accuracy.py --videos {options.videos} --first-video "
            f"{options.first_video} --frames {options.frames} --dtype {options.dtype}",
            "processor": platform.processor() or platform.machine(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "arms": arms,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(kv_accuracy(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
