// SPDX-License-Identifier: Apache-2.0
#include "evaluate_command.h"

#include <cstdio>

#include "evaluate.h"
#include "imprecise_topk.h"
#include "streams/streams.h"

namespace train {
namespace {

/// What decodes, and its name in the table.
struct Decoder {
  std::string name;
  MakeAttention make;
};

std::vector<Decoder> decoders(const Decoding& decoding, const engine::Shape& shape) {
  std::vector<std::string> estimators = decoding.estimators;
  if (estimators.empty() && decoding.topk.empty()) estimators.push_back("dense");
  std::vector<Decoder> all;
  for (const std::string& name : estimators) {
    const skim::StageList decode = skim::parse(name);
    const skim::StageList prompt = decoding.prompt.empty() ? decode : skim::parse(decoding.prompt);
    all.push_back({name, [=] {
                     return std::make_unique<PromptedAttention<skim::StageList>>(shape, prompt, decode);
                   }});
  }
  const skim::StageList prompt = skim::parse(decoding.prompt.empty() ? "dense" : decoding.prompt);
  for (const std::size_t k : decoding.topk) {
    for (const double precision : decoding.precisions) {
      const ImpreciseTopK decode{static_cast<skim::Position>(k), precision};
      decode.validate();
      char name[64];
      std::snprintf(name, sizeof name, "topk(%zu)*%g", k,
                    static_cast<double>(decode.kept()) / static_cast<double>(k));
      all.push_back({name, [=] {
                       return std::make_unique<PromptedAttention<ImpreciseTopK>>(shape, prompt, decode);
                     }});
    }
  }
  return all;
}

/// A mean over answers; a text without questions has none.
std::string shown(double mean, std::size_t answers) {
  if (answers == 0) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.4f", mean);
  return text;
}

}  // namespace

void evaluate(const MeasuredTexts& on, const Decoding& decoding, std::size_t threads) {
  const LoadedModel loaded(on.model, on.context);
  const Corpus corpus = Corpus::read(on.texts);
  const std::vector<Decoder> all = decoders(decoding, loaded.model.shape());

  std::printf("%-16s %-28s %8s %9s %8s %10s %8s\n", "task", "estimator", "context", "accuracy",
              "answers", "answer_nll", "bits");
  for (const std::string& name : on.tasks) {
    const Task task = make_task(name, corpus, on.part());
    for (const Decoder& decoder : all) {
      const Evaluation e = evaluate(loaded.model, loaded.weights, task, loaded.context, on.count,
                                    on.seed, decoder.make, threads);
      std::printf("%-16s %-28s %8zu %9s %8zu %10s %8.4f\n", name.c_str(), decoder.name.c_str(),
                  loaded.context, shown(e.accuracy(), e.answers).c_str(), e.answers,
                  shown(e.answer_nll / static_cast<double>(e.answer_tokens), e.answers).c_str(),
                  e.bits());
      streams::require_written();
    }
  }
}

}  // namespace train
