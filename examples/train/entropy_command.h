// SPDX-License-Identifier: Apache-2.0
// `train entropy`: how many keys each head of a model attends to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace train {

struct EntropyArguments {
  std::filesystem::path model;
  std::vector<std::filesystem::path> texts;
  std::vector<std::string> tasks{"text"};
  std::size_t context = 0;  // 0: the model's
  std::size_t count = 16;
  std::uint64_t seed = 1;
  bool is_unseen =
      false;  // the model has not learnt from these texts: what a run would learn from serves
};

/// Prints a line for each task, layer and head.
void entropy(const EntropyArguments& arguments, std::size_t threads);

}  // namespace train
