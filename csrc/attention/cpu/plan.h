#pragma once

// How one call of attention is cut into tiles and tasks on the CPU: the kernels, the dispatcher and
// attention_plan() all read it from here.

#include <cstdint>

#include "attention/params.h"
#include "cpu/target.h"
#include "cpu/workers.h"

namespace intp {

// Tile sizes of a target.
struct AttentionTiles {
  int64_t micro_rows;  // rows x vectors of sums that fill the registers
  int64_t micro_columns;
  int64_t panel;      // keys of one panel of packed K: micro_columns vectors
  int64_t rows;       // rows of a tile
  int64_t keys;       // keys of a tile; tiles begin at multiples of it
  int64_t task_rows;  // most rows of a task, which packs every key it sees once
  int64_t least_task_rows;
  int64_t decode_rows;       // up to so many rows of a key head, keys are read in place,
  int64_t decode_dim;        // and up to this head_dim
  int64_t decode_keys;       // keys of a decode task,
  int64_t decode_step;       // of which so many are scored before they are weighed
  int64_t decode_task_rows;  // most rows of a decode task, of all its heads
};

INTP_HD constexpr AttentionTiles attention_tiles(const cpu::TargetFacts& target) {
  AttentionTiles t{};
  // 6 x 4 of 32 registers hold sums, 4 a row of the panel; with 16 registers it is 6 x 2 and 2. A
  // row of the panel serves 6 fused multiply-adds per load, enough to hide the loads.
  t.micro_rows = 6;
  t.micro_columns = target.registers == 32 ? 4 : 2;
  t.panel = t.micro_columns * target.width;
  // Scores of a tile: 24 KiB, still in the L1 cache when they become weights; wide enough that
  // running maxima and rescaling cost little.
  t.rows = 2 * t.micro_rows;
  t.keys = 512;
  // Packing a key costs as much as attending to it with 5 rows, little beside 768, whose queries
  // and sums (600 to 800 KiB at D = 128) still stay in a L2 cache of 1 MiB.
  t.task_rows = 64 * t.rows;
  t.least_task_rows = 4 * t.rows;
  // Few rows cannot repay the packing: they are bound by reading the keys from memory.
  t.decode_rows = 16;
  t.decode_dim = 256;
  // Fixed, so that results do not depend on the number of threads; a partial result is 1/500 of it.
  t.decode_keys = 1024;
  t.decode_step = 64;
  t.decode_task_rows = 32;
  return t;
}

// float32 of any type, or pairs of bfloat16 for the dot product instruction.
INTP_HD constexpr bool attention_uses_pairs(FloatType type, cpu::Target target) {
  return type == FloatType::kBFloat16 && cpu::facts(target).dots_pairs;
}

// Where a worker's scratch for prefill keeps what, in 32-bit elements, each part on its own cache
// line. An element is a float or a pair of bfloat16.
struct PrefillScratch {
  int64_t depth;    // elements of a row of q or k: D, or D / 2 pairs
  int64_t columns;  // Dv, padded to whole vectors
  int64_t queries;  // [task_rows, depth]
  int64_t sums;     // [task_rows, columns]   weighted sums of v so far
  int64_t maxima;   // [task_rows]            largest score so far
  int64_t totals;   // [task_rows]            sum of weights so far
  int64_t k;        // [keys / panel, depth, panel]
  int64_t v;        // [keys, columns], or [keys / 2, columns] pairs
  int64_t scores;   // [rows, keys]           and the weights made of them
  int64_t pairs;    // [rows, keys / 2]       weights as pairs
  int64_t row;      // [D, padded]            a row of q being converted
  int64_t size;
};

INTP_HD constexpr PrefillScratch prefill_scratch(const AttentionTiles& t, int64_t task_rows,
                                                 int64_t head_dim, int64_t value_dim, int64_t width,
                                                 bool pairs) {
  PrefillScratch s{};
  s.depth = pairs ? divide_up(head_dim, 2) : head_dim;
  s.columns = round_up(value_dim, width);
  const auto take = [&s](int64_t elements) {
    const int64_t at = s.size;
    s.size += round_up(elements, 16);
    return at;
  };
  s.queries = take(task_rows * s.depth);
  s.sums = take(task_rows * s.columns);
  s.maxima = take(task_rows);
  s.totals = take(task_rows);
  s.k = take(t.keys * s.depth);
  s.v = take(t.keys * s.columns / (pairs ? 2 : 1));
  s.scores = take(t.rows * t.keys);
  s.pairs = take(pairs ? t.rows * t.keys / 2 : 0);
  s.row = take(round_up(head_dim, width));
  return s;
}

struct AttentionPlan {
  AttentionTiles tiles;
  bool decode;
  bool pairs;
  int64_t width;       // floats of a vector
  int64_t task_rows;   // prefill: rows of a task
  int64_t task_heads;  // decode: key heads of a task
  int64_t splits;      // tasks of a key head, or of task_heads of them
  int64_t row_splits;  // decode: those of keys that are rows; keys in pages follow
  int64_t tasks;
  int64_t workers;  // threads that can find work
  // 32-bit: prefill [workers, PrefillScratch::size], decode [B * Hkv, splits, decode_partial]
  int64_t scratch_elements;
};

// A decode task leaves, of each head, [rows] maxima, [rows] totals and [rows, columns] sums, all
// float; columns: Dv, padded to whole vectors.
INTP_HD constexpr int64_t decode_partial(int64_t rows, int64_t columns) {
  return rows * (columns + 2);
}

// Tasks that share that many keys; at least one, which writes the zeros if there are no keys.
INTP_HD constexpr int64_t decode_splits(int64_t keys, const AttentionTiles& t) {
  return most(1, divide_up(keys, t.decode_keys));
}

// Why a call does or does not read its keys in place.
enum class DecodeChoice { kFewRows, kManyRows, kHeadDim };

INTP_HD DecodeChoice decode_choice(const AttentionParams& p, const AttentionTiles& t) {
  if (attention_rows(p) > t.decode_rows) return DecodeChoice::kManyRows;
  return p.head_dim <= t.decode_dim ? DecodeChoice::kFewRows : DecodeChoice::kHeadDim;
}

// The work of a call, as bytes of k and v that are read, and those that take as long as the
// products of every row with every key: 8 for a vector of multiply-adds. Packed keys are no less
// work.
INTP_HD int64_t attention_bytes(const AttentionParams& p, int64_t width) {
  const int64_t elements = p.batch * p.kv_heads * p.keys * (p.head_dim + p.value_dim);
  const int64_t element_bytes = p.type == FloatType::kFloat32 ? 4 : 2;
  return element_bytes * elements + 8 * (elements * attention_rows(p) / width);
}

INTP_HD AttentionPlan plan_attention(const AttentionParams& p, cpu::Target target,
                                     int64_t threads) {
  AttentionPlan plan{};
  const int64_t rows = attention_rows(p), kv_heads = p.batch * p.kv_heads;
  plan.width = cpu::facts(target).width;
  const int64_t workers = cpu::workers(threads, attention_bytes(p, plan.width));
  plan.tiles = attention_tiles(cpu::facts(target));
  const AttentionTiles& t = plan.tiles;
  plan.pairs = attention_uses_pairs(p.type, target);
  plan.decode = decode_choice(p, t) == DecodeChoice::kFewRows;
  if (plan.decode) {
    // heads that lie side by side in memory are read together; those of a cache do not
    const bool interleaved = p.packed == nullptr && p.k.stride_h < p.k.stride_s;
    const int64_t heads = interleaved ? t.decode_task_rows / rows : 1;
    const int64_t packed = p.packed ? p.packed->tokens : 0;
    plan.task_heads = least(heads, p.kv_heads);
    plan.row_splits = decode_splits(p.keys - packed, t);
    plan.splits = plan.row_splits + divide_up(packed, t.decode_keys);
    plan.tasks = p.batch * divide_up(p.kv_heads, plan.task_heads) * plan.splits;
    plan.workers = least(workers, plan.tasks);
    plan.scratch_elements =
        kv_heads * plan.splits * decode_partial(rows, round_up(p.value_dim, plan.width));
    return plan;
  }
  // causal tasks are uneven: several for each thread
  const int64_t wanted = divide_up(4 * workers, kv_heads);
  plan.task_rows = least(t.task_rows, most(t.least_task_rows, round_up(rows / wanted, t.rows)));
  plan.splits = divide_up(rows, plan.task_rows);
  plan.tasks = kv_heads * plan.splits;
  plan.workers = least(workers, plan.tasks);
  const PrefillScratch scratch =
      prefill_scratch(t, plan.task_rows, p.head_dim, p.value_dim, plan.width, plan.pairs);
  plan.scratch_elements = plan.workers * scratch.size;
  return plan;
}

}  // namespace intp
