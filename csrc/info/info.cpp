#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "attention/attention_plan.h"
#include "cpu/level.h"
#include "info/build_config.h"

namespace py = pybind11;
using namespace pybind11::literals;

namespace {

using Shape = std::array<int64_t, 4>;  // B, H, S, D

std::string decode_reason(const intp::AttentionParams& p, const intp::AttentionPlan& plan) {
  const std::string rows = std::to_string(intp::attention_rows(p)) + " rows of a key head";
  switch (intp::decode_choice(p, plan.tiles, plan.width)) {
    case intp::DecodeChoice::kFewRows:
      return rows + ", at most " + std::to_string(plan.tiles.decode_rows) +
             ": keys are read in place, split over the threads";
    case intp::DecodeChoice::kManyRows:
      return rows + ", more than " + std::to_string(plan.tiles.decode_rows) +
             ": keys are packed for each task of " + std::to_string(plan.task_rows) + " rows";
    default:
      return rows + ", but head_dim " + std::to_string(p.head_dim) + " is no multiple of " +
             std::to_string(plan.width) + " up to " + std::to_string(plan.tiles.decode_dim) +
             ": keys are packed";
  }
}

// bounds: B rows of lo, hi, q_offset, block_start, dense_from
py::dict attention_plan(const Shape& q, const Shape& k, const std::string& dtype,
                        const std::vector<std::array<int32_t, 5>>& bounds,
                        std::optional<int64_t> window, int64_t block, int64_t sink,
                        int64_t threads) {
  std::vector<intp::RowBounds> rows;
  for (const auto& row : bounds) rows.push_back({row[0], row[1], row[2], row[3], row[4]});
  intp::AttentionParams p{};
  p.type = dtype == "bfloat16"  ? intp::FloatType::kBFloat16
           : dtype == "float16" ? intp::FloatType::kFloat16
                                : intp::FloatType::kFloat32;
  p.batch = q[0];
  p.kv_heads = k[1];
  p.group = q[1] / k[1];
  p.queries = q[2];
  p.keys = k[2];
  p.head_dim = q[3];
  p.bounds = rows.data();
  p.window = {window.has_value(), window.value_or(0), block, sink};
  const intp::cpu::Level level = intp::cpu::level();
  const intp::AttentionPlan plan = intp::plan_attention(p, level, threads);
  const intp::TileCounts counts = intp::count_tiles(p, plan);
  return py::dict("kernel"_a = plan.decode ? "decode" : "prefill",
                  "reason"_a = decode_reason(p, plan), "level"_a = intp::cpu::level_name(level),
                  "arithmetic"_a = plan.pairs ? "bfloat16 dot products" : "float32 multiply-adds",
                  "rows_per_tile"_a = plan.decode ? intp::attention_rows(p) : plan.tiles.rows,
                  "keys_per_tile"_a = plan.tiles.keys, "full"_a = counts.full,
                  "edge"_a = counts.edge, "skipped"_a = counts.skipped, "tasks"_a = plan.tasks,
                  "scratch_bytes"_a = 4 * plan.scratch_elements);
}

}  // namespace

PYBIND11_MODULE(_info, m) {
  m.doc() = "Facts about the build and this machine; nothing that is an operator.";
  m.def(
      "build_info", [] { return py::module_::import("json").attr("loads")(intp::kBuildConfig); },
      "dict: versions, compiler, whether CUDA was built and why, architectures, commit.");
  m.def(
      "cpu_level", [] { return intp::cpu::level_name(intp::cpu::level()); },
      "The instruction set of the CPU kernels; ValueError for an INTP_EXT_CPU that cannot be had.");
  m.def("attention_plan", &attention_plan, "dict: see intp_ext.attention_plan.");
}
