// SPDX-License-Identifier: Apache-2.0
#include "corpus.h"

#include <span>
#include <string>

#include <gtest/gtest.h>

#include "fingerprint.h"
#include "support/scratch_folder.h"

namespace train {
namespace {

using skim::test::error_of;
using skim::test::ScratchFolder;

TEST(Corpus, HoldsTheEndOfEachTextOut) {
  const std::string a(9500, 'a'), A(500, 'A'), b(1900, 'b'), B(100, 'B');
  const Corpus corpus({a + A, b + B});
  EXPECT_EQ(corpus.training(), a + b);
  EXPECT_EQ(corpus.held_out(), A + B);
}

TEST(Corpus, KeepsEveryByteOfItsFiles) {
  std::string text;
  while (text.size() < 5000) text += "one\r\ntwo\n\n\tthree \xE2\x96\x81" + std::string(1, '\0');
  const ScratchFolder folder;
  const auto path = folder.path() / "text";
  skim::test::write_file(path, text);
  const Corpus corpus = Corpus::read({path});
  EXPECT_EQ(std::string(corpus.training()) + std::string(corpus.held_out()), text);
  EXPECT_EQ(Corpus::read({path, path}).held_out().size(), 2 * corpus.held_out().size());
}

TEST(Corpus, SaysWhatIsWrong) {
  EXPECT_EQ(error_of([] { Corpus::read({"no/such.txt"}); }), "corpus: \"no/such.txt\" is not a file");
  EXPECT_EQ(error_of([] { Corpus(std::vector<std::string>{}); }),
            "corpus: 0 bytes are fewer than 4096");
  EXPECT_EQ(error_of([] { Corpus({std::string(4095, 'a')}); }),
            "corpus: 4095 bytes are fewer than 4096");
  EXPECT_EQ(error_of([] { Corpus({std::string(4096, 'a')}); }), "");
}

TEST(Fingerprint, TellsTextsApart) {
  const std::string text(5000, 'a');
  const auto of = [](const std::string& bytes) { return fingerprint(std::as_bytes(std::span(bytes))); };
  EXPECT_EQ(of(text), of(std::string(5000, 'a')));
  EXPECT_NE(of(text), of(text + 'a'));
  EXPECT_NE(of(text), of('b' + text.substr(1)));
}

}  // namespace
}  // namespace train
