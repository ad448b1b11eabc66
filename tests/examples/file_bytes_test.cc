// SPDX-License-Identifier: Apache-2.0
#include "file_bytes.h"

#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "support/scratch_folder.h"
#include "whole_file.h"

namespace engine {
namespace {

using skim::test::error_of;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class FileBytesTest : public testing::Test {
 protected:
  skim::test::ScratchFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "file";
};

TEST_F(FileBytesTest, AreThoseOfTheFile) {
  for (const std::size_t size : {0u, 1u, 4095u, 4096u, 4097u, 100000u}) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 37 % 251);
    write_whole(path_, text);
    EXPECT_EQ(text_of(FileBytes::map(path_, "test").span()), text);
    for (const std::size_t count : {0u, 4u, 5000u}) {
      EXPECT_EQ(text_of(read_head(path_, count, "test")), text.substr(0, count));
    }
  }
}

TEST_F(FileBytesTest, StayWhereTheyAre) {
  write_whole(path_, "a text");
  const auto expect_moved = [](FileBytes from) {
    const auto before = from.span();
    FileBytes to = std::move(from);
    EXPECT_EQ(to.span().data(), before.data());
    FileBytes assigned({});
    assigned = std::move(to);
    EXPECT_EQ(assigned.span().data(), before.data());
    EXPECT_EQ(text_of(assigned.span()), "a text");
  };
  expect_moved(FileBytes::map(path_, "test"));
  expect_moved(FileBytes(read_whole(path_, "test")));
}

TEST_F(FileBytesTest, OutliveTheirName) {
  write_whole(path_, "old");
  const FileBytes bytes = FileBytes::map(path_, "test");
  write_whole(path_, "another text");
  EXPECT_EQ(text_of(bytes.span()), "old");
  std::filesystem::remove(path_);
  EXPECT_EQ(text_of(bytes.span()), "old");
}

TEST_F(FileBytesTest, AreOfAFileOnly) {
  const std::string expected = "test: \"" + folder_.path().string() + "\" is not a file";
  EXPECT_EQ(error_of([&] { FileBytes::map(folder_.path(), "test"); }), expected);
  EXPECT_EQ(error_of([&] { read_head(folder_.path(), 4, "test"); }), expected);
  EXPECT_EQ(error_of([&] { FileBytes::map(path_, "test"); }),
            "test: \"" + path_.string() + "\" is not a file");
}

}  // namespace
}  // namespace engine
