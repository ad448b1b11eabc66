// SPDX-License-Identifier: Apache-2.0
#include "bytes.h"

#include <random>
#include <set>

#include <gtest/gtest.h>

#include "generate/tokenizer.h"
#include "model_file.h"

namespace train {
namespace {

using Tokens = std::vector<Token>;

/// The tokenizer of a file that says what ours say.
engine::Tokenizer tokenizer() {
  engine::GgufWriter file;
  write_vocabulary(file);
  return engine::Tokenizer(engine::Gguf(file.bytes()));
}

void expect_as_tokenizer(const engine::Tokenizer& t, const std::string& text) {
  Tokens expected{kBos};
  for (const Token token : encode(text)) expected.push_back(token);
  EXPECT_EQ(t.encode(text), expected) << testing::PrintToString(text);
  std::string decoded;
  for (std::size_t i = 1; i < expected.size(); ++i) decoded += t.decode(expected[i - 1], expected[i]);
  EXPECT_EQ(decode(expected), decoded) << testing::PrintToString(text);
}

TEST(Bytes, DescribeEachToken) {
  EXPECT_EQ(pieces().size(), kVocabulary);
  EXPECT_EQ(kinds().size(), kVocabulary);
  EXPECT_EQ(scores().size(), kVocabulary);
  EXPECT_EQ(pieces()[kFirstByte], "<0x00>");
  EXPECT_EQ(pieces()[kFirstByte + 0xAF], "<0xAF>");
  EXPECT_EQ(pieces()[kSpace], "▁");
  const auto texts = pieces();
  EXPECT_EQ(std::set<std::string>(texts.begin(), texts.end()).size(), kVocabulary);
}

TEST(Bytes, AreTokensOneByOne) {
  EXPECT_EQ(encode("a b\n"), (Tokens{3 + 'a', 259, 3 + 'b', 3 + '\n'}));
  EXPECT_EQ(encode(""), Tokens{});
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    EXPECT_NE(token_of(c), 35) << "the byte piece of a space is never used";
    EXPECT_EQ(byte_of(token_of(c)), c);
    EXPECT_EQ(encode(std::string(1, c)), Tokens{token_of(c)});
  }
}

TEST(Bytes, ControlTokensHaveNoText) {
  for (const Token token : {kUnknown, kBos, kEos, Token{-1}, Token{260}}) {
    EXPECT_EQ(byte_of(token), std::nullopt);
  }
  EXPECT_EQ(byte_of(35), ' ') << "a model may yet say it";
  EXPECT_EQ(decode(Tokens{kBos, token_of('a'), kEos, kSpace, token_of('b')}), "a b");
}

TEST(Bytes, AreWhatTheTokenizerMakesOfThem) {
  const engine::Tokenizer t = tokenizer();
  EXPECT_EQ(t.size(), kVocabulary);
  EXPECT_EQ(t.bos(), kBos);
  EXPECT_TRUE(t.is_end(kEos));
  for (const char* text : {"", " ", "  a", "é€😀", "</s><s><unk><0x41>", "\xE2\x96", "▁▁ a▁", "\xF0▁"}) {
    expect_as_tokenizer(t, text);
  }
  for (int byte = 0; byte < 256; ++byte)
    expect_as_tokenizer(t, std::string(1, static_cast<char>(byte)));
  std::mt19937_64 random(1);
  // Many a space, broken character and U+2581, whose bytes are E2, 96 and 81.
  const std::string likely = " \xE2\x96\x81\xF0\xC3";
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text;
    for (auto left = random() % 60; left > 0; --left) {
      const auto drawn = random();
      text += drawn % 2 == 0 ? static_cast<char>(drawn >> 8) : likely[(drawn >> 8) % likely.size()];
    }
    expect_as_tokenizer(t, text);
  }
}

}  // namespace
}  // namespace train
