"""A call too small for a second thread wakes none; a larger one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# torch starts its threads with the first call that they share
CALLS = """
import json, os, sys, torch, intp_ext

ROPE = intp_ext.rope_frequencies("none", 32)

def states(count, tokens):
    return torch.randn(count, 1, 4, tokens, 32)

def filled(tokens):
    cache = intp_ext.KVCache(capacity=tokens)
    for _ in range(tokens // 50):
        cache.append(*states(2, 50))
    return cache

def call_of(name, tokens):
    if name == "token_order":
        return intp_ext.token_order, (tokens, 1, 1)
    if name == "rearrange":
        return intp_ext.rearrange, (torch.empty(1, tokens, 32), torch.arange(tokens))
    if name == "apply_rope":
        return intp_ext.apply_rope, (*states(2, tokens), torch.arange(tokens), ROPE)
    if name == "append":
        return intp_ext.KVCache().append, (*states(2, tokens),)
    if name == "cached_attention":
        return intp_ext.cached_attention, (states(1, 1)[0], filled(tokens))
    q = states(1, 1 if name == "decode" else tokens)[0]
    return intp_ext.attention, (q, *states(2, tokens))

def threads_of(call):
    function, arguments = call
    function(*arguments)
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(2)
torch.set_grad_enabled(False)
for name, *tokens in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork() == 0:
        calls = [call_of(name, count) for count in tokens]
        before = len(os.listdir("/proc/self/task"))
        print(name, *(threads_of(call) - before for call in calls), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


# a call, and how many tokens are small and large for it
CASES = [
    ("token_order", 4000, 9000),
    ("rearrange", 1000, 9000),
    ("apply_rope", 500, 1100),
    ("append", 64, 1100),
    ("attention", 24, 600),
    ("decode", 64, 2000),
    ("cached_attention", 50, 2000),
]


@pytest.fixture(scope="module")
def started():
    """How many threads a small and a large call start, each case in a process of its own, where
    nothing has started a thread yet."""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("needs /proc")
    script = [sys.executable, "-c", CALLS, json.dumps(CASES)]
    result = subprocess.run(script, check=True, capture_output=True, text=True)
    return {name: counts for name, *counts in map(str.split, result.stdout.splitlines())}


@pytest.mark.parametrize("call", [name for name, *_ in CASES])
def test_a_small_call_stays_on_its_thread(started, call):
    assert started[call] == ["0", "1"]
