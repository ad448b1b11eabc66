// SPDX-License-Identifier: Apache-2.0
// Where keys lie, and why LSH wants them centred.
#pragma once

#include <cstdint>
#include <span>

#include "data.h"

namespace lsh {

/// Markdown on stdout: how far the keys' mean is from zero, where the sink and the queries lie to it; and what (10,150)
/// retrieves of keys as they are and of keys less their mean. Each query head asks for itself.
void print_geometry(std::span<const Keys> all, std::uint64_t seed);

/// Markdown on stdout: the published budgets beside the share of keys that is retrieved here, by each head and by groups.
void print_budgets(std::span<const Keys> all, std::uint64_t seed);

}  // namespace lsh
