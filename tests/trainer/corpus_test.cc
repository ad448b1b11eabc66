// SPDX-License-Identifier: Apache-2.0
#include "corpus.h"

#include <fstream>
#include <stdexcept>

#include <gtest/gtest.h>

namespace train {
namespace {

std::filesystem::path write(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

template <class Make>
std::string error_of(const Make& make) {
  try {
    make();
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

TEST(Corpus, HoldsTheEndOfEachTextOut) {
  const std::string a(9500, 'a'), A(500, 'A'), b(1900, 'b'), B(100, 'B');
  const Corpus corpus({a + A, b + B});
  EXPECT_EQ(corpus.training(), a + b);
  EXPECT_EQ(corpus.held_out(), A + B);
}

TEST(Corpus, KeepsEveryByteOfItsFiles) {
  std::string text;
  while (text.size() < 5000) text += "one\r\ntwo\n\n\tthree \xE2\x96\x81" + std::string(1, '\0');
  const auto path = write("skim_corpus_bytes.txt", text);
  const Corpus corpus = Corpus::read({path});
  EXPECT_EQ(std::string(corpus.training()) + std::string(corpus.held_out()), text);
  EXPECT_EQ(Corpus::read({path, path}).held_out().size(), 2 * corpus.held_out().size());
  std::filesystem::remove(path);
}

TEST(Corpus, SaysWhatIsWrong) {
  EXPECT_EQ(error_of([] { Corpus::read({"no/such.txt"}); }), "corpus: \"no/such.txt\" is not a file");
  EXPECT_EQ(error_of([] { Corpus(std::vector<std::string>{}); }),
            "corpus: 0 bytes are fewer than 4096");
  EXPECT_EQ(error_of([] { Corpus({std::string(4095, 'a')}); }),
            "corpus: 4095 bytes are fewer than 4096");
  EXPECT_EQ(error_of([] { Corpus({std::string(4096, 'a')}); }), "");
}

}  // namespace
}  // namespace train
