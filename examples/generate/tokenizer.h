// SPDX-License-Identifier: Apache-2.0
// The tokenizer inside a Llama GGUF file: pieces of text with scores, as SentencePiece trains them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf.h"

namespace engine {

using Token = std::int32_t;

class Tokenizer {
 public:
  /// Copies what it needs out of `file`.
  explicit Tokenizer(const Gguf& file);

  /// BOS, then `text` with a leading space: its characters, joined pair by pair, best score first,
  /// as long as a pair is a piece (llama2.c's rule). A character that is no piece becomes bytes.
  std::vector<Token> encode(std::string_view text) const;

  /// The bytes `token` stands for when it follows `previous`; perhaps only a part of a character.
  /// Control tokens are empty, and the space that `encode` puts after BOS is taken off again.
  std::string decode(Token previous, Token token) const;

  std::size_t size() const { return pieces_.size(); }
  Token bos() const { return bos_; }
  /// Whether a text is over: at EOS, or at the BOS of another text.
  bool is_end(Token token) const { return token == eos_ || token == bos_; }

 private:
  enum class Kind : std::int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string text;
    float score = 0;
    Kind kind = Kind::kNormal;
  };

  std::optional<Token> find(std::string_view text) const;
  std::vector<std::string_view> join_pieces(std::string_view text) const;

  std::vector<Piece> pieces_;
  std::map<std::string, Token, std::less<>> by_text_;  // normal and user-defined pieces
  std::size_t longest_ = 0;                            // bytes of the longest of them
  std::array<std::optional<Token>, 256> by_byte_;
  Token bos_ = 0;
  Token eos_ = 0;
  std::optional<Token> unknown_;
  bool space_prefix_ = true;
};

}  // namespace engine
