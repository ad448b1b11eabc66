// SPDX-License-Identifier: Apache-2.0
#include "run_command.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>

#include "bytes.h"
#include "generate/gguf.h"
#include "generate/whole_file.h"
#include "loss_curve.h"
#include "trainer.h"

namespace train {
namespace {

std::atomic<bool> is_asked_to_stop = false;

void ask_to_stop(int) { is_asked_to_stop = true; }

/// "1 h 05 min"
std::string duration(double seconds) {
  const auto minutes = static_cast<long>(seconds / 60);
  char text[32];
  if (minutes >= 60) {
    std::snprintf(text, sizeof text, "%ld h %02ld min", minutes / 60, minutes % 60);
  } else {
    std::snprintf(text, sizeof text, "%ld min %02ld s", minutes, static_cast<long>(seconds) % 60);
  }
  return text;
}

/// Says how far a run has come.
class Report {
 public:
  explicit Report(Trainer& trainer) : trainer_(trainer) {}

  void add(const StepReport& step) {
    last_ = step;
    tokens_ += step.tokens;
  }

  /// One line of progress, and one of the loss curve.
  void print(LossCurve* curve) {
    const double seconds = std::chrono::duration<double>(Clock::now() - since_).count();
    const double speed = static_cast<double>(tokens_) / seconds;
    const auto done = static_cast<std::size_t>(trainer_.steps_done());
    const Recipe& recipe = trainer_.recipe();
    double tokens_left = 0;
    for (std::size_t i = done; i < recipe.steps(); ++i) {
      const std::size_t context = recipe.context_of(i);
      tokens_left += static_cast<double>(std::max<std::size_t>(1, recipe.tokens / context) * context);
    }
    const double loss = trainer_.take_mean_loss();
    std::fprintf(stderr,
                 "step %zu of %zu, context %zu: loss %.4f, gradient %.2f, %.0f tokens/s, %s left\n",
                 done, recipe.steps(), last_.context, loss, last_.gradient_norm, speed,
                 duration(tokens_left / speed).c_str());
    if (curve) {
      const double values[] = {static_cast<double>(last_.context), loss, last_.gradient_norm,
                               recipe.rate_of(done - 1)};
      curve->append(done, values);
    }
    tokens_ = 0;
    since_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Trainer& trainer_;
  StepReport last_;
  std::size_t tokens_ = 0;
  Clock::time_point since_ = Clock::now();
};

}  // namespace

void run(RunArguments arguments, std::size_t threads) {
  Recipe& recipe = arguments.recipe;
  recipe.curriculum = parse_curriculum(arguments.curriculum);
  recipe.shape.vocabulary = kVocabulary;
  std::vector<float> weights;
  if (!arguments.from.empty()) {
    const engine::Gguf file = engine::Gguf::read(arguments.from);
    recipe.shape = engine::Llama(file).shape();
    weights = load_weights(file, recipe.shape);
  }
  for (const Recipe::Stage& stage : recipe.curriculum)
    recipe.shape.context = std::max(recipe.shape.context, stage.context);
  const Corpus corpus = Corpus::read(arguments.texts);
  Trainer trainer(recipe, corpus, threads, std::move(weights));
  std::fprintf(stderr, "%zu weights, %zu steps, %zu threads\n%s\n", trainer.model().layout().size,
               recipe.steps(), threads, trainer.state().recipe.c_str());
  if (!arguments.checkpoint.empty() && std::filesystem::exists(arguments.checkpoint)) {
    trainer.resume(load_checkpoint(arguments.checkpoint));
    std::fprintf(stderr, "goes on after step %zu\n", static_cast<std::size_t>(trainer.steps_done()));
  }
  std::optional<LossCurve> curve;
  if (!arguments.curve.empty()) {
    curve.emplace(arguments.curve, std::vector<std::string>{"context", "loss", "gradient_norm", "rate"},
                  trainer.steps_done());
  }
  engine::require_writable(arguments.out);
  if (!arguments.checkpoint.empty()) engine::require_writable(arguments.checkpoint);
  std::uint64_t saved = trainer.steps_done();
  const auto save_state = [&] {
    if (arguments.checkpoint.empty() || saved == trainer.steps_done()) return;
    save(trainer.state(), arguments.checkpoint);
    saved = trainer.steps_done();
  };

  std::signal(SIGINT, ask_to_stop);
  std::signal(SIGTERM, ask_to_stop);
  Report report(trainer);
  const std::size_t last = arguments.stop_after ? arguments.stop_after : recipe.steps();
  while (!trainer.is_done() && trainer.steps_done() < last && !is_asked_to_stop) {
    report.add(trainer.step());
    const std::uint64_t done = trainer.steps_done();
    if (done % arguments.report_every == 0 || trainer.is_done())
      report.print(curve ? &*curve : nullptr);
    if (done % arguments.checkpoint_every == 0) save_state();
  }
  save_state();
  if (!trainer.is_done()) {
    std::fprintf(stderr, "stopped after step %zu, %s\n", static_cast<std::size_t>(trainer.steps_done()),
                 arguments.checkpoint.empty() ? "without a checkpoint: nothing is kept"
                                              : "the same command goes on");
    return;
  }
  arguments.origin.description = trainer.state().recipe;
  save_model(recipe.shape, trainer.state().weights, arguments.origin, !arguments.as_f32, arguments.out);
  std::fprintf(stderr, "wrote %s\n", arguments.out.c_str());
}

}  // namespace train
