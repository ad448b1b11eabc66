// SPDX-License-Identifier: Apache-2.0
#include "trainer.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "chance.h"
#include "fingerprint.h"
#include "generate/error.h"
#include "generate/parallel.h"

namespace train {
namespace {

/// Sums of gradients that are kept apart until the end of a step. Their number is fixed, whatever the number of
/// threads, because it decides the order of additions.
constexpr std::size_t kSums = 8;

/// The recipe, if it fits together: before anything is as large as it says.
const Recipe& checked(const Recipe& recipe, const Corpus& corpus) {
  recipe.check(corpus.training().size());
  return recipe;
}

}  // namespace

Trainer::Trainer(const Recipe& recipe, const Corpus& corpus, std::size_t threads,
                 std::vector<float> weights)
    : recipe_(checked(recipe, corpus)),
      model_(recipe.shape),
      task_(make_mixture(recipe.tasks, corpus, Part::kTraining)) {
  const skim::StageList estimator = skim::parse(recipe.estimator);
  for (std::size_t i = 0; i < threads; ++i)
    workers_.push_back({TrainedAttention<float>(recipe.shape, estimator), {}, {}, {}});
  gradients_.resize(kSums);
  for (auto& gradient : gradients_) gradient.resize(model_.layout().size);
  std::ostringstream text;
  text << recipe.text() << " text=" << corpus.training().size() << ':' << std::hex
       << fingerprint(std::as_bytes(std::span(corpus.training())));
  if (weights.empty()) {
    weights = first_weights(recipe.shape, recipe.seed);
  } else {
    if (weights.size() != model_.layout().size) {
      engine::fail("train: ", weights.size(), " weights to begin with but the model has ",
                   model_.layout().size);
    }
    text << " from=" << fingerprint(std::as_bytes(std::span(weights)));
  }
  state_.recipe = text.str();
  state_.weights = std::move(weights);
  state_.first_moments.resize(state_.weights.size());
  state_.second_moments.resize(state_.weights.size());
}

void Trainer::resume(Checkpoint checkpoint) {
  if (checkpoint.recipe != state_.recipe) {
    engine::fail("train: the checkpoint is of another run:\n  ", checkpoint.recipe,
                 "\nbut this one is\n  ", state_.recipe);
  }
  if (checkpoint.weights.size() != state_.weights.size()) {
    engine::fail("train: the checkpoint has ", checkpoint.weights.size(), " weights but the model ",
                 state_.weights.size());
  }
  state_ = std::move(checkpoint);
}

StepReport Trainer::step() {
  const std::size_t context = recipe_.context_of(state_.step);
  const std::size_t texts = std::max<std::size_t>(1, recipe_.tokens / context);
  std::vector<Sample> samples(texts);
  double weight_sum = 0;
  for (std::size_t i = 0; i < texts; ++i) {
    std::mt19937_64 random = random_of(recipe_.seed, state_.step, i);
    samples[i] = task_(context, random);
    for (const float weight : samples[i].weights) weight_sum += static_cast<double>(weight);
  }

  std::vector<double> losses(texts);
  const std::size_t sums = std::min(kSums, texts);
  engine::for_each_parallel(sums, workers_.size(), [&](std::size_t sum, std::size_t worker) {
    std::fill(gradients_[sum].begin(), gradients_[sum].end(), 0.0f);
    for (std::size_t i = sum; i < texts; i += sums) {
      workers_[worker].attention.begin(samples[i], mix(recipe_.seed ^ mix(state_.step * texts + i)));
      losses[i] = learn(workers_[worker], samples[i], weight_sum, gradients_[sum].data());
    }
  });
  std::vector<float>& gradient = gradients_[0];
  for (std::size_t sum = 1; sum < sums; ++sum) {
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] += gradients_[sum][i];
  }

  StepReport report{.context = context, .tokens = texts * context};
  for (const double loss : losses) report.loss += loss / weight_sum;
  report.gradient_norm = clip(gradient, recipe_.clip);
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) {
    engine::fail("train: step ", state_.step + 1, " has a loss of ", report.loss, " and a gradient of ",
                 report.gradient_norm, "; the same recipe would come here again");
  }
  recipe_.optimizer.update(model_.layout(), state_.step + 1, recipe_.rate_of(state_.step), gradient,
                           state_.weights, state_.first_moments, state_.second_moments);
  ++state_.step;
  ++state_.losses;
  state_.loss_sum += report.loss;
  return report;
}

double Trainer::take_mean_loss() {
  const double mean = state_.loss_sum / static_cast<double>(state_.losses);
  state_.losses = 0;
  state_.loss_sum = 0;
  return mean;
}

double Trainer::learn(Worker& worker, const Sample& sample, double weight_sum, float* gradient) const {
  const std::span<const Token> tokens = sample.tokens;
  const auto read = tokens.first(tokens.size() - 1);
  model_.forward(state_.weights.data(), read, worker.attention, worker.tape);

  worker.weights.assign(sample.weights.begin() + 1, sample.weights.end());
  for (float& weight : worker.weights)
    weight = static_cast<float>(static_cast<double>(weight) / weight_sum);
  cross_entropy<float>(worker.tape.logits, tokens.subspan(1), worker.weights, worker.losses);
  double sum = 0;
  for (std::size_t i = 0; i < worker.losses.size(); ++i) {
    sum += static_cast<double>(sample.weights[i + 1]) * static_cast<double>(worker.losses[i]);
  }
  model_.backward(state_.weights.data(), read, worker.attention, worker.tape, gradient);
  return sum;
}

}  // namespace train
