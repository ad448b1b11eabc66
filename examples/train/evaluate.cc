// SPDX-License-Identifier: Apache-2.0
#include "evaluate.h"

#include <cmath>
#include <numbers>

#include "chance.h"
#include "generate/error.h"
#include "generate/parallel.h"

namespace train {
namespace {

bool is_likeliest(const Matrix<float>& logits, std::size_t row, Token token) {
  Eigen::Index best = 0;
  logits.row(static_cast<Eigen::Index>(row)).maxCoeff(&best);
  return best == token;
}

/// logits: row i says what token i + 1 is.
void add(const Sample& sample, Tape<float>& tape, std::vector<float>& ones, std::vector<float>& losses,
         Evaluation& to) {
  for (const auto& [begin, end] : sample.answers) {
    bool correct = true;
    for (std::size_t i = begin; i < end; ++i)
      correct = correct && is_likeliest(tape.logits, i - 1, sample.tokens[i]);
    ++to.answers;
    to.correct += correct;
  }
  ones.assign(sample.tokens.size() - 1, 1.0f);
  cross_entropy<float>(tape.logits, std::span(sample.tokens).subspan(1), ones, losses);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    if (!std::isfinite(losses[i])) engine::fail("train: token ", i + 1, " of a text has a loss of ", losses[i]);
  }
  for (const auto& [begin, end] : sample.answers) {
    for (std::size_t i = begin; i < end; ++i) to.answer_nll += static_cast<double>(losses[i - 1]);
    to.answer_tokens += end - begin;
  }
  for (std::size_t i = prompt_rows(sample) + 1; i < sample.tokens.size(); ++i) {
    if (sample.weights[i] != 1) continue;
    ++to.tokens;
    to.nll += static_cast<double>(losses[i - 1]);
  }
}

}  // namespace

double Evaluation::bits() const { return nll / static_cast<double>(tokens) / std::numbers::ln2; }

Evaluation evaluate(const Transformer<float>& model, const std::vector<float>& weights,
                    const Task& task, std::size_t context, std::size_t texts, std::uint64_t seed,
                    const MakeAttention& make_attention, std::size_t threads) {
  struct Worker {
    std::unique_ptr<Attention<float>> attention;
    Tape<float> tape;
    std::vector<float> ones, losses;
  };
  std::vector<Worker> workers(threads);
  std::vector<Evaluation> each(texts);
  engine::for_each_parallel(texts, threads, [&](std::size_t i, std::size_t worker) {
    Worker& at = workers[worker];
    if (!at.attention) at.attention = make_attention();
    std::mt19937_64 random = random_of(seed, 0, i);
    const Sample sample = task(context, random);
    at.attention->begin(sample, random());
    model.forward(weights.data(), std::span(sample.tokens).first(context), *at.attention, at.tape);
    add(sample, at.tape, at.ones, at.losses, each[i]);
  });
  Evaluation sum;
  for (const Evaluation& one : each) {
    sum.answers += one.answers;
    sum.correct += one.correct;
    sum.answer_tokens += one.answer_tokens;
    sum.answer_nll += one.answer_nll;
    sum.tokens += one.tokens;
    sum.nll += one.nll;
  }
  return sum;
}

}  // namespace train
