// SPDX-License-Identifier: Apache-2.0
// Trains small Llama models of bytes with any of skim's methods of attention, and measures how well a model
// does long-context tasks with any of them.
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "bytes.h"
#include "evaluate.h"
#include "generate/error.h"
#include "generate/gguf.h"
#include "loss_curve.h"
#include "model_file.h"
#include "trainer.h"

namespace train {
namespace {

struct RunArguments {
  Recipe recipe;
  std::string curriculum = "2048:100";
  std::vector<std::filesystem::path> texts;
  std::filesystem::path out = "model.gguf";
  std::filesystem::path checkpoint;
  std::filesystem::path curve;
  std::size_t checkpoint_every = 100;
  std::size_t report_every = 20;
  std::size_t stop_after = 0;  // 0: at the end of the recipe
  bool as_f32 = false;
  Origin origin{"skim", "Apache-2.0", ""};
};

struct EvaluateArguments {
  std::filesystem::path model;
  std::vector<std::filesystem::path> texts;
  std::vector<std::string> tasks{"text", "needle", "needles", "common_words", "frequent_words", "variables"};
  std::vector<std::string> estimators{"dense"};
  std::string prompt;  // empty: as decoding
  std::size_t context = 0;  // 0: the model's
  std::size_t count = 32;
  std::uint64_t seed = 1;
};

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

/// What has been seen since the last line.
class Report {
 public:
  explicit Report(const Trainer& trainer) : trainer_(trainer) {}

  void add(const StepReport& step) {
    last_ = step;
    loss_ += step.loss;
    tokens_ += step.tokens;
    ++steps_;
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
    const double loss = loss_ / static_cast<double>(steps_);
    std::fprintf(stderr, "step %zu of %zu, context %zu: loss %.4f, gradient %.2f, %.0f tokens/s, %s left\n", done,
                 recipe.steps(), last_.context, loss, last_.gradient_norm, speed, duration(tokens_left / speed).c_str());
    if (curve) {
      const double values[] = {static_cast<double>(last_.context), loss, last_.gradient_norm, recipe.rate_of(done - 1)};
      curve->append(done, values);
    }
    loss_ = 0;
    tokens_ = steps_ = 0;
    since_ = Clock::now();
  }

 private:
  using Clock = std::chrono::steady_clock;
  const Trainer& trainer_;
  StepReport last_;
  double loss_ = 0;
  std::size_t tokens_ = 0, steps_ = 0;
  Clock::time_point since_ = Clock::now();
};

void run(RunArguments arguments, std::size_t threads) {
  Recipe& recipe = arguments.recipe;
  recipe.curriculum = parse_curriculum(arguments.curriculum);
  recipe.shape.vocabulary = kVocabulary;
  for (const Recipe::Stage& stage : recipe.curriculum) recipe.shape.context = std::max(recipe.shape.context, stage.context);
  const Corpus corpus = Corpus::read(arguments.texts);
  Trainer trainer(recipe, corpus, threads);
  std::fprintf(stderr, "%zu weights, %zu steps, %zu threads\n%s\n", trainer.model().layout().size, recipe.steps(), threads,
               recipe.text().c_str());
  if (!arguments.checkpoint.empty() && std::filesystem::exists(arguments.checkpoint)) {
    trainer.resume(load_checkpoint(arguments.checkpoint));
    std::fprintf(stderr, "goes on after step %zu\n", static_cast<std::size_t>(trainer.steps_done()));
  }
  std::optional<LossCurve> curve;
  if (!arguments.curve.empty()) {
    curve.emplace(arguments.curve, std::vector<std::string>{"context", "loss", "gradient_norm", "rate"},
                  trainer.steps_done());
  }
  const auto save_state = [&] {
    if (!arguments.checkpoint.empty()) save(trainer.state(), arguments.checkpoint);
  };

  std::signal(SIGINT, ask_to_stop);
  std::signal(SIGTERM, ask_to_stop);
  Report report(trainer);
  while (!trainer.is_done() && !is_asked_to_stop) {
    report.add(trainer.step());
    const std::uint64_t done = trainer.steps_done();
    if (done % arguments.report_every == 0 || trainer.is_done()) report.print(curve ? &*curve : nullptr);
    if (done % arguments.checkpoint_every == 0) save_state();
    if (done == arguments.stop_after) break;
  }
  save_state();
  if (!trainer.is_done()) {
    std::fprintf(stderr, "stopped after step %zu\n", static_cast<std::size_t>(trainer.steps_done()));
    return;
  }
  arguments.origin.description = recipe.text();
  save_model(recipe.shape, trainer.state().weights, arguments.origin, !arguments.as_f32, arguments.out);
  std::fprintf(stderr, "wrote %s\n", arguments.out.c_str());
}

void measure(const EvaluateArguments& arguments, std::size_t threads) {
  const engine::Gguf file = engine::Gguf::read(arguments.model);
  engine::Shape shape = engine::Llama(file).shape();
  const std::vector<float> weights = load_weights(file, shape);
  const std::size_t context = arguments.context ? arguments.context : shape.context;
  shape.context = std::max(shape.context, context);
  const Transformer<float> model(shape);
  const Corpus corpus = Corpus::read(arguments.texts);

  std::printf("%-16s %-28s %8s %9s %8s %10s %8s\n", "task", "estimator", "context", "accuracy", "answers", "answer_nll",
              "bits");
  for (const std::string& name : arguments.tasks) {
    const Task task = make_task(name, corpus, Part::kHeldOut);
    for (const std::string& estimator : arguments.estimators) {
      const skim::StageList decode = skim::parse(estimator);
      const skim::StageList prompt = arguments.prompt.empty() ? decode : skim::parse(arguments.prompt);
      const Evaluation e = evaluate(
          model, weights, task, context, arguments.count, arguments.seed,
          [&] { return std::make_unique<PromptedAttention>(shape, prompt, decode); }, threads);
      std::printf("%-16s %-28s %8zu %9.4f %8zu %10.4f %8.4f\n", name.c_str(), estimator.c_str(), context, e.accuracy(),
                  e.answers, e.answer_nll / static_cast<double>(e.answer_tokens), e.bits());
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace train

int main(int argc, char** argv) {
  CLI::App app{"Trains small Llama models with sparse attention, and evaluates them on long-context tasks."};
  app.require_subcommand(1);
  std::size_t threads = std::max(1u, std::thread::hardware_concurrency());
  app.add_option("--threads", threads, "threads; results do not depend on them")->check(CLI::PositiveNumber)->capture_default_str();

  train::RunArguments run;
  train::Recipe& recipe = run.recipe;
  CLI::App& runs = *app.add_subcommand("run", "trains a model, or goes on with a checkpoint");
  recipe.shape = {.layers = 4, .width = 128, .heads = 4, .kv_heads = 2, .head_size = 32, .hidden = 512};
  const auto option = [&](const char* name, auto& value, const char* what) {
    return runs.add_option(name, value, what)->capture_default_str();
  };
  option("--text", run.texts, "files to learn from")->required()->check(CLI::ExistingFile);
  option("--layers", recipe.shape.layers, "layers")->check(CLI::PositiveNumber);
  option("--width", recipe.shape.width, "width of the residual stream")->check(CLI::PositiveNumber);
  option("--heads", recipe.shape.heads, "query heads")->check(CLI::PositiveNumber);
  option("--kv-heads", recipe.shape.kv_heads, "KV heads")->check(CLI::PositiveNumber);
  option("--head-size", recipe.shape.head_size, "values of a head, even")->check(CLI::PositiveNumber);
  option("--hidden", recipe.shape.hidden, "width of the feed-forward layers")->check(CLI::PositiveNumber);
  option("--estimator", recipe.estimator, "attention, forward and backward, such as 'topk(64)'");
  option("--tasks", recipe.tasks, "what to learn and in which shares, such as text:2,needles:1");
  option("--curriculum", run.curriculum, "CONTEXT:STEPS,... one after the other");
  option("--tokens", recipe.tokens, "tokens of a step")->check(CLI::PositiveNumber);
  option("--rate", recipe.rate, "highest learning rate")->check(CLI::PositiveNumber);
  option("--warmup", recipe.warmup, "steps until then");
  option("--weight-decay", recipe.optimizer.weight_decay, "of AdamW")->check(CLI::NonNegativeNumber);
  option("--clip", recipe.clip, "longest gradient")->check(CLI::PositiveNumber);
  option("--seed", recipe.seed, "of weights and texts");
  option("--out", run.out, "GGUF file to write at the end");
  option("--checkpoint", run.checkpoint, "file to go on from, if it is there, and to write on the way");
  option("--checkpoint-every", run.checkpoint_every, "steps between checkpoints")->check(CLI::PositiveNumber);
  option("--report-every", run.report_every, "steps between lines of progress")->check(CLI::PositiveNumber);
  option("--curve", run.curve, "file for the loss curve");
  option("--stop-after", run.stop_after, "stops after that step, with a checkpoint; 0: at the end");
  option("--name", run.origin.name, "name of the model, in its file");
  option("--license", run.origin.license, "licence of the model, in its file");
  runs.add_flag("--f32", run.as_f32, "write matrices in f32, not f16");

  train::EvaluateArguments evaluation;
  CLI::App& evaluates = *app.add_subcommand("evaluate", "measures how well a model does tasks, on text it has not seen");
  const auto choice = [&](const char* name, auto& value, const char* what) {
    return evaluates.add_option(name, value, what)->capture_default_str();
  };
  choice("--model", evaluation.model, "GGUF file")->required()->check(CLI::ExistingFile);
  choice("--text", evaluation.texts, "files of text, the same as in training")->required()->check(CLI::ExistingFile);
  choice("--task", evaluation.tasks, "tasks");
  choice("--estimator", evaluation.estimators, "attention of the rows that decode");
  choice("--prompt", evaluation.prompt, "attention of the rows that read the prompt; empty: as those that decode");
  choice("--context", evaluation.context, "tokens of a text; 0: the model's context");
  choice("--count", evaluation.count, "texts of each task")->check(CLI::PositiveNumber);
  choice("--seed", evaluation.seed, "of the texts");
  CLI11_PARSE(app, argc, argv);

  try {
    if (runs.parsed()) train::run(run, threads);
    if (evaluates.parsed()) train::measure(evaluation, threads);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
