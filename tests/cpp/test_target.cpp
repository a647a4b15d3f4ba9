// The choice among instruction sets, of INTP_EXT_CPU and of the processor that this runs on:
//
//   test_target NAME      that one is chosen
//   test_target MESSAGE   the choice fails, and this is what it says

#include "cpu/target.h"

#include <exception>
#include <string>

#include "check.h"

int main(int count, char** arguments) {
  CHECK(count == 2);
  std::string found;
  try {
    found = intp::cpu::facts(intp::cpu::target()).name;
  } catch (const std::exception& error) {
    found = error.what();
  }
  if (found != arguments[1]) {
    std::fprintf(stderr, "expected %s\ngot      %s\n", arguments[1], found.c_str());
    return 1;
  }
}
