// SPDX-License-Identifier: Apache-2.0
// A run that was stopped goes on to the same bits or not at all.
#include "train/checkpoint.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <limits>
#include <thread>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/full_disk.h"
#include "support/scratch_folder.h"

namespace train {
namespace {

using skim::test::error_of;
using skim::test::FullDisk;
using skim::test::read_file;
using skim::test::ScratchFolder;
using skim::test::write_file;

std::vector<std::uint32_t> bits(const std::vector<float>& values) {
  std::vector<std::uint32_t> out;
  for (const float value : values) out.push_back(std::bit_cast<std::uint32_t>(value));
  return out;
}

void expect_same(const Checkpoint& a, const Checkpoint& b) {
  EXPECT_EQ(a.recipe, b.recipe);
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.loss_sum, b.loss_sum);
  EXPECT_EQ(bits(a.weights), bits(b.weights));
  EXPECT_EQ(bits(a.first_moments), bits(b.first_moments));
  EXPECT_EQ(bits(a.second_moments), bits(b.second_moments));
}

/// Odd sizes, so that both the recipe and the arrays are padded.
Checkpoint sample(std::uint64_t step) {
  const auto value = static_cast<float>(step);
  return {"width = 64\n", step,      step + 1, 0.5 * static_cast<double>(step),
          {value, 1, 2},  {3, 4, 5}, {6, 7, 8}};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class CheckpointFile : public testing::Test {
 protected:
  /// What loading complains about, or "".
  std::string error() const {
    return error_of([&] { load_checkpoint(path_); });
  }

  ScratchFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "run.checkpoint";
};

TEST_F(CheckpointFile, ReadsBackBitForBit) {
  using Limits = std::numeric_limits<float>;
  const auto with_bits = [](std::uint32_t word) { return std::bit_cast<float>(word); };
  const Checkpoint odd{std::string("seed = 1\n\0 and bytes \xFF", 22),
                       std::numeric_limits<std::uint64_t>::max(),
                       1,
                       -0.1,
                       {0.0f, -0.0f, Limits::infinity(), -Limits::infinity(), Limits::denorm_min()},
                       {with_bits(0x7FC12345u), with_bits(0xFF800001u), with_bits(0x7FFFFFFFu), 1, 2},
                       {Limits::max(), Limits::lowest(), Limits::min(), 0x1.fffffep-1f, -3}};
  save(odd, path_);
  expect_same(load_checkpoint(path_), odd);

  for (std::size_t count = 0; count < 5; ++count) {
    const Checkpoint even{std::string(count, 'r'),
                          count,
                          0,
                          0,
                          std::vector<float>(count, 1.5f),
                          std::vector<float>(count, -2.5f),
                          std::vector<float>(count, 3.5f)};
    save(even, path_);
    expect_same(load_checkpoint(path_), even);
  }
}

TEST_F(CheckpointFile, HasTheFormatItClaims) {
  save(sample(7), path_);
  const std::string file = read_file(path_);
  EXPECT_EQ(file.size(), 7 * 8 + 16 + 3 * 16 + 8u);
  EXPECT_EQ(file.substr(0, 8), "skim run");
  EXPECT_EQ(file.substr(8, 24), std::string("\1\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\10\0\0\0\0\0\0\0", 24));
  EXPECT_EQ(file.substr(32, 8), std::string("\0\0\0\0\0\0\x0C\x40", 8)) << "3.5";
  EXPECT_EQ(file.substr(40, 16), std::string("\13\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0", 16));
  EXPECT_EQ(file.substr(56, 16), std::string("width = 64\n\0\0\0\0\0", 16));
}

TEST_F(CheckpointFile, IsRefusedWhenCutAnywhere) {
  save(sample(7), path_);
  const std::string whole = read_file(path_);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_file(path_, whole.substr(0, size));
    const std::string message = error();
    EXPECT_TRUE(contains(message, path_.string())) << message;
    EXPECT_TRUE(contains(message, " bytes needed but ")) << message;
    EXPECT_TRUE(contains(message, " remain")) << message;
  }
  write_file(path_, whole.substr(0, 76));
  EXPECT_EQ(error(), "checkpoint \"" + path_.string() + "\": weights: 12 bytes needed but 4 remain");
}

TEST_F(CheckpointFile, IsRefusedWithMoreBytes) {
  save(sample(7), path_);
  const std::string whole = read_file(path_);
  for (std::size_t more = 1; more <= 17; ++more) {
    write_file(path_, whole + std::string(more, '\0'));
    EXPECT_EQ(error(), "checkpoint \"" + path_.string() + "\": 128 bytes needed but " +
                           std::to_string(128 + more) + " there: " + std::to_string(more) +
                           " after the checksum");
  }
}

TEST_F(CheckpointFile, IsRefusedWithAnyByteChanged) {
  save(sample(7), path_);
  const std::string whole = read_file(path_);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      write_file(path_, changed);
      const std::string message = error();
      EXPECT_TRUE(contains(message, path_.string()))
          << "byte " << at << " by " << flip << ": " << message;
    }
  }
  std::string changed = whole;
  changed[76] ^= 1;
  write_file(path_, changed);
  EXPECT_TRUE(contains(error(), ": checksum 0x")) << error();
  EXPECT_TRUE(contains(error(), " expected but 0x")) << error();
}

// The sums of plain FNV-1a over words are the same: a product moves bits upwards only.
TEST_F(CheckpointFile, IsRefusedWithTwoSignsChanged) {
  save(sample(7), path_);
  const std::string whole = read_file(path_);
  for (std::size_t a = 63; a < whole.size() - 8; a += 8) {
    for (std::size_t b = a + 8; b < whole.size() - 8; b += 8) {
      std::string changed = whole;
      changed[a] = static_cast<char>(changed[a] ^ 0x80);
      changed[b] = static_cast<char>(changed[b] ^ 0x80);
      write_file(path_, changed);
      EXPECT_TRUE(contains(error(), "checksum")) << a << " and " << b;
    }
  }
}

TEST_F(CheckpointFile, IsRefusedWithSizesBeyondTheFileBeforeMemoryIsAsked) {
  save(sample(7), path_);
  const std::string whole = read_file(path_);
  for (const std::size_t field : {40u, 48u}) {
    for (const std::uint64_t size :
         {std::uint64_t{1000}, std::uint64_t{1} << 40, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
      std::string changed = whole;
      std::memcpy(changed.data() + field, &size, 8);
      write_file(path_, changed);
      EXPECT_TRUE(contains(error(), field == 40 ? ": recipe: " : ": weights: ")) << error();
      EXPECT_TRUE(contains(error(), " bytes needed but ")) << error();
    }
  }
}

TEST_F(CheckpointFile, IsRefusedWhenThereIsNone) {
  EXPECT_EQ(error(), "checkpoint: \"" + path_.string() + "\" is not a file");
  std::filesystem::create_directory(path_);
  EXPECT_EQ(error(), "checkpoint: \"" + path_.string() + "\" is not a file");
}

// 3 GB, and less memory than that: the first eight bytes say that it is none.
TEST_F(CheckpointFile, IsKnownByItsMagic) {
  write_file(path_, "not ours");
  std::filesystem::resize_file(path_, std::uintmax_t{3} << 30);  // takes no room on disk
  rlimit before{};
  getrlimit(RLIMIT_AS, &before);
  const rlimit little{std::min(before.rlim_max, rlim_t{1} << 30), before.rlim_max};
  setrlimit(RLIMIT_AS, &little);
  const std::string message = error();
  setrlimit(RLIMIT_AS, &before);
  EXPECT_EQ(message, "checkpoint \"" + path_.string() + "\": magic is not skim run");
}

TEST_F(CheckpointFile, KeepsTheOneBefore) {
  save(sample(1), path_);
  EXPECT_FALSE(std::filesystem::exists(previous_of(path_)));
  save(sample(2), path_);
  save(sample(3), path_);
  expect_same(load_checkpoint(path_), sample(3));
  expect_same(load_checkpoint(previous_of(path_)), sample(2));
  EXPECT_EQ(folder_.names(), (std::vector<std::string>{"run.checkpoint", "run.checkpoint.previous"}));
}

TEST_F(CheckpointFile, SaysThatThereIsOneBeforeAndDoesNotLoadIt) {
  save(sample(1), path_);
  save(sample(2), path_);
  const std::string hint =
      "; the one before is \"" + previous_of(path_).string() + "\", to resume from";
  write_file(path_, "skim");
  EXPECT_EQ(error(),
            "checkpoint \"" + path_.string() + "\": magic: 8 bytes needed but 4 remain" + hint);
  std::filesystem::remove(path_);
  EXPECT_EQ(error(), "checkpoint: \"" + path_.string() + "\" is not a file" + hint);
}

TEST_F(CheckpointFile, ReplacesADamagedOne) {
  save(sample(1), path_);
  write_file(path_, read_file(path_).substr(0, 50));
  save(sample(2), path_);
  expect_same(load_checkpoint(path_), sample(2));
}

TEST_F(CheckpointFile, LeavesTheOldOneWhenItCannotBeSaved) {
  save(sample(1), path_);
  save(sample(2), path_);
  const std::string one = read_file(path_);
  for (std::size_t room = 0; room < one.size(); room += 37) {
    std::string message;
    {
      const FullDisk disk(room);
      message = error_of([&] { save(sample(3), path_); });
    }
    EXPECT_EQ(message, "cannot write \"" + path_.string() + "\": " + FullDisk::error());
    EXPECT_EQ(read_file(path_), one);
    expect_same(load_checkpoint(previous_of(path_)), sample(1));
  }
  EXPECT_EQ(folder_.names(), (std::vector<std::string>{"run.checkpoint", "run.checkpoint.previous"}));

  const auto nowhere = folder_.path() / "none" / "run.checkpoint";
  EXPECT_EQ(error_of([&] { save(sample(3), nowhere); }),
            "cannot write \"" + nowhere.string() + "\": No such file or directory");
  const auto folder = folder_.path() / "folder";
  std::filesystem::create_directory(folder);
  EXPECT_EQ(error_of([&] { save(sample(3), folder); }),
            "cannot write \"" + folder.string() + "\": it is there and not a file");
  EXPECT_EQ(folder_.names(),
            (std::vector<std::string>{"folder", "run.checkpoint", "run.checkpoint.previous"}));
}

// Not a proof: which moment a kill hits is chance. What none of them may leave is a file that does not load.
TEST_F(CheckpointFile, IsWholeWheneverTheRunIsKilled) {
  Checkpoint large = sample(1);
  large.weights.resize(20000);
  large.first_moments.resize(20000);
  large.second_moments.resize(20000);
  save(large, path_);
  for (int trial = 0; trial < 40; ++trial) {
    const std::uint64_t before = load_checkpoint(path_).step;
    const pid_t run = fork();
    ASSERT_GE(run, 0);
    if (run == 0) {
      try {
        for (large.step = before + 1;; ++large.step) save(large, path_);
      } catch (...) {
        _exit(1);
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(1031 * trial));
    kill(run, SIGKILL);
    int status = 0;
    waitpid(run, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the run ended before it was killed";
    const Checkpoint after = load_checkpoint(path_);
    EXPECT_GE(after.step, before);
    EXPECT_EQ(after.weights, large.weights);
    const auto previous = previous_of(path_);
    if (std::filesystem::exists(previous)) {
      EXPECT_LE(load_checkpoint(previous).step, after.step);
    }
  }
  EXPECT_GT(load_checkpoint(path_).step, 1u) << "no run came to save anything";
  save(large, path_);  // clears what the last run left
  EXPECT_EQ(folder_.names(), (std::vector<std::string>{"run.checkpoint", "run.checkpoint.previous"}));
}

TEST_F(CheckpointFile, OfArraysOfOtherLengthsIsNotWritten) {
  save(sample(1), path_);
  Checkpoint wrong = sample(2);
  wrong.second_moments.pop_back();
  EXPECT_EQ(error_of([&] { save(wrong, path_); }),
            "checkpoint \"" + path_.string() + "\": 3 weights have 3 first and 2 second moments");
  expect_same(load_checkpoint(path_), sample(1));
}

}  // namespace
}  // namespace train
