// SPDX-License-Identifier: Apache-2.0
// `train entropy`: how many keys each head of a model attends to.
#pragma once

#include <cstddef>

#include "measured.h"

namespace train {

/// Prints a line for each task, layer and head.
void entropy(const MeasuredTexts& on, std::size_t threads);

}  // namespace train
