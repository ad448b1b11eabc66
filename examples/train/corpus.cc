// SPDX-License-Identifier: Apache-2.0
#include "corpus.h"

#include <cstddef>

#include "generate/error.h"
#include "generate/whole_file.h"

namespace train {
namespace {

std::string read_text(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = engine::read_whole(path, "corpus");
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Corpus::Corpus(const std::vector<std::string>& texts) {
  // Each text has a share in what is held out, lest models be judged by the last one alone.
  for (const std::string& text : texts) {
    const std::size_t held_out = text.size() / 20;
    training_.append(text, 0, text.size() - held_out);
    held_out_.append(text, text.size() - held_out);
  }
  const std::size_t bytes = training_.size() + held_out_.size();
  if (bytes < kMinBytes) engine::fail("corpus: ", bytes, " bytes are fewer than ", kMinBytes);
}

Corpus Corpus::read(const std::vector<std::filesystem::path>& paths) {
  std::vector<std::string> texts;
  for (const auto& path : paths) texts.push_back(read_text(path));
  return Corpus(texts);
}

}  // namespace train
