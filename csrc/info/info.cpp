#include <pybind11/pybind11.h>

#include "cpu/target.h"
#include "info/attention_plans.h"
#include "info/build_config.h"

namespace py = pybind11;
PYBIND11_MODULE(_info, m) {
  m.doc() = "Facts about the build and this machine; nothing that is an operator.";
  m.def(
      "build_info", [] { return py::module_::import("json").attr("loads")(intp::kBuildConfig); },
      "dict: versions, compiler, whether CUDA was built and why, architectures, commit.");
  m.def(
      "cpu_level", [] { return intp::cpu::facts(intp::cpu::target()).name; },
      "The instruction set of the CPU kernels; ValueError for an INTP_EXT_CPU that cannot be had.");
  intp::define_attention_plans(m);
}
