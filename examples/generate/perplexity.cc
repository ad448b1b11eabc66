// SPDX-License-Identifier: Apache-2.0
#include "perplexity.h"

#include <algorithm>
#include <cmath>

#include "sample.h"

namespace engine {
namespace {

std::vector<double> log_softmax(const Vector& logits) {
  const double largest = logits[most_likely(logits)];
  double sum = 0;
  for (const double x : logits) sum += std::exp(x - largest);
  const double lse = largest + std::log(sum);
  std::vector<double> log_p(logits.begin(), logits.end());
  for (double& x : log_p) x -= lse;
  return log_p;
}

/// KL(p || q) of two distributions given by their logarithms.
double divergence(const std::vector<double>& log_p, const std::vector<double>& log_q) {
  double sum = 0;
  for (std::size_t i = 0; i < log_p.size(); ++i) sum += std::exp(log_p[i]) * (log_p[i] - log_q[i]);
  return sum;
}

}  // namespace

Score& Score::operator+=(const Score& other) {
  predictions += other.predictions;
  nll_sum += other.nll_sum;
  kl_sum += other.kl_sum;
  changed += other.changed;
  return *this;
}

std::vector<std::string_view> split_documents(std::string_view text) {
  constexpr std::string_view kSeparator = "<|endoftext|>";
  constexpr std::string_view kWhiteSpace = " \t\r\n\v\f";
  std::vector<std::string_view> documents;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(kSeparator), text.size());
    std::string_view document = text.substr(0, end);
    text.remove_prefix(std::min(end + kSeparator.size(), text.size()));

    const std::size_t first = document.find_first_not_of(kWhiteSpace);
    if (first == std::string_view::npos) continue;
    const std::size_t last = document.find_last_not_of(kWhiteSpace);
    documents.push_back(document.substr(first, last + 1 - first));
  }
  return documents;
}

std::vector<std::vector<Token>> tokenized(const Tokenizer& tokenizer, std::string_view text, std::size_t context) {
  std::vector<std::vector<Token>> texts;
  for (const std::string_view document : split_documents(text)) texts.push_back(tokenizer.encode(document));
  if (context == 0) return texts;
  std::vector<Token> all;
  for (const auto& tokens : texts) all.insert(all.end(), tokens.begin(), tokens.end());
  texts.clear();
  for (std::size_t i = 0; i < all.size(); i += context) {
    const auto at = [&](std::size_t j) { return all.begin() + static_cast<std::ptrdiff_t>(j); };
    texts.emplace_back(at(i), at(std::min(all.size(), i + context)));
  }
  return texts;
}

Score score(const Llama& model, std::span<const Token> tokens, Attention& tested, Attention& exact,
            const std::function<void(std::size_t)>& progress, std::size_t from) {
  Score score;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    const Vector tested_logits = model.decode(tokens[i], i, tested);
    const Vector exact_logits = model.decode(tokens[i], i, exact);
    if (progress) progress(i + 1);
    if (i + 1 < from) continue;
    const auto tested_log_p = log_softmax(tested_logits);

    ++score.predictions;
    score.nll_sum -= tested_log_p[static_cast<std::size_t>(tokens[i + 1])];
    score.kl_sum += divergence(log_softmax(exact_logits), tested_log_p);
    score.changed += most_likely(tested_logits) != most_likely(exact_logits);
  }
  return score;
}

}  // namespace engine
