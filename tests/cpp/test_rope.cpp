#include <cmath>
#include <initializer_list>
#include <random>

#include "check.h"
#include "common/rope.h"

using intp::rope_axis;
using intp::RopeSections;
using intp::sincos;

namespace {

// |got - exact| in units of the last place of exact, as a float
double ulps(float got, double exact) {
  const float nearest = static_cast<float>(exact);
  const float step = std::nextafter(std::fabs(nearest), INFINITY) - std::fabs(nearest);
  return std::fabs(got - exact) / step;
}

void check_sincos(float x) {
  const auto [s, c] = sincos(x);
  CHECK(ulps(s, std::sin(static_cast<double>(x))) <= 2);
  CHECK(ulps(c, std::cos(static_cast<double>(x))) <= 2);
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (float largest : {1e-3f, 1.0f, 10.0f, 1e3f, 1e5f, 4e6f, 16777215.0f}) {
    std::uniform_real_distribution<float> draw(-largest, largest);
    for (int i = 0; i < 200000; ++i) check_sincos(draw(random));
  }
  // whole positions, as inv_freq[0] = 1 makes them; near multiples of pi/2 everything cancels
  for (int i = 0; i < 4000000; i += 7) check_sincos(static_cast<float>(i));
  for (int n = 1; n < 3000000; n += 11) check_sincos(static_cast<float>(n * 1.5707963267948966));

  CHECK(sincos(0.0f).sin == 0.0f && sincos(0.0f).cos == 1.0f);
  for (float x : {INFINITY, -INFINITY, NAN}) {
    CHECK(std::isnan(sincos(x).sin) && std::isnan(sincos(x).cos));
  }

  // (3, 4) by the angle whose cosine is 0.6, and back
  const auto rotated = intp::rotate(3.0, 4.0, 0.6, 0.8);
  CHECK(std::fabs(rotated.first + 1.4) < 1e-12 && std::fabs(rotated.second - 4.8) < 1e-12);
  const auto back = intp::rotate(rotated.first, rotated.second, 0.6, -0.8);
  CHECK(std::fabs(back.first - 3) < 1e-12 && std::fabs(back.second - 4) < 1e-12);

  const RopeSections contiguous{{2, 3, 1}, false};
  const int axes[] = {0, 0, 1, 1, 1, 2};
  for (int f = 0; f < 6; ++f) CHECK(rope_axis(contiguous, f) == axes[f]);
  const RopeSections interleaved{{4, 2, 1}, true};  // t h w t h t t
  const int mixed[] = {0, 1, 2, 0, 1, 0, 0};
  for (int f = 0; f < 7; ++f) CHECK(rope_axis(interleaved, f) == mixed[f]);
}
