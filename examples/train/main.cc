// SPDX-License-Identifier: Apache-2.0
// Trains small Llama models of bytes with any of skim's methods of attention, and measures how well a model
// does long-context tasks with any of them.
#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "entropy_command.h"
#include "evaluate_command.h"
#include "generate/parallel.h"
#include "run_command.h"

namespace {

void add_measured_texts(CLI::App& command, train::MeasuredTexts& to) {
  const auto option = [&](const char* name, auto& value, const char* what) {
    return command.add_option(name, value, what)->capture_default_str();
  };
  option("--model", to.model, "GGUF file")->required()->check(CLI::ExistingFile);
  option("--text", to.texts, "files of text, the same as in training")
      ->required()
      ->check(CLI::ExistingFile);
  option("--task", to.tasks, "tasks");
  option("--context", to.context, "tokens of a text; 0: the model's context")
      ->check(CLI::NonNegativeNumber);
  option("--count", to.count, "texts of each task")->check(CLI::PositiveNumber);
  option("--seed", to.seed, "of the texts")->check(CLI::NonNegativeNumber);
  command.add_flag("--unseen", to.is_unseen,
                   "the model has learnt from none of these files: use all but the last twentieth, not "
                   "that alone");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Trains small Llama models with sparse attention, and evaluates them on long-context tasks."};
  app.require_subcommand(1);
  std::size_t threads = engine::machine_threads();
  app.fallthrough();  // --threads may stand behind the command
  app.add_option("--threads", threads, "threads; results do not depend on them")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();

  train::RunArguments run;
  train::Recipe& recipe = run.recipe;
  CLI::App& runs = *app.add_subcommand("run", "trains a model, or goes on with a checkpoint");
  recipe.shape = {.layers = 4, .width = 128, .heads = 4, .kv_heads = 2, .head_size = 32, .hidden = 512};
  const auto option = [&](const char* name, auto& value, const char* what) {
    return runs.add_option(name, value, what)->capture_default_str();
  };
  option("--text", run.texts, "files to learn from")->required()->check(CLI::ExistingFile);
  option("--from", run.from,
         "GGUF file of a model of this program to begin with; its shape is the shape")
      ->check(CLI::ExistingFile);
  option("--layers", recipe.shape.layers, "layers")->check(CLI::PositiveNumber);
  option("--width", recipe.shape.width, "width of the residual stream")->check(CLI::PositiveNumber);
  option("--heads", recipe.shape.heads, "query heads")->check(CLI::PositiveNumber);
  option("--kv-heads", recipe.shape.kv_heads, "KV heads")->check(CLI::PositiveNumber);
  option("--head-size", recipe.shape.head_size, "values of a head, even")->check(CLI::PositiveNumber);
  option("--hidden", recipe.shape.hidden, "width of the feed-forward layers")
      ->check(CLI::PositiveNumber);
  option("--estimator", recipe.estimator, "attention, forward and backward, such as 'topk(64)'");
  option("--tasks", recipe.tasks, "what to learn and in which shares, such as text:2,needles:1");
  option("--curriculum", run.curriculum, "CONTEXT:STEPS,... one after the other");
  option("--tokens", recipe.tokens, "tokens of a step")->check(CLI::PositiveNumber);
  option("--rate", recipe.rate, "highest learning rate")->check(CLI::PositiveNumber);
  option("--warmup", recipe.warmup, "steps until then")->check(CLI::NonNegativeNumber);
  option("--weight-decay", recipe.optimizer.weight_decay, "of AdamW")->check(CLI::NonNegativeNumber);
  option("--clip", recipe.clip, "longest gradient")->check(CLI::PositiveNumber);
  option("--seed", recipe.seed, "of weights and texts")->check(CLI::NonNegativeNumber);
  option("--out", run.out, "GGUF file to write at the end");
  option("--checkpoint", run.checkpoint, "file to go on from, if it is there, and to write on the way");
  option("--checkpoint-every", run.checkpoint_every, "steps between checkpoints")
      ->check(CLI::PositiveNumber);
  option("--report-every", run.report_every, "steps between lines of progress")
      ->check(CLI::PositiveNumber);
  option("--curve", run.curve, "file for the loss curve");
  option("--stop-after", run.stop_after, "stops after that step, with a checkpoint; 0: at the end")
      ->check(CLI::NonNegativeNumber);
  option("--name", run.origin.name, "name of the model, in its file");
  option("--license", run.origin.license, "licence of the model, in its file; empty: none is named");
  runs.add_flag("--f32", run.as_f32, "write matrices in f32, not f16");

  train::MeasuredTexts evaluated{
      .tasks = {"text", "needle", "needles", "common_words", "frequent_words", "variables"},
      .count = 32};
  train::Decoding decoding;
  CLI::App& evaluates =
      *app.add_subcommand("evaluate", "measures how well a model does tasks, on text it has not seen");
  add_measured_texts(evaluates, evaluated);
  const auto choice = [&](const char* name, auto& value, const char* what) {
    return evaluates.add_option(name, value, what)->capture_default_str();
  };
  choice("--estimator", decoding.estimators, "attention of the rows that decode, such as 'topk(64)'");
  CLI::Option* topk = choice("--topk", decoding.topk,
                             "attention of the rows that decode: approximate top-k, of so many keys")
                          ->check(CLI::PositiveNumber);
  choice("--precision", decoding.precisions,
         "share of the exact ones among these, rounded to whole keys")
      ->check(CLI::Range(0.0, 1.0))
      ->needs(topk);
  choice("--prompt", decoding.prompt,
         "attention of the rows that read the prompt; empty: as those that decode, dense with --topk");

  train::MeasuredTexts looked_at{.tasks = {"text"}, .count = 16};
  CLI::App& entropies =
      *app.add_subcommand("entropy", "measures how many keys the heads of a model attend to");
  add_measured_texts(entropies, looked_at);
  CLI11_PARSE(app, argc, argv);

  try {
    if (runs.parsed()) train::run(run, threads);
    if (evaluates.parsed()) train::evaluate(evaluated, decoding, threads);
    if (entropies.parsed()) train::entropy(looked_at, threads);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
