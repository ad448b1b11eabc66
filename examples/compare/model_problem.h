// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "problem.h"

namespace compare {

struct ModelSettings {
  std::filesystem::path model;  // GGUF
  std::filesystem::path text;   // documents between "<|endoftext|>", each read on its own
  std::size_t context = 0;      // if not 0, documents are joined and cut into texts of so many tokens
  std::size_t tokens = 0;       // the most of a document; 0: as many as the model was trained on
  std::size_t first = 128;      // the first position that asks: before it 2 % of the keys are none
  std::size_t queries = 16;     // positions that ask, evenly spaced over the rest of a document
};

/// The real queries, keys and values of every layer and head, as the model has them under exact
/// attention, positions rotated in. Throws std::runtime_error when a file does not fit.
Problem read_model_problem(const ModelSettings& settings);

}  // namespace compare
