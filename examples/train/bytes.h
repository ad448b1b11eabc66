// SPDX-License-Identifier: Apache-2.0
// The vocabulary of our models, as the tokenizer of a Llama GGUF file sees it: one token for each byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "generate/tokenizer.h"

namespace train {

using engine::Token;

constexpr Token kUnknown = 0;
constexpr Token kBos = 1;
constexpr Token kEos = 2;
constexpr Token kFirstByte = 3;
/// Tokenizers of this kind write a space as a piece of its own, so byte piece 0x20 is never used.
constexpr Token kSpace = kFirstByte + 256;
constexpr std::size_t kVocabulary = 260;
constexpr std::string_view kSpacePiece = "\xE2\x96\x81";  // U+2581

inline Token token_of(char c) { return c == ' ' ? kSpace : kFirstByte + static_cast<std::uint8_t>(c); }

/// Nothing for tokens that are no text.
inline std::optional<char> byte_of(Token token) {
  if (token == kSpace) return ' ';
  if (token < kFirstByte || token > kSpace) return std::nullopt;
  return static_cast<char>(static_cast<std::uint8_t>(token - kFirstByte));
}

/// The tokens of `text`, without BOS: one for each byte. Only U+2581 is a single token, that of a
/// space, since a tokenizer cannot tell the two apart.
inline std::vector<Token> encode(std::string_view text) {
  std::vector<Token> tokens;
  tokens.reserve(text.size());
  while (!text.empty()) {
    const bool is_piece = text.starts_with(kSpacePiece);
    tokens.push_back(is_piece ? kSpace : token_of(text[0]));
    text.remove_prefix(is_piece ? kSpacePiece.size() : 1);
  }
  return tokens;
}

/// The text of `tokens`; control tokens have none.
inline std::string decode(std::span<const Token> tokens) {
  std::string text;
  for (const Token token : tokens) {
    if (const auto byte = byte_of(token)) text += *byte;
  }
  return text;
}

/// What a GGUF file says of each token: its piece (tokenizer.ggml.tokens) ...
inline std::vector<std::string> pieces() {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::vector<std::string> pieces{"<unk>", "<s>", "</s>"};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    pieces.push_back(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + '>');
  }
  pieces.emplace_back(kSpacePiece);
  return pieces;
}

/// ... its kind (tokenizer.ggml.token_type), numbered as in engine::Tokenizer::Kind ...
inline std::vector<std::int32_t> kinds() {
  constexpr std::int32_t kNormal = 1, kUnknownKind = 2, kControl = 3, kByte = 6;
  std::vector<std::int32_t> kinds{kUnknownKind, kControl, kControl};
  kinds.resize(kinds.size() + 256, kByte);
  kinds.push_back(kNormal);
  return kinds;
}

/// ... and its score (tokenizer.ggml.scores), which says what to join first: there is nothing to join.
inline std::vector<float> scores() { return std::vector<float>(kVocabulary, 0.0f); }

}  // namespace train
