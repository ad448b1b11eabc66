// SPDX-License-Identifier: Apache-2.0
// Models and texts that are not part of the repository.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

namespace engine {

/// The folder with models/ and text/, empty when there is none.
inline std::filesystem::path test_data() {
  const char* folder = std::getenv("SKIM_TEST_DATA");
  return folder ? folder : "";
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << "cannot read " << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A fixture for tests on the real model.
class RealModel : public testing::Test {
 protected:
  void SetUp() override {
    if (test_data().empty()) {
      GTEST_SKIP() << "needs models/stories260K.gguf and text/tinystories_sample.txt in the folder "
                      "that the environment variable SKIM_TEST_DATA names";
    }
  }
  static std::filesystem::path model_path() { return test_data() / "models/stories260K.gguf"; }
  static std::filesystem::path text_path() { return test_data() / "text/tinystories_sample.txt"; }
};

}  // namespace engine
