// SPDX-License-Identifier: Apache-2.0
// Models as GGUF files, which generate and other engines load.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "generate/gguf.h"
#include "generate/gguf_writer.h"
#include "generate/llama.h"

namespace train {

/// What a file says of where its model comes from.
struct Origin {
  std::string name;
  std::string license;      // empty: none is named
  std::string description;  // the recipe
};

/// What a file says of our vocabulary.
void write_vocabulary(engine::GgufWriter& out);

/// Writes a model of bytes. Matrices in f16 or f32, gains in f32. Whole or not at all.
void save_model(const engine::Shape& shape, std::span<const float> weights, const Origin& origin,
                bool as_f16, const std::filesystem::path& path);

/// The weights in the order of Layout. Throws std::runtime_error when the file has other tensors.
std::vector<float> load_weights(const engine::Gguf& file, const engine::Shape& shape);

}  // namespace train
