// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bytes.h"
#include "sample.h"

namespace train {

/// An answer is a few tokens among thousands of text. At the weight of text the loss would hardly
/// show whether it is right.
constexpr float kAnswerWeight = 10;

/// What a part of a text is to the model that learns it.
enum class Role {
  kText,    // to be predicted like any text
  kRandom,  // nobody can predict it: its loss would be noise
  kAnswer,  // what was asked for
};

struct Phrase {
  std::string text;
  Role role = Role::kText;
};
using Sentence = std::vector<Phrase>;

inline std::size_t bytes_in(const Sentence& sentence) {
  std::size_t bytes = 0;
  for (const Phrase& phrase : sentence) bytes += phrase.text.size();
  return bytes;
}

/// A sample that is being written.
class Draft {
 public:
  Draft() : sample_{{kBos}, {0.0f}, {}} {}

  void add(std::string_view text, Role role = Role::kText) {
    const std::size_t begin = sample_.tokens.size();
    // Byte by byte, even where `encode` would see a piece: only then is the size known beforehand.
    for (const char c : text) sample_.tokens.push_back(token_of(c));
    sample_.weights.resize(sample_.tokens.size(), weight(role));
    if (role == Role::kAnswer) sample_.answers.push_back({begin, sample_.tokens.size()});
  }

  void add(const Sentence& sentence) {
    for (const Phrase& phrase : sentence) add(phrase.text, phrase.role);
  }

  Sample take() { return std::move(sample_); }

 private:
  static float weight(Role role) {
    return role == Role::kText ? 1.0f : role == Role::kRandom ? 0.0f : kAnswerWeight;
  }

  Sample sample_;
};

}  // namespace train
