// SPDX-License-Identifier: Apache-2.0
// Does anything read memory that nobody has written? Every estimator, storage type, index, layer call and backward pass
// under MemorySanitizer (preset msan). A plain program: MemorySanitizer wants every library it calls built with it, and
// gtest is not.
#include <cstdio>

#include "msan/attend_on.h"

int main() {
  skim::msan::attend_on_f32();
  skim::msan::attend_on_f16();
  skim::msan::attend_on_bf16();
  skim::msan::attend_on_int8();
  skim::msan::run_backward();
  std::puts("nothing was read that nobody had written");
}
