// SPDX-License-Identifier: Apache-2.0
// Attention: see attend_on.h. The first byte of an input is its storage type.
#include <cstddef>
#include <cstdint>

#include "fuzz/attend_on.h"
#include "fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  skim::fuzz::Input in(data, size);
  switch (in.between(0, 3)) {
    case 0: skim::fuzz::attend_on_f32(in); break;
    case 1: skim::fuzz::attend_on_f16(in); break;
    case 2: skim::fuzz::attend_on_bf16(in); break;
    case 3: skim::fuzz::attend_on_int8(in); break;
  }
  return 0;
}
