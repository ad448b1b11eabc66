// SPDX-License-Identifier: Apache-2.0
#include "fuzz/attend_on.h"

void skim::fuzz::attend_on_bf16(Input& in) { attend_on<BF16>(in); }
