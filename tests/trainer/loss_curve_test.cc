// SPDX-License-Identifier: Apache-2.0
// The file of a run that was stopped, anywhere, and resumed has the bytes of one that was not.
#include "train/loss_curve.h"

#include <limits>

#include <gtest/gtest.h>

#include "support/full_disk.h"
#include "support/scratch_folder.h"

namespace train {
namespace {

using skim::test::error_of;
using skim::test::FullDisk;
using skim::test::read_file;
using skim::test::write_file;
using Names = std::vector<std::string>;

const Names kColumns{"context", "loss"};

void append_steps(const LossCurve& curve, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t step = first; step <= last; ++step) {
    const double values[] = {512, 1 / static_cast<double>(step + 1)};
    curve.append(step, values);
  }
}

class LossCurveTest : public testing::Test {
 protected:
  skim::test::ScratchFolder folder_;
  const std::filesystem::path path_ = folder_.path() / "loss.csv";
  const std::string name_ = "loss curve \"" + path_.string() + "\": ";
};

TEST_F(LossCurveTest, WritesALineForEachStep) {
  const LossCurve curve(path_, kColumns);
  EXPECT_EQ(read_file(path_), "step,context,loss\n");
  append_steps(curve, 0, 2);
  EXPECT_EQ(read_file(path_), "step,context,loss\n0,512,1\n1,512,0.5\n2,512,0.3333333\n");
  EXPECT_EQ(folder_.names(), Names{"loss.csv"});
}

TEST_F(LossCurveTest, WritesEveryNumber) {
  const LossCurve curve(path_, {"a", "b", "c", "d"});
  const double numbers[] = {-1.5e-12, 1048576, 123456789, 0.1f};
  curve.append(1, numbers);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double others[] = {kInfinity, -kInfinity, std::numeric_limits<double>::quiet_NaN(), -0.0};
  curve.append(std::numeric_limits<std::uint64_t>::max(), others);
  EXPECT_EQ(
      read_file(path_),
      "step,a,b,c,d\n1,-1.5e-12,1048576,1.234568e+08,0.1\n18446744073709551615,inf,-inf,nan,-0\n");
}

TEST_F(LossCurveTest, OfAResumedRunIsThatOfOneNeverStopped) {
  append_steps(LossCurve(path_, kColumns), 8, 10);
  const std::string whole = read_file(path_);
  for (std::uint64_t resume_after = 8; resume_after <= 10; ++resume_after) {
    // Killed at any byte behind the line of that step, with the next lines there or in part.
    const std::size_t kept = whole.find('\n' + std::to_string(resume_after) + ',');
    for (std::size_t size = whole.find('\n', kept + 1) + 1; size <= whole.size(); ++size) {
      write_file(path_, whole.substr(0, size));
      append_steps(LossCurve(path_, kColumns, resume_after), resume_after + 1, 10);
      ASSERT_EQ(read_file(path_), whole) << "cut at " << size << ", resumed after " << resume_after;
    }
  }
}

TEST_F(LossCurveTest, OfANewRunBeginsAnew) {
  append_steps(LossCurve(path_, kColumns), 0, 3);
  append_steps(LossCurve(path_, kColumns), 0, 0);
  EXPECT_EQ(read_file(path_), "step,context,loss\n0,512,1\n");
}

TEST_F(LossCurveTest, ResumesWithoutAFile) {
  append_steps(LossCurve(path_, kColumns, 5), 9, 9);
  EXPECT_EQ(read_file(path_), "step,context,loss\n9,512,0.1\n");
}

TEST_F(LossCurveTest, MayHaveNoColumns) {
  LossCurve(path_, {}).append(1, {});
  LossCurve(path_, {}, 1).append(2, {});
  EXPECT_EQ(read_file(path_), "step\n1\n2\n");
}

TEST_F(LossCurveTest, RefusesAFileThatIsNotItsOwn) {
  const auto resumed = [&](const std::string& text) {
    write_file(path_, text);
    const std::string message = error_of([&] { LossCurve(path_, kColumns, 3); });
    EXPECT_EQ(read_file(path_), text) << "a file that is refused is left alone";
    return message;
  };
  EXPECT_EQ(resumed("step,loss\n"), name_ + "the head is step,loss but this run has step,context,loss");
  EXPECT_EQ(resumed("step,context"), name_ + "the head is  but this run has step,context,loss");
  EXPECT_EQ(resumed("\x1b[2J\n"),
            name_ + "the head is (unprintable) but this run has step,context,loss");
  for (const char* line : {"", "x", "1", "-1,2,3", " 1,2,3", "1 ,2,3", "1,2", "1,2,3,4", "1;2,3,",
                           "18446744073709551616,2,3"}) {
    EXPECT_EQ(resumed(std::string("step,context,loss\n1,2,3\n") + line + "\n"),
              name_ + "line 3 is not a step and 2 values")
        << line;
  }
}

TEST_F(LossCurveTest, RefusesValuesThatAreNotItsColumns) {
  const LossCurve curve(path_, kColumns);
  const double values[] = {1, 2, 3};
  EXPECT_EQ(error_of([&] { curve.append(1, values); }), name_ + "3 values for 2 columns");
  EXPECT_EQ(read_file(path_), "step,context,loss\n");
  EXPECT_EQ(error_of([&] { LossCurve(path_, {"a,b"}); }),
            "loss curve: column a,b is not printable text without a comma");
  EXPECT_EQ(error_of([&] { LossCurve(path_, {"a\n"}); }),
            "loss curve: column (unprintable) is not printable text without a comma");
}

TEST_F(LossCurveTest, KeepsWholeLinesWhenTheDiskIsFull) {
  const LossCurve curve(path_, kColumns);
  append_steps(curve, 1, 2);
  const std::string before = read_file(path_);
  for (std::size_t room = 0; room < std::string("3,512,0.25\n").size(); ++room) {
    std::string message;
    {
      const FullDisk disk(before.size() + room);
      message = error_of([&] { append_steps(curve, 3, 3); });
    }
    EXPECT_EQ(message, "cannot write \"" + path_.string() + "\": " + FullDisk::error());
    EXPECT_EQ(read_file(path_), before);
  }
  append_steps(curve, 3, 3);
  EXPECT_EQ(read_file(path_), before + "3,512,0.25\n");
}

TEST_F(LossCurveTest, NeedsItsFolderAndItsFile) {
  const auto nowhere = folder_.path() / "none" / "loss.csv";
  EXPECT_EQ(error_of([&] { LossCurve(nowhere, kColumns); }),
            "cannot write \"" + nowhere.string() + "\": No such file or directory");
  const LossCurve curve(path_, kColumns);
  std::filesystem::remove(path_);
  EXPECT_EQ(error_of([&] { append_steps(curve, 1, 1); }),
            "cannot write \"" + path_.string() + "\": No such file or directory");
}

}  // namespace
}  // namespace train
