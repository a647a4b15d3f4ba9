#include "info/attention_plans.h"

#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attention/cpu/plan.h"
#include "attention/cuda/plan.h"
#include "attention/tile_counts.h"
#include "cpu/target.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace intp {
namespace {

using Shape = std::array<int64_t, 4>;  // B, H, S, D

// A call without data: attention as its schedule sees it.
struct Problem {
  std::vector<RowBounds> bounds;
  std::optional<std::vector<int32_t>> first_key;
  AttentionParams p;

  // rows: B of lo, hi, q_offset, block_start, dense_from; first_keys: [B, Sq]
  Problem(const Shape& q, const Shape& k, const std::string& dtype,
          const std::vector<std::array<int32_t, 5>>& rows, std::optional<int64_t> window,
          int64_t block, int64_t sink, std::optional<std::vector<int32_t>> first_keys,
          int64_t value_dim)
      : first_key(std::move(first_keys)), p{} {
    for (const auto& row : rows) bounds.push_back({row[0], row[1], row[2], row[3], row[4]});
    p.type = dtype == "bfloat16"  ? FloatType::kBFloat16
             : dtype == "float16" ? FloatType::kFloat16
                                  : FloatType::kFloat32;
    p.batch = q[0];
    p.kv_heads = k[1];
    p.group = q[1] / k[1];
    p.queries = q[2];
    p.keys = k[2];
    p.head_dim = q[3];
    p.value_dim = value_dim;
    p.k.stride_h = k[2] * k[3];  // the tasks of decode depend on them
    p.k.stride_s = k[3];
    p.bounds = bounds.data();
    const WindowKind kind = first_key ? WindowKind::kFirstKeys
                            : window  ? WindowKind::kBlocks
                                      : WindowKind::kNone;
    p.window = {kind, window.value_or(0), block, sink};
    p.first_key = first_key ? first_key->data() : nullptr;
    p.first_key_stride_b = q[2];
  }
};

py::dict plan_dict(const AttentionParams& p, const std::string& kernel, const std::string& reason,
                   const std::string& level, const std::string& arithmetic, int64_t rows,
                   int64_t keys, int64_t tasks, int64_t scratch) {
  const TileCounts counts = count_tiles(p, rows, keys);
  return py::dict("kernel"_a = kernel, "reason"_a = reason, "level"_a = level,
                  "arithmetic"_a = arithmetic, "rows_per_tile"_a = rows, "keys_per_tile"_a = keys,
                  "full"_a = counts.full, "edge"_a = counts.edge, "skipped"_a = counts.skipped,
                  "tasks"_a = tasks, "scratch_bytes"_a = 4 * scratch);
}

std::string rows_text(const AttentionParams& p) {
  return std::to_string(attention_rows(p)) + " rows of a key head";
}

std::string cpu_reason(const AttentionParams& p, const AttentionPlan& plan) {
  switch (decode_choice(p, plan.tiles)) {
    case DecodeChoice::kFewRows:
      return rows_text(p) + ", at most " + std::to_string(plan.tiles.decode_rows) +
             ": keys are read in place, split over the threads";
    case DecodeChoice::kManyRows:
      return rows_text(p) + ", more than " + std::to_string(plan.tiles.decode_rows) +
             ": keys are packed for each task of " + std::to_string(plan.task_rows) + " rows";
    default:
      return rows_text(p) + ", but head_dim " + std::to_string(p.head_dim) + " is more than " +
             std::to_string(plan.tiles.decode_dim) + ": keys are packed";
  }
}

py::dict plan_cpu(const Problem& problem, int64_t threads) {
  const AttentionParams& p = problem.p;
  const cpu::Target target = cpu::target();
  const AttentionPlan plan = plan_attention(p, target, threads);
  return plan_dict(p, plan.decode ? "decode" : "prefill", cpu_reason(p, plan),
                   cpu::facts(target).name,
                   plan.pairs ? "bfloat16 dot products" : "float32 multiply-adds",
                   plan.decode ? attention_rows(p) : plan.tiles.rows, plan.tiles.keys, plan.tasks,
                   plan.scratch_elements);
}

std::string cuda_reason(const AttentionParams& p, const cuda::AttentionPlan& plan) {
  const std::string dim = "head_dim " + std::to_string(p.head_dim);
  const std::string most = std::to_string(cuda::kDecodeRows);
  switch (plan.choice) {
    case cuda::AttentionChoice::kFloat32:
      return "float32: products without tensor cores";
    case cuda::AttentionChoice::kUnaligned:
      return dim + " is no multiple of 8: rows are not on 16 bytes";
    case cuda::AttentionChoice::kWideHead:
      return dim + ", more than " + std::to_string(cuda::kPrefillDim) +
             ": sums do not fit into registers";
    case cuda::AttentionChoice::kFewRows:
      return rows_text(p) + ", at most " + most + ": bound by reading keys";
    case cuda::AttentionChoice::kFewWideRows:
      return rows_text(p) + ", at most " + most + ", but " + dim + ", more than " +
             std::to_string(cuda::kDecodeDim);
    default:
      return rows_text(p) + ", more than " + most;
  }
}

py::dict plan_cuda(const Problem& problem, int64_t multiprocessors) {
  const AttentionParams& p = problem.p;
  const cuda::AttentionPlan plan = cuda::plan_attention(p, multiprocessors);
  const bool simt = plan.kernel == cuda::AttentionKernel::kSimt;
  const bool decode = plan.kernel == cuda::AttentionKernel::kDecode;
  std::string reason = cuda_reason(p, plan);
  if (plan.splits > 1) {
    reason += "; " + std::to_string(plan.splits) + " blocks share the keys of a row tile, for " +
              std::to_string(multiprocessors) + " multiprocessors";
  }
  return plan_dict(p,
                   simt     ? "plain"
                   : decode ? "decode"
                            : "prefill",
                   reason, "sm_80", simt ? "float32 multiply-adds" : "tensor cores, float32 sums",
                   plan.tile.rows, plan.tile.keys, plan.blocks, plan.workspace);
}

}  // namespace

void define_attention_plans(py::module_& m) {
  py::class_<Problem>(m, "AttentionProblem")
      .def(py::init<const Shape&, const Shape&, const std::string&,
                    const std::vector<std::array<int32_t, 5>>&, std::optional<int64_t>, int64_t,
                    int64_t, std::optional<std::vector<int32_t>>, int64_t>());
  m.def("attention_plan_cpu", &plan_cpu, "dict: see intp_ext.attention_plan.");
  m.def("attention_plan_cuda", &plan_cuda, "dict: see intp_ext.attention_plan.");
}

}  // namespace intp
