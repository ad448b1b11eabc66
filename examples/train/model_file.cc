// SPDX-License-Identifier: Apache-2.0
#include "model_file.h"

#include <algorithm>
#include <cmath>

#include "bytes.h"
#include "generate/error.h"
#include "generate/rope.h"
#include "layout.h"
#include "transformer.h"

namespace train {
namespace {

std::uint32_t count(std::size_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

void write_vocabulary(engine::GgufWriter& out) {
  out.text("tokenizer.ggml.model", "llama");
  out.texts("tokenizer.ggml.tokens", pieces());
  out.numbers("tokenizer.ggml.scores", scores());
  out.integers("tokenizer.ggml.token_type", kinds());
  out.count("tokenizer.ggml.unknown_token_id", kUnknown);
  out.count("tokenizer.ggml.bos_token_id", kBos);
  out.count("tokenizer.ggml.eos_token_id", kEos);
  out.flag("tokenizer.ggml.add_space_prefix", false);
}

void save_model(const engine::Shape& shape, std::span<const float> weights, const Origin& origin,
                bool as_f16, const std::filesystem::path& path) {
  engine::GgufWriter out;
  out.text("general.architecture", "llama");
  out.text("general.name", origin.name);
  if (!origin.license.empty()) out.text("general.license", origin.license);
  out.text("general.description", origin.description);
  out.count("llama.block_count", count(shape.layers));
  out.count("llama.context_length", count(shape.context));
  out.count("llama.embedding_length", count(shape.width));
  out.count("llama.feed_forward_length", count(shape.hidden));
  out.count("llama.attention.head_count", count(shape.heads));
  out.count("llama.attention.head_count_kv", count(shape.kv_heads));
  out.count("llama.attention.key_length", count(shape.head_size));
  out.count("llama.attention.value_length", count(shape.head_size));
  out.count("llama.rope.dimension_count", count(shape.head_size));
  out.number("llama.rope.freq_base", static_cast<float>(kTheta));
  out.number("llama.attention.layer_norm_rms_epsilon", static_cast<float>(kEpsilon));
  write_vocabulary(out);

  const Layout layout(shape);
  if (weights.size() != layout.size)
    engine::fail("train: ", weights.size(), " weights but the model has ", layout.size);
  for (const Place* place : layout.places()) {
    std::vector<std::uint64_t> dims{place->columns};
    if (!place->is_gain) dims.push_back(place->rows);
    const bool is_f16 = as_f16 && !place->is_gain;
    out.tensor(place->name, is_f16 ? engine::TensorType::kF16 : engine::TensorType::kF32, dims,
               weights.subspan(place->begin, place->size()));
  }
  out.write(path);
}

std::vector<float> load_weights(const engine::Gguf& file, const engine::Shape& shape) {
  // Another vocabulary would take our bytes for its tokens, and other constants would compute another model.
  const std::vector<std::string> ours = pieces();
  const auto theirs = file.texts("tokenizer.ggml.tokens");
  if (!std::equal(theirs.begin(), theirs.end(), ours.begin(), ours.end())) {
    engine::fail("train: the file is no model of bytes: it has ", theirs.size(),
                 " tokens, those of train run are ", ours.size());
  }
  const float theta = file.find_number("llama.rope.freq_base").value_or(0);
  const float epsilon = file.find_number("llama.attention.layer_norm_rms_epsilon").value_or(0);
  if (theta != static_cast<float>(kTheta) || epsilon != static_cast<float>(kEpsilon)) {
    engine::fail("train: the file has a rope base of ", theta, " and an epsilon of ", epsilon,
                 ", but only ", kTheta, " and ", kEpsilon, " are supported");
  }
  const std::vector<double> frequencies = engine::rope_frequencies(file, shape.head_size);
  bool is_plain = 2 * frequencies.size() == shape.head_size;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    is_plain &= frequencies[i] == std::pow(kTheta, -2.0 * static_cast<double>(i) / static_cast<double>(shape.head_size));
  }
  if (!is_plain) {
    engine::fail("train: the file rotates a part of each head only or scales positions (keys llama.rope.*, tensor ",
                 engine::kRopeDivisors, "), which is not supported");
  }
  const Layout layout(shape);
  std::vector<float> weights(layout.size);
  for (const Place* place : layout.places()) {
    const engine::Tensor* tensor = file.find_tensor(place->name);
    if (!tensor) engine::fail("train: tensor ", place->name, " is missing");
    if (tensor->size() != place->size()) {
      engine::fail("train: tensor ", place->name, " has ", tensor->size(), " values but the model ",
                   place->size());
    }
    engine::to_floats(*tensor, {weights.data() + place->begin, place->size()});
  }
  if (file.tensors().size() != layout.places().size()) {
    engine::fail("train: the file has ", file.tensors().size(), " tensors but a trained model ",
                 layout.places().size());
  }
  return weights;
}

}  // namespace train
