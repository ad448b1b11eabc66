// SPDX-License-Identifier: Apache-2.0
// The contract about the metadata of a GGUF file: what is made of each key. A key that may change what a model computes
// is used or refused, never ignored; so of the model's own names and the tokenizer's, those that are not in the table
// are refused.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <variant>

#include "gguf.h"

namespace engine {

enum class Use {
  kUsed,      // read elsewhere, and checked there
  kMust,      // of this value, or the file is refused: another one means what we do not compute
  kHarmless,  // changes nothing of what we compute
  kRefused,   // whatever its value
};

/// A row of the contract. A key with several kMust rows may have any of their values.
struct MetadataRule {
  std::string_view key;  // with a star behind it: every key that begins so and has no row of its own
  Use use;
  std::variant<std::monostate, bool, std::size_t, float, std::string_view> value{};  // of kMust
  std::string_view meaning{};  // of another value, for the message
};

std::span<const MetadataRule> metadata_rules();

/// What a check is about: a tokenizer's keys, or all others.
enum class MetadataOf { kModel, kTokenizer };

/// Throws std::runtime_error that names the first key the contract refuses, its value, and what is supported.
void require_supported(const Gguf& file, MetadataOf part);

}  // namespace engine
