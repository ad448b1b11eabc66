// SPDX-License-Identifier: Apache-2.0
#include "tokenizer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <queue>

#include "error.h"
#include "metadata.h"

namespace engine {
namespace {

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, how pieces write a space

/// Bytes of the UTF-8 character `text` begins with; 1 where it begins with none.
std::size_t character_length(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::size_t length = byte(0) < 0xC0 ? 1 : byte(0) < 0xE0 ? 2 : byte(0) < 0xF0 ? 3 : 4;
  if (length > text.size()) return 1;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 1;
  }
  return length;
}

/// 65 for "<0x41>", empty for a piece that is not a byte.
std::optional<std::uint8_t> parse_byte(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return std::nullopt;
  const char* const digits_end = piece.data() + 5;
  std::uint8_t byte = 0;
  const auto [end, error] = std::from_chars(piece.data() + 3, digits_end, byte, 16);
  if (error != std::errc() || end != digits_end) return std::nullopt;
  return byte;
}

/// `text` with its spaces as pieces write them.
std::string escape_spaces(std::string_view text) {
  std::string escaped;
  for (const char c : text) c == ' ' ? escaped += kSpace : escaped += c;
  return escaped;
}

void require_same_size(std::string_view key, std::size_t size, std::size_t tokens) {
  if (size != tokens) fail("gguf: key ", key, " has ", size, " elements for ", tokens, " tokens");
}

/// The token in `key`, which must be one of `size`.
std::optional<Token> find_token(const Gguf& file, std::string_view key, std::size_t size) {
  const auto token = file.find_count(key);
  if (!token) return std::nullopt;
  if (*token >= size) fail("gguf: key ", key, " is ", *token, " but there are ", size, " tokens");
  return static_cast<Token>(*token);
}

}  // namespace

Tokenizer::Tokenizer(const Gguf& file) {
  require_supported(file, MetadataOf::kTokenizer);
  file.text("tokenizer.ggml.model");  // the contract says which
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  constexpr std::string_view kScores = "tokenizer.ggml.scores";
  constexpr std::string_view kKinds = "tokenizer.ggml.token_type";
  const auto texts = file.texts(kTokens);
  const auto scores = file.numbers(kScores);
  const auto kinds = file.find_integers(kKinds);
  require_same_size(kScores, scores.size(), texts.size());
  if (kinds) require_same_size(kKinds, kinds->size(), texts.size());

  constexpr std::string_view kBos = "tokenizer.ggml.bos_token_id";
  constexpr std::string_view kEos = "tokenizer.ggml.eos_token_id";
  add_bos_ = file.find_flag("tokenizer.ggml.add_bos_token").value_or(true);
  add_eos_ = file.find_flag("tokenizer.ggml.add_eos_token").value_or(false);
  bos_ = find_token(file, kBos, texts.size());
  if (add_bos_ && !bos_) fail("gguf: key ", kBos, " is missing");
  const auto eos = find_token(file, kEos, texts.size());
  if (!eos) fail("gguf: key ", kEos, " is missing");
  eos_ = *eos;
  unknown_ = find_token(file, "tokenizer.ggml.unknown_token_id", texts.size());
  space_prefix_ = file.find_flag("tokenizer.ggml.add_space_prefix").value_or(true);

  pieces_.reserve(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto token = static_cast<Token>(i);
    const auto byte = parse_byte(texts[i]);
    if (!std::isfinite(scores[i])) fail("gguf: key ", kScores, ": element ", i, " is not finite");
    if (kinds && ((*kinds)[i] < 1 || (*kinds)[i] > 6)) {
      fail("gguf: key ", kKinds, ": element ", i, " is ", (*kinds)[i], ", but only 1 to 6 are supported");
    }
    // Kinds are what keeps a prompt that says "</s>" from ending the text; old files have none.
    const bool is_control = token == bos_ || token == eos_;
    const Kind kind = kinds        ? static_cast<Kind>((*kinds)[i])
                      : byte       ? Kind::kByte
                      : is_control ? Kind::kControl
                                   : Kind::kNormal;
    pieces_.push_back({std::string(texts[i]), scores[i], kind});
    if (kind == Kind::kByte) {
      if (!byte) fail("gguf: key ", kTokens, ": element ", i, " is no byte such as <0x0A>");
      by_byte_[*byte] = token;
    } else if (kind == Kind::kNormal || kind == Kind::kUserDefined) {
      by_text_.emplace(texts[i], token);
      longest_ = std::max(longest_, texts[i].size());
      if (kind == Kind::kUserDefined && !texts[i].empty()) {
        const std::string escaped = escape_spaces(texts[i]);
        user_defined_[escaped.size()].emplace(escaped, token);
      }
    } else if (kind == Kind::kUnknown && !unknown_) {
      unknown_ = token;
    }
  }
  read_ends(file);
}

/// Some files name no end of a turn, but have a control token of a usual name for it.
void Tokenizer::read_ends(const Gguf& file) {
  const auto add = [&](std::optional<Token> token) {
    if (token) pieces_[static_cast<std::size_t>(*token)].is_end = true;
  };
  add(bos_);
  add(eos_);
  for (const char* name : {"eot", "eom", "fim_pad", "fim_rep", "fim_sep"}) {
    add(find_token(file, std::string("tokenizer.ggml.") + name + "_token_id", pieces_.size()));
  }
  constexpr std::string_view kEnds[] = {"<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>",
                                        "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>"};
  for (Piece& piece : pieces_) {
    if (piece.kind == Kind::kControl && std::find(std::begin(kEnds), std::end(kEnds), piece.text) != std::end(kEnds)) {
      piece.is_end = true;
    }
  }
}

std::optional<Token> Tokenizer::find(std::string_view text) const {
  if (text.size() > longest_) return std::nullopt;
  const auto at = by_text_.find(text);
  return at == by_text_.end() ? std::nullopt : std::optional(at->second);
}

Token Tokenizer::bos() const {
  if (!bos_) fail("tokenizer: there is no BOS");
  return *bos_;
}

/// The user-defined token that `text` begins with, the longest.
std::optional<Token> Tokenizer::find_user_defined(std::string_view text) const {
  for (const auto& [length, tokens] : user_defined_) {
    const auto at = tokens.find(text.substr(0, length));
    if (at != tokens.end()) return at->second;
  }
  return std::nullopt;
}

std::vector<Token> Tokenizer::encode(std::string_view text) const {
  std::vector<Token> tokens = encode_beginning(text);
  if (add_eos_) tokens.push_back(eos_);
  return tokens;
}

std::vector<Token> Tokenizer::encode_beginning(std::string_view text) const {
  const std::string escaped = escape_spaces(text);
  std::vector<Token> tokens;
  if (add_bos_) tokens.push_back(*bos_);
  std::string_view rest = escaped;
  for (std::size_t at = 0; at < rest.size();) {
    const auto token = find_user_defined(rest.substr(at));
    if (!token) {
      at += character_length(rest.substr(at));
      continue;
    }
    encode_part(rest.substr(0, at), tokens);
    tokens.push_back(*token);
    rest.remove_prefix(at + escape_spaces(pieces_[static_cast<std::size_t>(*token)].text).size());
    at = 0;
  }
  encode_part(rest, tokens);
  return tokens;
}

/// Adds the tokens of a part, which has no user-defined ones and its spaces as pieces write them.
void Tokenizer::encode_part(std::string_view text, std::vector<Token>& tokens) const {
  if (text.empty()) return;
  const std::string spaced = (space_prefix_ ? std::string(kSpace) : "") + std::string(text);
  for (const std::string_view piece : join_pieces(spaced)) {
    if (const auto token = find(piece)) {
      tokens.push_back(*token);
      continue;
    }
    for (const char c : piece) {
      const auto byte = static_cast<std::uint8_t>(c);
      const auto token = by_byte_[byte] ? by_byte_[byte] : unknown_;
      if (!token) fail("tokenizer: no token for byte ", int{byte});
      tokens.push_back(*token);
    }
  }
}

/// Cuts `text` into pieces, and characters that no piece has. A queue holds every pair that could
/// be joined, so the cost is O(n log n).
std::vector<std::string_view> Tokenizer::join_pieces(std::string_view text) const {
  // What is joined so far; part i begins at character i, and is empty once joined to its left.
  struct Part {
    std::string_view text;
    std::size_t previous;
    std::size_t next;
  };
  struct Pair {
    float score;
    std::size_t left;
    std::size_t bytes;  // of both; no longer true once either part has grown
    bool operator<(const Pair& other) const {
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  std::vector<Part> parts;
  for (std::size_t at = 0; at < text.size(); at += parts.back().text.size()) {
    const std::size_t i = parts.size();
    parts.push_back({text.substr(at, character_length(text.substr(at))), i - 1, i + 1});
  }

  std::priority_queue<Pair> pairs;
  const auto propose = [&](std::size_t left, std::size_t right) {
    if (left >= parts.size() || right >= parts.size()) return;  // 0 - 1 is beyond the end, too
    const std::size_t bytes = parts[left].text.size() + parts[right].text.size();
    const auto token = find({parts[left].text.data(), bytes});
    if (token) pairs.push({pieces_[static_cast<std::size_t>(*token)].score, left, bytes});
  };
  for (std::size_t i = 0; i < parts.size(); ++i) propose(i, i + 1);

  while (!pairs.empty()) {
    const Pair pair = pairs.top();
    pairs.pop();
    Part& left = parts[pair.left];
    if (left.text.empty() || left.next >= parts.size()) continue;
    Part& right = parts[left.next];
    if (left.text.size() + right.text.size() != pair.bytes) continue;
    left.text = {left.text.data(), pair.bytes};
    right.text = {};
    left.next = right.next;
    if (left.next < parts.size()) parts[left.next].previous = pair.left;
    propose(left.previous, pair.left);
    propose(pair.left, left.next);
  }

  std::vector<std::string_view> joined;
  for (const Part& part : parts) {
    if (!part.text.empty()) joined.push_back(part.text);
  }
  return joined;
}

/// Whether what follows begins with a space that encoding put there.
bool Tokenizer::has_space_after(Token previous) const {
  return space_prefix_ &&
         (previous == bos_ || pieces_.at(static_cast<std::size_t>(previous)).kind == Kind::kUserDefined);
}

std::string Tokenizer::decode(Token previous, Token token) const {
  const Piece& piece = pieces_.at(static_cast<std::size_t>(token));
  if (piece.kind == Kind::kControl) return {};
  if (piece.kind == Kind::kByte) return {static_cast<char>(*parse_byte(piece.text))};

  std::string_view rest = piece.text;
  if (piece.kind != Kind::kUserDefined && rest.starts_with(kSpace) && has_space_after(previous)) {
    rest.remove_prefix(kSpace.size());
  }
  std::string text;
  while (!rest.empty()) {
    const bool is_space = rest.starts_with(kSpace);
    text += is_space ? ' ' : rest[0];
    rest.remove_prefix(is_space ? kSpace.size() : 1);
  }
  return text;
}

}  // namespace engine
