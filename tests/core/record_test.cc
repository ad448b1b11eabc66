// SPDX-License-Identifier: Apache-2.0
// Does a record say what was written down, whoever wrote it?
#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/core/record.h"
#include "support/selections.h"

namespace skim::test {
namespace {

void expect_holds(const SelectionRecord& record, std::size_t i, const Spans& spans, const std::vector<Pick>& picks) {
  const SelectionRecord::View view = record[i];
  EXPECT_EQ(Spans(view.spans.begin(), view.spans.end()), spans) << "entry " << i;
  ASSERT_EQ(view.picks.size(), picks.size()) << "entry " << i;
  for (std::size_t p = 0; p < picks.size(); ++p) {
    EXPECT_EQ(view.picks[p], picks[p].position) << "entry " << i;
    EXPECT_EQ(view.log_weights ? view.log_weights[p] : 0, picks[p].log_weight) << "entry " << i;
  }
}

TEST(Record, IsEmptyAtFirst) {
  SelectionRecord record;
  EXPECT_EQ(record.size(), 0u);
  begin_record(record, 3, 2, 4, 100, 1);
  EXPECT_EQ(record.rows(), 3u);
  EXPECT_EQ(record.kv_heads(), 2u);
  EXPECT_EQ(record.per_unit(), 4u);
  EXPECT_EQ(record.size(), 24u);
  for (std::size_t i = 0; i < 24; ++i) expect_holds(record, i, {}, {});
}

TEST(Record, HoldsWhatWorkersWriteInAnyOrder) {
  SelectionRecord record;
  std::size_t bytes = 0;
  for (int again = 0; again < 2; ++again) {  // the second time over what the first has left
    begin_record(record, 5, 1, 1, 1000, 3);
    write_down(record, 3, selection_of({{2, 5}, {9, 11}}, every(3, 20, 60)), 2);
    write_down(record, 0, Span{4, 8}, 0);
    write_down(record, 4, selection_of({}, {{7, 0}, {9, 0}}), 1);
    write_down(record, 1, selection_of({}, {}), 2);
    write_down(record, 2, selection_of({{1, 2}}, {{7, 0}, {9, 1.5}}), 2);
    expect_holds(record, 0, {{4, 8}}, {});
    expect_holds(record, 1, {}, {});
    expect_holds(record, 2, {{1, 2}}, {{7, 0}, {9, 1.5}});
    expect_holds(record, 3, {{2, 5}, {9, 11}}, every(3, 20, 60));
    expect_holds(record, 4, {}, {{7, 0}, {9, 0}});
    EXPECT_EQ(record[4].log_weights, nullptr);  // 4 bytes a pick
    EXPECT_EQ(bytes_of(record), again == 0 ? bytes_of(record) : bytes);
    bytes = bytes_of(record);
  }
}

TEST(Record, AnEmptySpanIsNone) {
  SelectionRecord record;
  begin_record(record, 1, 1, 1, 10, 1);
  write_down(record, 0, Span{5, 5}, 0);
  EXPECT_TRUE(record[0].spans.empty());
}

TEST(Record, IsAsSmallAsItSays) {
  SelectionRecord record;
  begin_record(record, 2, 1, 1, 1000, 1);
  const std::size_t empty = bytes_of(record);
  write_down(record, 0, selection_of({{0, 4}}, {{7, 0}, {9, 0}}), 0);
  EXPECT_EQ(bytes_of(record), empty + 16 + 2 * 4);
  write_down(record, 1, selection_of({}, {{7, 1}, {9, 0}, {10, 0}}), 0);
  EXPECT_EQ(bytes_of(record), empty + 16 + 2 * 4 + 3 * 12);
}

TEST(Record, RefusesWhatItCannotHold) {
  SelectionRecord record;
  expect_error([&] { begin_record(record, 1, 1, 1, Position{1} << 32, 1); }, {"4294967296", "4294967295"});
  begin_record(record, 6, 1, 1, 1000, 1);
  Selection selection;
  selection.add_summary(3, 1.0);
  selection.add_summary(4, 1.0);
  expect_error([&] { write_down(record, 5, selection, 0); }, {"summaries", "entry 5 of 6", "has 2"});
}

}  // namespace
}  // namespace skim::test
