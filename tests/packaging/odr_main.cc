// SPDX-License-Identifier: Apache-2.0
// Links odr.cc as compiled for two machines; both must give the same answers.
#include <cmath>
#include <cstdio>

double run_old();
double run_new();

int main() {
  const double old_sum = run_old();
  const double new_sum = run_new();
  std::printf("old %.9g, new %.9g\n", old_sum, new_sum);
  return std::abs(old_sum - new_sum) <= 1e-4 * std::abs(old_sum) ? 0 : 1;
}
