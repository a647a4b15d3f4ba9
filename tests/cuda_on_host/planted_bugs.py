"""Bugs that the tests must catch: a change of text each, and the cases that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from cuda_on_host.attention_case import AttentionCase
from cuda_on_host.build import CSRC, Library
from cuda_on_host.cache_case import AppendCase, CachedCase
from cuda_on_host.comparisons import RearrangeCase, RopeCase
from ops.eager_attention import first_keys

from intp_ext import Window, rope_frequencies


class Case(Protocol):
    def check(self, library: Library) -> None: ...


@dataclass(frozen=True)
class Bug:
    """``old`` occurs once in the file (below csrc/) and becomes ``new``; seen by compiling one file
    anew, that which has the kernels of the cases."""

    name: str
    file: str
    old: str
    new: str
    cases: tuple[Case, ...]

    def changed(self) -> dict[str, str]:
        text = (CSRC / self.file).read_text()
        if text.count(self.old) != 1:
            raise LookupError(
                f"{self.name}: expected once in csrc/{self.file}, found {text.count(self.old)} "
                f"times: {self.old!r}. The source has changed: plant the bug anew"
            )
        return {self.file: text.replace(self.old, self.new)}

    def unit(self) -> str:
        return UNITS[self.file]


REARRANGE = "rearrange/cuda/launch.cu"
GATHER = "rearrange/cuda/kernel.h"
ROPE = "rope/cuda/kernel.h"
ROPE_PARAMS = "rope/params.h"
TILES = "common/tiles.h"
PARAMS = "attention/params.h"
BLOCK = "attention/cuda/block.h"
FRAGMENTS = "attention/cuda/fragments.h"
COMBINE = "attention/cuda/combine.h"
PREFILL = "attention/cuda/prefill.h"
DECODE = "attention/cuda/decode.h"
SIMT = "attention/cuda/simt.h"
APPEND = "kv_append/cuda/kernel.h"
PAGE = "common/kv_page.h"
PACKED = "attention/cuda/packed_decode.h"
PACKED_SIMT = "attention/cuda/packed_simt.h"
UNPACK = "attention/cuda/unpack.h"

UNITS = {
    **dict.fromkeys((REARRANGE, GATHER), "rearrange/cuda/launch.cu"),
    **dict.fromkeys((ROPE, ROPE_PARAMS), "rope/cuda/launch.cu"),
    **dict.fromkeys((TILES, PARAMS, BLOCK, FRAGMENTS, PREFILL), "attention/cuda/prefill_bf16.cu"),
    DECODE: "attention/cuda/decode_bf16.cu",
    **dict.fromkeys((COMBINE, SIMT), "attention/cuda/simt.cu"),
    APPEND: "kv_append/cuda/launch.cu",
    **dict.fromkeys((PAGE, PACKED), "attention/cuda/packed_decode_bf16.cu"),
    PACKED_SIMT: "attention/cuda/packed_simt.cu",
    UNPACK: "attention/cuda/unpack.cu",
}

# two tiles of rows, four of keys
CAUSAL = AttentionCase(rows=200, keys=200)
WINDOW = AttentionCase(rows=200, keys=200, window=Window(70))
FIRST_KEYS = AttentionCase(
    batch=2, rows=100, keys=600, window=Window(first_key=first_keys(2, 100, 500, span=260))
)
RISING = AttentionCase(rows=40, keys=300, scale=30.0)  # from tile to tile
CAPPED = AttentionCase(rows=200, keys=200, softcap=2.0, scale=0.5)
SINKS = AttentionCase(kv_heads=2, group=2, rows=100, keys=700, sinks=(0.5, 6.0, 4.0))
GROUPED = AttentionCase(kv_heads=2, group=2, rows=40, keys=70)
ONE_QUERY = AttentionCase(kv_heads=2, group=2, rows=1, keys=500)
FLOAT32 = AttentionCase(rows=70, keys=140, dtype=torch.float32)

ROPE_32 = rope_frequencies("ntk", 32, factor=4.0)
ROTATED = AppendCase(rope=ROPE_32, pieces=(40, 110))
PADDED = AppendCase(batch=2, bounds=((0, 150), (70, 150)))
SINKS_APPENDED = AppendCase(sink=90, rope=ROPE_32, pieces=(40, 110))
RECENT_APPENDED = AppendCase(recent=70, pieces=(130, 90))
PAGES = CachedCase(kv_heads=2, group=7, length=450)
SINK_PAGES = CachedCase(sink=20, batch=2, pad=50)
MANY_ROWS = CachedCase(rows=40, length=300, sink=20, batch=2, pad=50, recent=70)
ROTATED_ON_READ = CachedCase(rope=rope_frequencies("none", 64), rotate="on_read", length=450)
BY_AXES = replace(ROTATED_ON_READ, rope=rope_frequencies("none", 64, sections=(8, 11, 13)), axes=3)

# Wrong results, within the memory of the tensors.
WRONG_RESULT = [
    Bug(
        "rearrange: row s instead of order[s]",
        GATHER,
        "(inside ? source * p.features_stride_r : 0)",
        "s * p.features_stride_r",
        (RearrangeCase(),),
    ),
    Bug(
        "rearrange: the first batch row's order for all",
        GATHER,
        "source_row(p.order, b, s)",
        "source_row(p.order, 0, s)",
        (RearrangeCase(),),
    ),
    Bug(
        "rearrange: only the first part of a long row",
        GATHER,
        "first += gridDim.y * part",
        "first += launch.vectors",
        (RearrangeCase(batch=1, rows=2, length=1, channels=2**18, dtype=torch.int8, offset=1),),
    ),
    Bug(
        "rope: row s instead of order[s]",
        ROPE,
        "source * x.in_stride_s",
        "(block.first + item.token) * x.in_stride_s",
        (RopeCase(order="[S]"),),
    ),
    Bug(
        "rope: every head of k is its first",
        ROPE,
        "return {&p.tensors[1], token, head - heads,",
        "return {&p.tensors[1], token, 0,",
        (RopeCase(),),
    ),
    Bug(
        "rope: rotated backwards",
        ROPE,
        "cos[row + n], sin[row + n]);",
        "cos[row + n], -sin[row + n]);",
        (RopeCase(),),
    ),
    Bug(
        "rope: the partner half a head away, though only a part of it is rotated",
        ROPE,
        "(from + p.frequencies)",
        "(from + p.head_dim / 2)",
        (RopeCase(rest=16),),
    ),
    Bug(
        "rope: what passes through is taken from the half that is rotated",
        ROPE,
        "(pack < block.rotated ? pack : block.rotated + pack)",
        "pack",
        (RopeCase(rest=16),),
    ),
    Bug(
        "rope: one axis of three",
        ROPE_PARAMS,
        "axis * p.position_stride_a",
        "0 * p.position_stride_a",
        (RopeCase(positions="[3, B, S]"),),
    ),
    Bug(
        "rope: the sines of the tile's first token for all",
        ROPE,
        "const int row = item.token * static_cast<int>(p.frequencies) + item.channel",
        "const int row = item.channel",
        (RopeCase(batch=1, rows=1100, half=8),),
    ),
    Bug(
        "rope: no barrier between writing and reading the sines",
        ROPE,
        "fill_table<Traits>(p, block, cos, sin);\n    __syncthreads();",
        "fill_table<Traits>(p, block, cos, sin);",
        (RopeCase(heads=(8, 8), half=40),),
    ),
    Bug(
        "rope: no barrier before the sines are written again",
        ROPE,
        "    __syncthreads();  // before the table of the next batch row\n",
        "",
        (RopeCase(batch=1100, heads=(5, 0), rows=1, half=9, positions="[B, S]"),),
    ),
    Bug(
        "attention: a window one block too long",
        TILES,
        "(block - window.size + 1) * window.block",
        "(block - window.size) * window.block",
        (WINDOW,),
    ),
    Bug(
        "attention: one tile of keys too late",
        TILES,
        "list.recent_first = spans.recent.begin / size;",
        "list.recent_first = spans.recent.begin / size + 1;",
        (WINDOW,),
    ),
    Bug(
        "attention: a tile taken for full if some row sees it",
        PREFILL,
        "full_tiles(shared_.visible.all, kTile.keys)",
        "full_tiles(shared_.visible.any, kTile.keys)",
        (WINDOW,),
    ),
    Bug(
        "decode: a tile taken for full if some row sees it",
        DECODE,
        "!shared_.visible.is_full({begin, begin + kTile.keys})",
        "!covers(shared_.visible.any, {begin, begin + kTile.keys})",
        (AttentionCase(rows=8, keys=160),),
    ),
    Bug(
        "attention: the first keys of the block's first row for all",
        BLOCK,
        "*first_key_of(p, task.b, row);",
        "*first_key_of(p, task.b, task.row);",
        (FIRST_KEYS,),
    ),
    Bug(
        "attention: a batch row's first keys are another's",
        PARAMS,
        "p.first_key + b * p.first_key_stride_b",
        "p.first_key",
        (FIRST_KEYS,),
    ),
    Bug(
        "attention: tiles before another row's first key are left out",
        BLOCK,
        "low = min(low, keys[n]);",
        "low = max(low, keys[n]);",
        (FIRST_KEYS,),
    ),
    Bug(
        "attention: a tile is full after the first key of one row",
        BLOCK,
        "high = max(high, keys[n]);",
        "high = min(high, keys[n]);",
        (FIRST_KEYS,),
    ),
    Bug(
        "attention: the first keys of one lane alone",
        BLOCK,
        "low = min(low, __shfl_xor_sync(0xffffffffu, low, mask));",
        "",
        (FIRST_KEYS,),
    ),
    Bug(
        "attention: the rounding of a large product taken for an exponent",
        FRAGMENTS,
        "if (is_large_) {",
        "if (false) {",
        (AttentionCase(rows=40, scale=1e9),),
    ),
    Bug(
        "attention: each thread relative to its own largest score",
        FRAGMENTS,
        "row_maximum(found[m][half]) * factor",
        "found[m][half] * factor",
        (CAUSAL,),
    ),
    Bug(
        "attention: sums of weights not brought to the new base",
        FRAGMENTS,
        "for (int i = 0; i < kTotals / 2; ++i) total_[m][kTotals / 2 * half + i] *= rescale;",
        "for (int i = 0; i < 0; ++i) total_[m][kTotals / 2 * half + i] *= rescale;",
        (RISING,),
    ),
    Bug(
        "attention: scores far above their base",
        FRAGMENTS,
        "fmaf(largest, factor, -kSlack) > base_[m][half]",
        "fmaf(largest, factor, -512.0f) > base_[m][half]",
        (RISING,),
    ),
    Bug(
        "attention: the keys of the next step",
        FRAGMENTS,
        "const uint32_t (&now)[4] = b[(c * kJ + j) % 2];",
        "const uint32_t (&now)[4] = b[(c * kJ + j + 1) % 2];",
        (CAUSAL,),
    ),
    Bug(
        "attention: the values of the next step",
        FRAGMENTS,
        "const uint32_t (&now)[4] = b[(c * kD + d) % 2];",
        "const uint32_t (&now)[4] = b[(c * kD + d + 1) % 2];",
        (CAUSAL,),
    ),
    Bug(
        "attention: what another row sees",
        FRAGMENTS,
        "8 * i + lane / 4) >>",
        "8 * i + lane % 4) >>",
        (CAUSAL,),
    ),
    Bug(
        "attention: the first key of a span hidden",
        FRAGMENTS,
        "~low_bits(span.begin - begin)",
        "~low_bits(span.begin - begin + 1)",
        (WINDOW,),
    ),
    Bug(
        "attention: a full tile one key too long",
        BLOCK,
        "- tile_keys + 1);",
        "- tile_keys + 2);",
        (AttentionCase(kv_heads=8, group=8, rows=10, keys=72),),
    ),
    Bug(
        "prefill: the mask of the next tile",
        PREFILL,
        "shared_.visible.rows + warp_row(), used);",
        "shared_.visible.rows + warp_row(), begin);",
        (WINDOW,),
    ),
    Bug(
        "attention: a softcap of masked scores, too",
        PREFILL,
        "sums_.weigh(scores, shared_.scale.factor);",
        "cap_scores(scores, shared_.scale);\n      sums_.weigh(scores, shared_.scale.factor);",
        (CAPPED,),
    ),
    Bug(
        "attention: a softcap of scores without their scale",
        BLOCK,
        "2.0f * kLog2E * size / p.softcap",
        "2.0f * kLog2E / p.softcap",
        (CAPPED,),
    ),
    Bug(
        "attention: capped scores scaled again",
        BLOCK,
        "/ p.softcap, kLog2E};",
        "/ p.softcap, size * kLog2E};",
        (CAPPED,),
    ),
    Bug(
        "attention: another head's sink",
        BLOCK,
        "p.sinks[task.h * group + row % group]",
        "p.sinks[task.h * group + row / group % group]",
        (SINKS,),
    ),
    Bug(
        "attention: a sink as a power of two",
        BLOCK,
        "exp2f(fmaf(sink, kLog2E, -maximum))",
        "exp2f(sink - maximum)",
        (SINKS,),
    ),
    Bug(
        "attention: no sink without splits",
        PREFILL,
        "const float total = sums_.total(m, half) + sink;",
        "const float total = sums_.total(m, half) + 0.0f * sink;",
        (SINKS,),
    ),
    Bug(
        "combine: a sink for every split",
        COMBINE,
        "inverse_total(total + sink, visible)",
        "inverse_total(total + sink * launch.splits, visible)",
        (replace(SINKS, multiprocessors=8),),
    ),
    Bug(
        "attention: another query head's key head",
        BLOCK,
        "(task.h * p.group + row % group)",
        "(task.h + row % group * p.kv_heads)",
        (GROUPED,),
    ),
    Bug(
        "attention: splits that leave a tile out",
        BLOCK,
        "cut(split), cut(split + 1)",
        "cut(split), cut(split + 1) - 1",
        (AttentionCase(rows=40, keys=700, multiprocessors=4),),
    ),
    Bug(
        "attention: ldmatrix of the keys as of the queries",
        FRAGMENTS,
        "Swizzle<kDim>::at(lane % 8 + lane / 16 * 8, lane / 8 % 2)",
        "Swizzle<kDim>::at(lane % 16, lane / 16)",
        (CAUSAL,),
    ),
    Bug(
        "attention: values not transposed",
        FRAGMENTS,
        "load_matrices_transposed(b[(c * kD + d) % 2],",
        "load_matrices(b[(c * kD + d) % 2],",
        (CAUSAL,),
    ),
    Bug(
        "attention: sums not brought to the new maximum",
        FRAGMENTS,
        "o[m][d][2 * half + 1] *= rescale;",
        "",
        (RISING,),
    ),
    Bug(
        "prefill: no wait for the keys",
        PREFILL,
        "wait_copies<0>();\n      __syncthreads();  // k has arrived",
        "__syncthreads();  // k has arrived",
        (CAUSAL,),
    ),
    Bug(
        "prefill: no wait for the values",
        PREFILL,
        "wait_copies<0>();\n      __syncthreads();  // v has arrived",
        "__syncthreads();  // v has arrived",
        (CAUSAL,),
    ),
    Bug(
        "prefill: no barrier before the keys are used",
        PREFILL,
        "__syncthreads();  // k has arrived, v has been used",
        "",
        (CAUSAL,),
    ),
    Bug(
        "prefill: no barrier before the values are used",
        PREFILL,
        "__syncthreads();  // v has arrived, k has been used",
        "",
        (CAUSAL,),
    ),
    Bug(
        "decode: a wait for one group of copies too few",
        DECODE,
        "wait_copies<kTile.stages - 2>();",
        "wait_copies<kTile.stages - 1>();",
        (ONE_QUERY,),
    ),
    Bug(
        "decode: results over stages that are still read",
        DECODE,
        "__syncthreads();  // stages become results",
        "",
        (ONE_QUERY,),
    ),
    Bug(
        "decode: combined before all warps are done",
        DECODE,
        "    shared_.results.write(sums_);\n    __syncthreads();",
        "    shared_.results.write(sums_);",
        (ONE_QUERY,),
    ),
    Bug(
        "decode: keys that no row sees are read",
        DECODE,
        "return contains(visible, begin + r); });",
        "return begin + r < p_.keys; });",
        (AttentionCase(rows=1, keys=300, q_offset=250),),
    ),
    Bug(
        "combine: sums of weights without their factors",
        COMBINE,
        "total += weight * stats.y;",
        "total += stats.y;",
        (AttentionCase(rows=40, keys=700, multiprocessors=4),),
    ),
    Bug(
        "simt: no barrier before the step is written again",
        SIMT,
        "__syncthreads();  // the step before, or the values, have been used",
        "",
        (FLOAT32,),
    ),
    Bug(
        "append: key codes a lane off",
        APPEND,
        "word % kCellWords * 2 + lane",
        "(word + 1) % kCellWords * 2 + lane",
        (ROTATED,),
    ),
    Bug(
        "append: the first group's scale for all values of a token",
        APPEND,
        "qparams_ + channel / cache_.value_group * 2 * kPageTokens",
        "qparams_",
        (AppendCase(value_group=16),),
    ),
    Bug(
        "append: quantized against a scale that was not rounded",
        APPEND,
        "static_cast<float>(near) < x ? append_step(near, 1) : near",
        "near",
        (ROTATED,),
    ),
    Bug(
        "append: padding takes part in the scale",
        APPEND,
        "if (is_padding(first + i) || is_sink(first + i)) continue;",
        "if (is_sink(first + i)) continue;",
        (PADDED,),
    ),
    Bug(
        "append: a sink takes part in the scale",
        APPEND,
        "if (is_padding(first + i) || is_sink(first + i)) continue;",
        "if (is_padding(first + i)) continue;",
        (replace(SINKS_APPENDED, rope=None),),  # unrotated, ranges lie beside zero
    ),
    Bug(
        "append: a sink is packed as it is",
        APPEND,
        "is_zero ? nullptr : row_of(keys, h, token)",
        "row_of(keys, h, token)",
        (SINKS_APPENDED,),
    ),
    Bug(
        "append: every piece of a sink to its first slots",
        APPEND,
        "sink_slot(cache_, b_, first));",
        "sink_slot(cache_, b_, sinks.begin));",
        (SINKS_APPENDED,),
    ),
    Bug(
        "append: sines of a sink's next piece over those in use",
        APPEND,
        "__syncthreads();  // the sines before have been used",
        "",
        (SINKS_APPENDED,),
    ),
    Bug(
        "append: rows that move are read where they are written",
        APPEND,
        "keys ? p_.k_old : p_.v_old;",
        "keys ? cache_.k_rows : cache_.v_rows;",
        (RECENT_APPENDED,),
    ),
    Bug(
        "append: the next page over the one that is being packed",
        APPEND,
        "__syncthreads();  // the page before has been used",
        "",
        (ROTATED,),
    ),
    Bug(
        "packed: the other nibble",
        PACKED,
        "code_pair<T, kKeyBits>(x[i], slot * kKeyBits)",
        "code_pair<T, kKeyBits>(x[i], (kKeySlots - 1 - slot) * kKeyBits)",
        (PAGES,),
    ),
    Bug(
        "packed: the highest of 8 bits forgotten",
        PACKED,
        "high = (x & 0x00800080) ^ 0x43804380;",
        "high = 0x43804380;",
        (CachedCase(bits=8),),
    ),
    Bug(
        "packed: upper bits of 3 of the row beside it",
        PACKED,
        "upper << (8 - row % 2 * 4) & 0x0f000f00",
        "upper << (4 + row % 2 * 4) & 0x0f000f00",
        (CachedCase(bits=3),),
    ),
    Bug(
        "packed: upper bits of 3 are not copied",
        PACKED,
        "i < with_upper(kKeyBits, head_dim() / 2) * kWords;",
        "i < head_dim() / 2 * kWords;",
        (CachedCase(bits=3),),
    ),
    Bug(
        "append: upper bits of one row of two",
        APPEND,
        "upper |= bits_of >> 8 << (at + 4 * r);",
        "upper = bits_of >> 8 << (at + 4 * r);",
        (AppendCase(bits=3),),
    ),
    Bug(
        "packed: every page with the first group's scales",
        PAGE,
        "(cache.page_capacity / pages) + page / pages)",
        "(cache.page_capacity / pages))",
        (PAGES,),
    ),
    Bug(
        "packed: tokens of 2-bit values by the slot of another lane",
        PACKED,
        "kValueSlots == 4 ? pair % kValueSlots * kValueBits : 0;",
        "0;",
        (CachedCase(bits=2, group=7),),
    ),
    Bug(
        "packed: values as wide as keys",
        PACKED,
        "code_pair<T, kValueBits>(x, shift);",
        "code_pair<T, kKeyBits>(x, shift);",
        (CachedCase(bits=2.5),),
    ),
    Bug(
        "append: values as wide as keys",
        APPEND,
        "qparams_of(cache_.value_bits, low, high, check)",
        "qparams_of(cache_.key_bits, low, high, check)",
        (AppendCase(bits=2.5),),
    ),
    Bug(
        "kv_page: pages of values as far apart as those of keys",
        PAGE,
        "page_offset(cache, cache.value_bits, head, page)",
        "page_offset(cache, cache.key_bits, head, page)",
        (CachedCase(bits=2.5),),
    ),
    Bug(
        "packed: no mask at the end of a window",
        PACKED,
        "if (has_sinks || !shared_.visible.is_full(page)) mask_page(scores, begin);",
        "if (has_sinks) mask_page(scores, begin);",
        (CachedCase(length=450, window=Window(100)),),
    ),
    Bug(
        "packed: a sink seen in its page, too",
        PACKED,
        "if (is_sink || !contains(visible, key))",
        "if (!contains(visible, key))",
        (SINK_PAGES,),
    ),
    Bug(
        "packed: a page of sinks taken for full",
        PACKED,
        "if (has_sinks || !shared_.visible.is_full(page))",
        "if (!shared_.visible.is_full(page))",
        (SINK_PAGES,),
    ),
    Bug(
        "packed: a sink for every split",
        PACKED,
        "if (task_.split == 0) attend_sinks();",
        "attend_sinks();",
        (replace(SINK_PAGES, length=1500, multiprocessors=3),),
    ),
    Bug(
        "packed: a sink whose last tile is whole",
        PACKED,
        "    mask_beyond(scores, from.end - begin);\n",
        "",
        (replace(SINK_PAGES, scale=0.0),),  # or keys of zeros would weigh next to nothing
    ),
    Bug(
        "packed: a sink that is a row, twice",
        PACKED,
        "least(first + cache.sinks, packed_.tokens)",
        "least(first + cache.sinks, p_.keys)",
        (replace(SINK_PAGES, length=100, sink=90),),
    ),
    Bug(
        "unpack: a page that one window sees, unread",
        UNPACK,
        "return meets(seen.sink) || meets(seen.recent);",
        "return meets(seen.recent);",
        (replace(MANY_ROWS, window=Window(40, sink=30)),),
    ),
    Bug(
        "unpack: sinks as their codes have them",
        UNPACK,
        "    copy_sinks();\n",
        "",
        (MANY_ROWS,),
    ),
    Bug(
        "unpack: a sink before its page is done",
        UNPACK,
        "    __syncthreads();  // sinks",
        "    // sinks",
        (MANY_ROWS,),
    ),
    Bug(
        "unpack: rows after the pages from the first one on",
        UNPACK,
        "const int first = origin_ - static_cast<int>(packed_.tokens);",
        "const int first = 0;",
        (MANY_ROWS,),
    ),
    Bug(
        "unpack: upper bits of the other row",
        UNPACK,
        ">> cell.upper_shift & 0x000f000f) << 8",
        ">> (4 - cell.upper_shift) & 0x000f000f) << 8",
        (replace(MANY_ROWS, bits=3),),
    ),
    Bug(
        "unpack: rotated with a neighbor",
        UNPACK,
        "is_first ? row + rotated : row - rotated);",
        "row ^ 1);",
        (replace(ROTATED_ON_READ, rows=40),),
    ),
    Bug(
        "unpack: a value by the scale of the token beside it",
        UNPACK,
        "value_of(x.second, qparams[1], qparams[kPageTokens + 1])",
        "value_of(x.second, qparams[0], qparams[kPageTokens])",
        (MANY_ROWS,),
    ),
    Bug(
        "packed, simt: a sink by its codes",
        PACKED_SIMT,
        "if (is_sink(cache_, task.b, key)) return sink(cache_.v_sinks, task, key, channel);",
        "",
        (replace(SINK_PAGES, dtype=torch.float32),),
    ),
    Bug(
        "packed: the unfinished group is left out",
        PACKED,
        "for (int n = max(pages, share.begin); n < share.end; ++n) {",
        "for (int n = share.end; n < share.end; ++n) {",
        (CachedCase(length=124),),
    ),
    Bug(
        "packed: pages of the next split, too",
        PACKED,
        "attend_pages(share, min(pages, share.end));",
        "attend_pages(share, pages);",
        (CachedCase(length=1024, multiprocessors=2),),
    ),
    Bug(
        "packed: pages beyond the last one",
        PACKED,
        "attend_pages(share, min(pages, share.end));",
        "attend_pages(share, share.end);",
        (CachedCase(length=140),),
    ),
    Bug(
        "packed: a wait for one group of copies too few",
        PACKED,
        "wait_copies<kTile.stages - 2>();",
        "wait_copies<kTile.stages - 1>();",
        (PAGES,),
    ),
    Bug(
        "packed: rotated by the position of another slot",
        PACKED,
        "begin + token_of(lane, i / 2);",
        "begin + token_of(lane, 0);",
        (ROTATED_ON_READ,),
    ),
    Bug(
        "packed: rotated by the axis of the frequency before",
        PACKED,
        "key_axis(packed_, at)",
        "key_axis(packed_, f)",
        (BY_AXES,),
    ),
    Bug(
        "packed: results over stages that are still read",
        PACKED,
        "__syncthreads();  // stages and rows become results",
        "",
        (CachedCase(length=192 + 40, dim=128),),
    ),
    Bug(
        "packed, simt: rotated the other way",
        PACKED_SIMT,
        "rotate(x, partner, at.cos, at.sin).first",
        "rotate(x, partner, at.cos, -at.sin).first",
        (replace(ROTATED_ON_READ, dtype=torch.float32),),
    ),
    Bug(
        "packed, simt: every frequency by the first axis",
        PACKED_SIMT,
        "key_axis(packed_, f)",
        "0",
        (replace(BY_AXES, dtype=torch.float32),),
    ),
    Bug(
        "packed: the axes of the first batch row for all",
        PACKED,
        "key_positions(packed_, task_.b, ",
        "key_positions(packed_, 0, ",
        (replace(BY_AXES, batch=2),),
    ),
    Bug(
        "packed, simt: a value's scale is its neighbor's",
        PACKED_SIMT,
        "channel / cache_.value_group) +\n                       token;",
        "channel / cache_.value_group) +\n                       (token ^ 1);",
        (replace(PAGES, dtype=torch.float32),),
    ),
]

# Beyond the memory of a tensor, or at an address that the hardware refuses: what AddressSanitizer
# and the alignment check must report.
WRONG_ADDRESS = [
    Bug(
        "rearrange: rows that order does not have",
        GATHER,
        "0 <= source && source < p.rows;",
        "true;",
        (RearrangeCase(bad=True, index=torch.int64),),
    ),
    Bug(
        "rearrange: store without a bound",
        GATHER,
        "if (at < launch.vectors) to[at]",
        "to[at]",
        (RearrangeCase(channels=264),),
    ),
    Bug(
        "rearrange: 16 bytes at an address of 4",
        REARRANGE,
        "alignment % 16 == 0",
        "alignment % 4 == 0",
        (RearrangeCase(channels=24, offset=2),),
    ),
    Bug(
        "rope: rows that order does not have",
        ROPE,
        "if (source < 0 || source >= p.rows) continue;",
        "",
        (RopeCase(order="[S]", bad=True, index=torch.int64),),
    ),
    Bug(
        "rope: the last tile as long as the others",
        ROPE,
        "min(int64_t{launch.tokens}, p.length - block.first)",
        "int64_t{launch.tokens}",
        (RopeCase(batch=1, rows=1101, half=8),),
    ),
    Bug(
        "prefill: store without a bound",
        PREFILL,
        "if (r >= end) break;",
        "",
        (AttentionCase(rows=70, keys=70, layout="contiguous"),),
    ),
    Bug(
        "prefill: keys beyond the last one",
        PREFILL,
        "[&](int key) { return sees(visible, key); });",
        "[&](int key) { return true; });",
        (AttentionCase(rows=70, keys=70, layout="contiguous"),),
    ),
    Bug(
        "prefill: values as wide as keys",
        PREFILL,
        "p_.v.stride_s, value_dim(), shared_.v,",
        "p_.v.stride_s, head_dim(), shared_.v,",
        (AttentionCase(rows=70, keys=70, dim=64, value_dim=32, layout="contiguous"),),
    ),
    Bug(
        "simt: keys beyond the last one",
        SIMT,
        "if (channel < head_dim() && contains(shared_.visible.any, key)) {",
        "if (channel < head_dim()) {",
        (AttentionCase(rows=70, keys=70, dtype=torch.float32, layout="contiguous"),),
    ),
    Bug(
        "append: rows that order does not have",
        APPEND,
        "if (source < 0 || source >= p_.rope.rows) return nullptr;",
        "",
        (AppendCase(order=True, layout="contiguous"),),
    ),
    Bug(
        "append: rows behind those that were packed",
        APPEND,
        "first - p_.now_packed);",
        "first - p_.packed);",
        (replace(RECENT_APPENDED, heads=1),),
    ),
    Bug(
        "append: the last part as long as the others",
        APPEND,
        "write_rows(first, min(kRowsOfPart, launch_.rows - first));",
        "write_rows(first, kRowsOfPart);",
        (AppendCase(bits=16, heads=1, pieces=(41,)),),
    ),
]

# These run with the suite; tests/planted_bugs.py runs all.
OF_EACH_KIND = {
    "order": "rearrange: row s instead of order[s]",
    "rotation": "rope: rotated backwards",
    "barrier before a read": "rope: no barrier between writing and reading the sines",
    "barrier before a write": "simt: no barrier before the step is written again",
    "wait for a copy": "decode: a wait for one group of copies too few",
    "visibility": "attention: a window one block too long",
    "edge tile": "attention: a tile taken for full if some row sees it",
    "first keys": "attention: tiles before another row's first key are left out",
    "softcap": "attention: a softcap of masked scores, too",
    "sinks": "combine: a sink for every split",
    "fragment": "attention: ldmatrix of the keys as of the queries",
    "combine": "combine: sums of weights without their factors",
    "packing": "append: key codes a lane off",
    "rows that move": "append: rows that move are read where they are written",
    "a sink in a page": "packed: a sink seen in its page, too",
    "unpacking": "packed: the other nibble",
    "pages that become rows": "unpack: sinks as their codes have them",
    "read out of bounds": "rearrange: rows that order does not have",
    "write out of bounds": "prefill: store without a bound",
    "alignment": "rearrange: 16 bytes at an address of 4",
}


def of_each_kind(bugs: Sequence[Bug]) -> list[Bug]:
    return [bug for bug in bugs if bug.name in OF_EACH_KIND.values()]
