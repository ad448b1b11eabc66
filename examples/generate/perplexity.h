// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llama.h"
#include "tokenizer.h"

namespace engine {

/// How well a model with some attention predicts text, and how far it is from exact attention.
/// Sums over the predicted tokens, so that documents add up; the members give means per token.
struct Score {
  std::size_t predictions = 0;
  double nll_sum = 0;       // -ln p(token)
  double kl_sum = 0;        // KL(exact || tested) over the vocabulary
  std::size_t changed = 0;  // predictions whose likeliest token is not the exact one

  double nll() const { return nll_sum / static_cast<double>(predictions); }
  double kl() const { return kl_sum / static_cast<double>(predictions); }
  double changed_share() const {
    return static_cast<double>(changed) / static_cast<double>(predictions);
  }
  Score& operator+=(const Score& other);
};

/// The parts of `text` between "<|endoftext|>" without the white space around them; no empty ones.
std::vector<std::string_view> split_documents(std::string_view text);

/// The tokens of each document of `text`; or, when `context` is not 0, of all of them one behind the other in
/// texts of that length, of which the last is shorter.
std::vector<std::vector<Token>> tokenized(const Tokenizer& tokenizer, std::string_view text, std::size_t context);

/// Feeds `tokens` to the model one by one, as generation does, once with each attention, and scores
/// the prediction of every token but the first, or of those behind the first `from`. Both attentions
/// are fresh. `progress` hears of each token that is done.
Score score(const Llama& model, std::span<const Token> tokens, Attention& tested, Attention& exact,
            const std::function<void(std::size_t done)>& progress = {}, std::size_t from = 1);

}  // namespace engine
