// SPDX-License-Identifier: Apache-2.0
// Steps of a training run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint.h"
#include "recipe.h"
#include "sample.h"
#include "tasks.h"
#include "transformer.h"

namespace train {

/// Of one step.
struct StepReport {
  std::size_t context = 0;
  std::size_t tokens = 0;
  double loss = 0;           // nats, mean over the weighted predictions
  double gradient_norm = 0;  // before clipping
};

/// Equal recipes and texts give equal weights, bit for bit, on any number of threads and from any checkpoint.
class Trainer {
 public:
  /// `weights`: what to begin with, empty for a new model. The corpus must outlive it. Throws
  /// std::runtime_error on a recipe that does not fit together.
  Trainer(const Recipe& recipe, const Corpus& corpus, std::size_t threads,
          std::vector<float> weights = {});

  /// Goes on from a checkpoint. Throws std::runtime_error when it is of another recipe.
  void resume(Checkpoint checkpoint);

  /// Throws std::runtime_error, with everything as it was, when loss or gradient are not finite.
  StepReport step();

  /// Of the steps since it was last asked, in this process or in one that this one goes on with.
  double take_mean_loss();

  std::uint64_t steps_done() const { return state_.step; }
  bool is_done() const { return state_.step >= recipe_.steps(); }
  const Checkpoint& state() const { return state_; }
  const Recipe& recipe() const { return recipe_; }
  const Transformer<float>& model() const { return model_; }

 private:
  /// What one thread works with.
  struct Worker {
    TrainedAttention<float> attention;
    Tape<float> tape;
    std::vector<float> weights, losses;
  };

  /// Adds the gradient of one text; returns its weighted loss.
  double learn(Worker& worker, const Sample& sample, double weight_sum, float* gradient) const;

  Recipe recipe_;
  Transformer<float> model_;
  Task task_;
  std::vector<Worker> workers_;
  std::vector<std::vector<float>> gradients_;
  Checkpoint state_;
};

}  // namespace train
