"""A call too small for a second thread wakes none; a larger one does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# torch starts its threads with the first call that they share
CALLS = """
import os, sys, torch, intp_ext

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
small, large = (call_of(sys.argv[1], int(tokens)) for tokens in sys.argv[2:])
before = len(os.listdir("/proc/self/task"))
print(*(threads_of(call) - before for call in (small, large)))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
@pytest.mark.parametrize(
    "call, small, large",
    [
        ("token_order", 4000, 9000),
        ("rearrange", 1000, 9000),
        ("apply_rope", 500, 1100),
        ("append", 64, 1100),
        ("attention", 24, 600),
        ("decode", 64, 2000),
        ("cached_attention", 50, 2000),
    ],
)
def test_a_small_call_stays_on_its_thread(call, small, large):
    """In a process of its own, where nothing has started a thread yet."""
    script = [sys.executable, "-c", CALLS, call, str(small), str(large)]
    result = subprocess.run(script, check=True, capture_output=True, text=True)
    assert result.stdout.split() == ["0", "1"]
