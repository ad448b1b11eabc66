// SPDX-License-Identifier: Apache-2.0
#include "fuzz/attend_on.h"

void skim::fuzz::attend_on_int8(Input& in) { attend_on<I8>(in); }
