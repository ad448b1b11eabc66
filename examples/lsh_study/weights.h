// SPDX-License-Identifier: Apache-2.0
// Is the weight right? What is retrieved over many seeds of the planes, against the formula, and what error bars say.
#pragma once

#include <cstddef>
#include <functional>

#include "data.h"

namespace lsh {

using OnSeed = std::function<void(std::size_t done)>;

/// Markdown on stdout, for the published settings: keys are sorted by their cosine to the query into bins; of each bin
/// how many are retrieved over how many the formula expects, and by how many standard errors the two differ. Keys of one
/// seed share its planes, so a standard error is that of the mean over seeds. Then the same for the numerator and the
/// denominator of the answer.
void print_weights(const DataSettings& data, std::size_t seeds, const OnSeed& progress);

/// Markdown on stdout: how often the answer is within the 95 % interval of the error bar that one set of tables gives, by a
/// jackknife over ten groups of tables and by the formula that takes keys for independent.
void print_error_bars(const DataSettings& data, std::size_t seeds, const OnSeed& progress);

}  // namespace lsh
