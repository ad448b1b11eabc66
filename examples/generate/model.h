// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "gguf.h"
#include "llama.h"
#include "tokenizer.h"

namespace engine {

/// All that a model file holds.
struct Model {
  Tokenizer tokenizer;
  Llama llama;

  static Model load(const std::filesystem::path& path) {
    const Gguf file = Gguf::read(path);
    return {Tokenizer(file), Llama(file)};
  }
};

}  // namespace engine
