// SPDX-License-Identifier: Apache-2.0
// `train run`: trains a model, or goes on with a checkpoint.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "model_file.h"
#include "recipe.h"

namespace train {

struct RunArguments {
  Recipe recipe;
  std::string curriculum = "256:2000,512:1000,1024:1000,2048:2000";
  std::vector<std::filesystem::path> texts;
  std::filesystem::path from;  // empty: a new model
  std::filesystem::path out = "model.gguf";
  std::filesystem::path checkpoint;
  std::filesystem::path curve;
  std::size_t checkpoint_every = 100;
  std::size_t report_every = 20;
  std::size_t stop_after = 0;  // 0: at the end of the recipe
  bool as_f32 = false;
  Origin origin{"skim", "", ""};
};

/// Stops early, with a checkpoint, when it is asked to by SIGINT or SIGTERM.
void run(RunArguments arguments, std::size_t threads);

}  // namespace train
