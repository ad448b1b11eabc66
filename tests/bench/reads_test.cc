// SPDX-License-Identifier: Apache-2.0
// Are rows counted as they are read, and does recall see what is missed?
#include "bench/reads.h"

#include <gtest/gtest.h>

namespace skim_bench {
namespace {

class ReadsTest : public testing::Test {
 protected:
  // 200 newest keys no sketch holds yet.
  const Dataset<skim::BF16> data_{DataSpec{{8, 2, 1000, 32}}};
  const IndexedDataset<skim::BF16> indexed_{data_};

  Counted of(const char* text) const { return count_reads(skim::parse(text), data_, indexed_); }
};

TEST_F(ReadsTest, AllKeysWhereTheyAreScored) {
  const Counted topk = of("topk(50)");
  EXPECT_DOUBLE_EQ(topk.rows.keys, 1);
  EXPECT_DOUBLE_EQ(topk.rows.values, 0.05);
  EXPECT_DOUBLE_EQ(topk.recall, 1);
}

TEST_F(ReadsTest, CandidatesAndNewestKeysOfASketch) {
  const double newest = static_cast<double>(1000 % skim::Sketch1().segment()) / 1000;
  ASSERT_GT(newest, 0);
  for (const char* text : {"topk(50,by=sketch1)", "topk(50,by=sketch1,candidates=200)"}) {
    const double named = text == std::string("topk(50,by=sketch1)") ? 0.05 : 0.2;
    const Counted c = of(text);
    EXPECT_GT(c.rows.keys, newest) << text;
    EXPECT_LE(c.rows.keys, newest + named) << text;
    EXPECT_DOUBLE_EQ(c.rows.values, 0.05) << text;
    EXPECT_GT(c.recall, 0.3) << text;
    EXPECT_LT(c.recall, 1) << text;
  }
  EXPECT_DOUBLE_EQ(of("topk(50,by=sketch8,candidates=1000)").recall, 1);
}

TEST_F(ReadsTest, ExactTopKFindsAllByFewerKeys) {
  const Counted c = of("topk(50,by=sketch8,exact)");
  EXPECT_DOUBLE_EQ(c.recall, 1);
  EXPECT_DOUBLE_EQ(c.rows.values, 0.05);
  EXPECT_GE(c.rows.keys, 0.05);
  EXPECT_LT(c.rows.keys, 1);
}

TEST(Reads, PagesOfQuestAreReadOnce) {
  const Dataset<skim::BF16> data(DataSpec{{2, 1, 32768, 32}});
  const Counted c =
      count_reads(skim::parse("quest(fraction(0.05))"), data, IndexedDataset<skim::BF16>(data));
  EXPECT_NEAR(c.rows.values, 0.05, 1e-4);
  EXPECT_DOUBLE_EQ(c.rows.keys, c.rows.values);
  EXPECT_GT(c.recall, 0.05);
}

TEST_F(ReadsTest, SamplersHaveNoRecall) {
  EXPECT_LT(of("priority(50,by=sketch4)").recall, 0);
  EXPECT_DOUBLE_EQ(of("priority(50,by=sketch4)").rows.values, 0.05);
  EXPECT_LT(of("sinks(4)+window(6)").recall, 0);
}

TEST_F(ReadsTest, BytesAreThoseOfTheSourcesAsked) {
  const auto bytes = [&](const char* text) { return indexed_.bytes(skim::sources(skim::parse(text))); };
  EXPECT_EQ(bytes("topk(50)"), 0);
  EXPECT_GT(bytes("topk(50,by=sketch1)"), 0);
  EXPECT_GT(bytes("topk(50,by=sketch8)"), bytes("topk(50,by=sketch4)"));
}

TEST_F(ReadsTest, AreKeptWithTheirDataset) {
  const Dataset<skim::BF16>& data = dataset<skim::BF16>(data_.spec());
  const IndexedDataset<skim::BF16>* first = &indexed(data);
  EXPECT_EQ(&indexed(data), first);
  DataSpec other = data_.spec();
  other.workload.corr = 1;
  EXPECT_EQ(&indexed(dataset<skim::BF16>(other)).data(), &dataset<skim::BF16>(other));
  current_indexes.reset();
  current_dataset.reset();
}

}  // namespace
}  // namespace skim_bench
