#pragma once

#include <pybind11/pybind11.h>

namespace intp {

// _info.attention_plan_cpu and _info.attention_plan_cuda: see intp_ext.attention_plan.
void define_attention_plans(pybind11::module_& m);

}  // namespace intp
