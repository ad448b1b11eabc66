// SPDX-License-Identifier: Apache-2.0
// What `train evaluate` and `train entropy` have in common.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "generate/error.h"
#include "generate/gguf.h"
#include "model_file.h"
#include "tasks.h"
#include "transformer.h"

namespace train {

/// What is measured, and on what.
struct MeasuredTexts {
  std::filesystem::path model{};
  std::vector<std::filesystem::path> texts{};
  std::vector<std::string> tasks{};
  std::size_t context = 0;  // 0: the model's
  std::size_t count = 0;    // texts of each task
  std::uint64_t seed = 1;
  bool is_unseen = false;  // the model has learnt from none of `texts`: all but their ends serve

  Part part() const { return is_unseen ? Part::kTraining : Part::kHeldOut; }
};

/// A model from a file, to be measured on texts of some length.
struct LoadedModel {
  /// wanted: tokens of a text, 0 for as many as the model was trained on.
  LoadedModel(const std::filesystem::path& path, std::size_t wanted)
      : LoadedModel(engine::Gguf::read(path), wanted) {}

  std::size_t context;
  std::vector<float> weights;
  Transformer<float> model;

 private:
  LoadedModel(const engine::Gguf& file, std::size_t wanted)
      : LoadedModel(file, engine::Llama(file).shape(), wanted) {}
  LoadedModel(const engine::Gguf& file, const engine::Shape& shape, std::size_t wanted)
      : context(checked(wanted ? wanted : shape.context)),
        weights(load_weights(file, shape)),
        model(with(shape, context)) {}

  /// Before the tables of rotary positions are as large as it says.
  static std::size_t checked(std::size_t context) {
    constexpr std::size_t kMost = 1 << 20;
    if (context > kMost) engine::fail("train: a context of ", context, " is more than ", kMost);
    return context;
  }
  static engine::Shape with(engine::Shape shape, std::size_t context) {
    shape.context = std::max(shape.context, context);
    return shape;
  }
};

}  // namespace train
