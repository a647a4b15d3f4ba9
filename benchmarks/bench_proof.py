"""What the proof of a pass costs: microseconds of Python for one decoded token.

Every pass through an extended model leaves traces that show that its parts met
(docs/transformers.md). This times the traces and their check alone, without model and kernels, for
a decoder of 32 layers; a whole pass through such a model takes milliseconds.
"""

from __future__ import annotations

import argparse
import json
import timeit
from itertools import count
from types import SimpleNamespace

import machine
import torch
from intp_video.backend.arguments import check_arguments
from intp_video.backend.carrier import make_carrier
from intp_video.hook.passes import CURRENT, DecoderState, ForwardPass
from intp_video.hook.sequence import Sequence
from torch import nn

import intp_ext

GOAL = 20.0  # microseconds, 32 layers
ROUNDS, PASSES = 15, 1000


def proven_pass(layers: int):
    """A function that leaves the traces of one pass over our cache layers, and checks them."""
    modules = [nn.Identity() for _ in range(layers)]
    decoder = DecoderState(None, None, needs_visual=False, needs_sequence=False, layers=modules)
    sequence = Sequence(intp_ext.rope_frequencies("none", 128), None, 1 << 40)
    lengths = count()
    cache = SimpleNamespace(get_seq_length=lambda: next(lengths))  # asked before and after a pass
    query = torch.zeros(1, 32, 1, 128)
    key = torch.zeros(1, 32, 4096, 128)
    mask = make_carrier(None, 0, 4096, 4096, 1, torch.device("cpu"))
    arguments = {"position_ids": None, "use_cache": True}
    output = {"cache": cache}

    def run() -> None:
        now = CURRENT.now = ForwardPass(decoder, sequence, cache, 1, own_layers=True)
        now.saw_mask(mask, mask, now.past + 1, now.past)
        now.saw_rotary()
        now.withheld = True
        for module in modules:
            CURRENT.now.saw_rotation(query, key)
            CURRENT.now.saw_update(key, key)
            check_arguments(arguments)
            CURRENT.now.saw_attention(module, query, key, mask)
        now.finish(output, frequencies_are_ours=True)
        CURRENT.now = None

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=32, help="of the decoder (default: 32)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    rounds = timeit.repeat(proven_pass(options.layers), number=PASSES, repeat=ROUNDS)
    microseconds = sorted(1e6 * seconds / PASSES for seconds in rounds)
    median = microseconds[ROUNDS // 2]
    if options.json:
        found = {"layers": options.layers, "us": median, "goal_us": GOAL}
        print(json.dumps({"machine": machine.describe(torch.device("cpu")), **found}, indent=1))
    else:
        print(f"{median:.1f} us a pass ({microseconds[0]:.1f} to {microseconds[-1]:.1f})")


if __name__ == "__main__":
    main()
