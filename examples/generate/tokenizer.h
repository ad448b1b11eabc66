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

  /// A text that is to be continued: BOS, unless the file says no; then the text. What is text of a user-defined token
  /// is that token, the longest first. The parts between, each with a leading space unless the file says no, are
  /// characters, joined pair by pair, best score first, as long as a pair is a piece (llama2.c's rule). A character
  /// that is no piece becomes bytes.
  std::vector<Token> encode_beginning(std::string_view text) const;
  /// A whole text: the same, with EOS at its end if the file says so.
  std::vector<Token> encode(std::string_view text) const;

  /// The bytes `token` stands for when it follows `previous`; perhaps only a part of a character.
  /// Control tokens are empty, and a leading space that encoding puts before a part is taken off again.
  std::string decode(Token previous, Token token) const;

  std::size_t size() const { return pieces_.size(); }
  /// Throws std::runtime_error when the file has none; then it says that texts begin without.
  Token bos() const;
  /// Whether a text is over: at EOS, at any other token that the file says ends a text, a turn or a message, or at
  /// the BOS of another text.
  bool is_end(Token token) const { return pieces_.at(static_cast<std::size_t>(token)).is_end; }

 private:
  enum class Kind : std::int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string text;
    float score = 0;
    Kind kind = Kind::kNormal;
    bool is_end = false;
  };

  void read_ends(const Gguf& file);
  std::optional<Token> find(std::string_view text) const;
  std::optional<Token> find_user_defined(std::string_view text) const;
  void encode_part(std::string_view text, std::vector<Token>& tokens) const;
  std::vector<std::string_view> join_pieces(std::string_view text) const;
  bool has_space_after(Token previous) const;

  std::vector<Piece> pieces_;
  std::map<std::string, Token, std::less<>> by_text_;  // normal and user-defined pieces
  std::size_t longest_ = 0;                            // bytes of the longest of them
  // User-defined ones by their bytes in a text, by length, longest first.
  std::map<std::size_t, std::map<std::string, Token, std::less<>>, std::greater<>> user_defined_;
  std::array<std::optional<Token>, 256> by_byte_;
  std::optional<Token> bos_;
  Token eos_ = 0;
  std::optional<Token> unknown_;
  bool add_bos_ = true;
  bool add_eos_ = false;
  bool space_prefix_ = true;
};

}  // namespace engine
