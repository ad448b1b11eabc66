// SPDX-License-Identifier: Apache-2.0
#include "msan/attend_on.h"

void skim::msan::attend_on_f32() { attend_on<float>(); }
