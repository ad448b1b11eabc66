// SPDX-License-Identifier: Apache-2.0
// Whatever goes wrong while a file is written, the one before is whole and nothing lies beside it.
#include "whole_file.h"

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "support/full_disk.h"
#include "support/scratch_folder.h"

namespace engine {
namespace {

using skim::test::error_of;
using skim::test::FullDisk;
using skim::test::read_file;
using skim::test::write_file;
using Names = std::vector<std::string>;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

void replace(const std::filesystem::path& path, std::string_view text,
             const std::filesystem::path& previous = {}) {
  WholeFile file(path);
  file.write(bytes_of(text));
  file.commit(previous);
}

class WholeFileTest : public testing::Test {
 protected:
  skim::test::ScratchFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "file";
  const std::filesystem::path previous_ = folder_.path() / "previous";
};

TEST_F(WholeFileTest, IsThereOnceItIsCommitted) {
  {
    WholeFile file(path_);
    file.write(bytes_of("one "));
    file.write({});
    file.write(bytes_of("two"));
    EXPECT_EQ(folder_.names(), Names{"file.tmp"});
    file.commit();
    EXPECT_EQ(read_file(path_), "one two");
  }
  EXPECT_EQ(folder_.names(), Names{"file"});
  replace(path_, "");
  EXPECT_EQ(read_file(path_), "");
  EXPECT_EQ(folder_.names(), Names{"file"});
}

TEST_F(WholeFileTest, LeavesTheOldOneWhenItIsNotCommitted) {
  replace(path_, "old");
  {
    WholeFile file(path_);
    file.write(bytes_of("new"));
  }
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(folder_.names(), Names{"file"});
}

TEST_F(WholeFileTest, KeepsWhatWasThere) {
  replace(path_, "1", previous_);
  EXPECT_EQ(folder_.names(), Names{"file"});
  replace(path_, "2", previous_);
  replace(path_, "3", previous_);
  EXPECT_EQ(read_file(path_), "3");
  EXPECT_EQ(read_file(previous_), "2");
  EXPECT_EQ(folder_.names(), (Names{"file", "previous"}));
}

TEST_F(WholeFileTest, DoesNotMindWhatAKilledRunLeft) {
  replace(path_, "old");
  write_file(folder_.path() / "file.tmp", "half of something long");
  write_file(folder_.path() / "file.old", "older");
  replace(path_, "new", previous_);
  EXPECT_EQ(read_file(path_), "new");
  EXPECT_EQ(read_file(previous_), "old");
  EXPECT_EQ(folder_.names(), (Names{"file", "previous"}));
}

// As after a run was put back to the one before, by a link.
TEST_F(WholeFileTest, KeepsWhatIsThereUnderBothNames) {
  replace(path_, "old");
  std::filesystem::create_hard_link(path_, previous_);
  replace(path_, "new", previous_);
  EXPECT_EQ(read_file(path_), "new");
  EXPECT_EQ(read_file(previous_), "old");
  EXPECT_EQ(folder_.names(), (Names{"file", "previous"}));
}

// A name left over may be a link to anything, which is neither to be written nor to be moved to `path`.
TEST_F(WholeFileTest, DoesNotWriteThroughALinkInItsWay) {
  const auto other = folder_.path() / "other";
  write_file(other, "not ours");
  std::filesystem::create_symlink(other, folder_.path() / "file.tmp");
  replace(path_, "new");
  EXPECT_EQ(read_file(other), "not ours");
  EXPECT_FALSE(std::filesystem::is_symlink(path_));
  EXPECT_EQ(read_file(path_), "new");
}

TEST_F(WholeFileTest, LeavesTheOldOneWhenTheDiskIsFull) {
  replace(path_, "the one before");
  replace(path_, "old", previous_);
  const std::string large(100000, 'x');
  for (const std::size_t room :
       {std::size_t{0}, std::size_t{1}, std::size_t{65536}, std::size_t{99999}}) {
    std::string message;
    {
      const FullDisk disk(room);
      message = error_of([&] { replace(path_, large, previous_); });
    }
    EXPECT_EQ(message, "cannot write \"" + path_.string() + "\": " + FullDisk::error());
    EXPECT_EQ(read_file(path_), "old");
    EXPECT_EQ(read_file(previous_), "the one before");
    EXPECT_EQ(folder_.names(), (Names{"file", "previous"}));
  }
  const FullDisk disk(large.size());
  replace(path_, large, previous_);  // just fits
  EXPECT_EQ(read_file(path_), large);
  EXPECT_EQ(read_file(previous_), "old");
}

TEST_F(WholeFileTest, NeedsItsFolder) {
  const auto path = folder_.path() / "none" / "file";
  EXPECT_EQ(error_of([&] { replace(path, "new"); }),
            "cannot write \"" + path.string() + "\": No such file or directory");
  EXPECT_EQ(folder_.names(), Names{});
}

TEST_F(WholeFileTest, DoesNotReplaceWhatIsNotAFile) {
  std::filesystem::create_directory(path_);
  EXPECT_EQ(error_of([&] { replace(path_, "new"); }),
            "cannot write \"" + path_.string() + "\": it is there and not a file");
  EXPECT_EQ(error_of([&] { replace("/dev/full", "new"); }),
            "cannot write \"/dev/full\": it is there and not a file");
  EXPECT_EQ(folder_.names(), Names{"file"});
}

TEST_F(WholeFileTest, LeavesTheOldOneWhenItCannotBeKept) {
  replace(path_, "old");
  std::filesystem::create_directory(previous_);
  EXPECT_EQ(error_of([&] { replace(path_, "new", previous_); }),
            "cannot write \"" + previous_.string() + "\": it is there and not a file");
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(folder_.names(), (Names{"file", "previous"}));
}

TEST_F(WholeFileTest, MayBeNamedWithoutAFolder) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder_.path());
  replace("file", "old");
  replace("file", "new", "previous");
  std::filesystem::current_path(before);
  EXPECT_EQ(read_file(path_), "new");
  EXPECT_EQ(read_file(previous_), "old");
}

TEST_F(WholeFileTest, CanBeAskedForBeforeLongWork) {
  replace(path_, "old");
  require_writable(path_);
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_EQ(folder_.names(), Names{"file"});
  const auto path = folder_.path() / "none" / "file";
  EXPECT_EQ(error_of([&] { require_writable(path); }),
            "cannot write \"" + path.string() + "\": No such file or directory");
  std::string message;
  {
    const FullDisk disk(2);
    message = error_of([&] { write_whole(path_, "new"); });
  }
  EXPECT_EQ(message, "cannot write \"" + path_.string() + "\": " + FullDisk::error());
  EXPECT_EQ(read_file(path_), "old");
  write_whole(path_, "new");
  EXPECT_EQ(read_file(path_), "new");
  EXPECT_EQ(folder_.names(), Names{"file"});
}

TEST_F(WholeFileTest, IsReadWhole) {
  replace(path_, std::string_view("a\0\xFF\n", 4));
  const auto bytes = read_whole(path_, "test");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()),
            std::string("a\0\xFF\n", 4));
  EXPECT_EQ(error_of([&] { read_whole(folder_.path(), "test"); }),
            "test: \"" + folder_.path().string() + "\" is not a file");
  EXPECT_EQ(error_of([&] { read_whole(previous_, "test"); }),
            "test: \"" + previous_.string() + "\" is not a file");
}

}  // namespace
}  // namespace engine
