// Makes the library a module that Python imports. Its operators are registered in
// csrc/torch/library.cpp and in each op.cpp, under the name that the builder gives.

#include "registration.h"

REGISTER_EXTENSION(TORCH_EXTENSION_NAME)
