#pragma once

namespace intp {

// JSON, written by setup.py.
extern const char* const kBuildConfig;

}  // namespace intp
