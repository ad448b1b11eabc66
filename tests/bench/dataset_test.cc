// SPDX-License-Identifier: Apache-2.0
#include "bench/dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "bench/layer_call.h"

namespace skim_bench {
namespace {

template <class T>
std::vector<double> dense_errors(const DataSpec& spec, std::size_t threads = 1) {
  const Dataset<T> data(spec);
  Pool pool(threads);
  if (data.heads().empty()) {
    LayerCall<skim::Dense, skim::PagedKv<T>> call({}, data, data.paged_heads(),
                                                  skim::Grouping::kPerGroup, pool);
    call();
    return data.errors(call.out());
  }
  LayerCall<skim::Dense, skim::ContiguousKv<T>> call({}, data, data.heads(), skim::Grouping::kPerGroup,
                                                     pool);
  call();
  return data.errors(call.out());
}

double worst(const std::vector<double>& x) { return *std::max_element(x.begin(), x.end()); }

// Views, layouts, queries and exact answers fit together: dense attention has the error of its storage.
TEST(Dataset, DenseAttentionAgreesInEveryLayout) {
  for (const Layout layout : {Layout::kApart, Layout::kAdjacent, Layout::kPages16, Layout::kPages64}) {
    const DataSpec spec{{8, 2, 640, 96}, {}, layout};
    EXPECT_EQ(dense_errors<float>(spec).size(), 8u);
    EXPECT_LT(worst(dense_errors<float>(spec)), 2e-6);
    EXPECT_LT(worst(dense_errors<skim::F16>(spec)), 1e-3);
    EXPECT_LT(worst(dense_errors<skim::BF16>(spec)), 8e-3);
    EXPECT_GT(worst(dense_errors<skim::BF16>(spec)), 1e-5)
        << "measured against what was stored, not what was meant";
    EXPECT_LT(worst(dense_errors<skim::I8>(spec)), 2e-2);
    EXPECT_GT(worst(dense_errors<skim::I8>(spec)), 1e-4)
        << "measured against what was stored, not what was meant";
  }
}

TEST(Dataset, PrefillRowsSeeWhatCameBeforeThem) {
  DataSpec spec{{4, 2, 200, 64}, {}, Layout::kApart};
  spec.rows = 200;
  const std::vector<double> errors = dense_errors<float>(spec, 2);
  EXPECT_EQ(errors.size(), 8u * 4);
  EXPECT_LT(worst(errors), 3e-6);
}

TEST(Dataset, ErrorsSeeAWrongRow) {
  const Dataset<float> data(DataSpec{{4, 2, 128, 32}});
  std::vector<float> zero(4 * 32);
  for (const double error : data.errors(zero.data())) EXPECT_DOUBLE_EQ(error, 1);
}

TEST(Dataset, IsKeptUntilAnotherIsAskedFor) {
  const DataSpec spec{{4, 2, 128, 32}};
  const Dataset<float>* first = &dataset<float>(spec);
  EXPECT_EQ(&dataset<float>(spec), first);
  EXPECT_EQ(dataset<skim::F16>(spec).shape(), spec.shape);
  DataSpec other = spec;
  other.workload.corr = 1;
  EXPECT_EQ(dataset<float>(other).spec(), other);
  current_dataset.reset();
}

TEST(Dataset, RefusesWhatDoesNotFitIntoMemory) {
  try {
    Dataset<float> data(DataSpec{{4, 2, std::size_t{1} << 36, 128}});
    FAIL();
  } catch (const std::runtime_error& e) {
    EXPECT_NE(std::string(e.what()).find("MiB are available"), std::string::npos);
  }
  EXPECT_THROW(Dataset<float>(DataSpec{{4, 2, 100, 32}, {}, Layout::kPages16}), std::invalid_argument);
}

TEST(StoreRow, RoundsAsTheLibraryDoes) {
  std::vector<float> row;
  for (std::uint32_t i = 0; i < 100000; ++i) {
    const float x = std::bit_cast<float>(i * 42949u + 7u);
    if (x == x) row.push_back(x);
  }
  std::vector<skim::F16> stored(row.size());
  store_row(row.data(), row.size(), stored.data());
  for (std::size_t i = 0; i < row.size(); ++i) {
    ASSERT_EQ(stored[i].bits, skim::from_float<skim::F16>(row[i]).bits) << row[i];
  }
}

TEST(Coverage, CountsDistinctRowsOfAKvHead) {
  const Dataset<float> data(DataSpec{{8, 2, 1000, 32}});
  const auto share = [&](const char* text, skim::Grouping grouping = skim::Grouping::kPerGroup) {
    return coverage(skim::parse(text), data, data.heads(), grouping);
  };
  EXPECT_DOUBLE_EQ(share("dense").keys, 1);
  EXPECT_DOUBLE_EQ(share("dense").values, 1);
  EXPECT_DOUBLE_EQ(share("topk(50)").keys, 1);
  EXPECT_DOUBLE_EQ(share("topk(50)").values, 0.05);
  EXPECT_DOUBLE_EQ(share("sinks(4)+window(6)").keys, 0.01);
  EXPECT_DOUBLE_EQ(share("sinks(4)+uniform(46)").keys, 0.05);
  EXPECT_DOUBLE_EQ(share("sinks(4)+priority(46)").keys, 1);
  // Four heads that choose for themselves read up to four times as many.
  const double together = share("topk(50)", skim::Grouping::kPerHead).values;
  EXPECT_GT(together, 0.1);
  EXPECT_LE(together, 0.2);
}

TEST(Memory, TellsItsHugePages) {
  const skim::Arena huge = touched_memory(std::size_t{16} << 20, true);
  const skim::Arena plain = touched_memory(std::size_t{16} << 20, false);
  EXPECT_EQ(huge_share(plain), 0);
  EXPECT_GE(huge_share(huge), 0);
  EXPECT_LE(huge_share(huge), 1);
}

}  // namespace
}  // namespace skim_bench
