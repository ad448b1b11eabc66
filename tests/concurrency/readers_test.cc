// SPDX-License-Identifier: Apache-2.0
// Any number of threads may read keys, values, indexes and estimators while somebody writes those of other sequences.
// ThreadSanitizer (preset tsan) sees a race; without it, the bits of every answer are those of a call with nobody else
// around.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "concurrency/executors.h"
#include "skim/skim.h"
#include "support/close.h"
#include "support/layer_problem.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr std::size_t kPageSize = 16, kPagesEach = 48, kColumns = 16, kReaders = 8, kRead = 2, kWritten = 2;
constexpr std::size_t kKvHeads = 2, kQueryHeads = 4;

using K = BF16;
using Indexes = std::tuple<Sketch1, Sketch4, Sketch8, PageBoxes, PageMeans, LshTables>;

/// The sequences of an engine: keys and values in one pool of pages, for each KV head a table and all indexes.
class Cache {
 public:
  static constexpr std::size_t kHeads = (kRead + kWritten) * kKvHeads;

  Cache() : keys_(kHeads * kPagesEach * kPageSize * kColumns), values_(keys_.size()), heads_(kHeads) {
    const auto planes = std::make_shared<const LshPlanes>(kColumns, 2, 8, 1);
    for (std::size_t h = 0; h < kHeads; ++h) {
      // Pages of all heads take turns, so that those who read and those who write are neighbours.
      for (std::size_t p = 0; p < kPagesEach; ++p) heads_[h].table.push_back(static_cast<std::int32_t>(p * kHeads + h));
      heads_[h].indexes = std::make_unique<Indexes>(Sketch1(64), Sketch4(64), Sketch8(64), PageBoxes(), PageMeans(16),
                                                    LshTables(planes, 1024));
    }
  }

  auto view(std::size_t h) const {
    const auto pages = [](const std::vector<K>& pool) {
      return Pages<K>{pool.data(), kColumns, kPageSize * kColumns, kColumns};
    };
    PagedKv<K> kv{heads_[h].n, kPageSize, heads_[h].table, kHeads * kPagesEach, pages(keys_), pages(values_)};
    return std::apply([&kv](const auto&... index) { return with_index(kv, index...); }, *heads_[h].indexes);
  }

  void grow(std::size_t h, std::size_t more, std::uint64_t seed) {
    const auto p = random_problem<K>({more, kColumns, kColumns, 1}, seed);
    Head& head = heads_[h];
    for (std::size_t i = 0; i < more; ++i, ++head.n) {
      const auto page = static_cast<std::size_t>(head.table[head.n / kPageSize]);
      const std::size_t at = (page * kPageSize + head.n % kPageSize) * kColumns;
      std::copy_n(p.keys.data() + i * kColumns, kColumns, keys_.data() + at);
      std::copy_n(p.values.data() + i * kColumns, kColumns, values_.data() + at);
    }
    std::apply([&](auto&... index) { (append(index, view(h)), ...); }, *head.indexes);
  }

  void shrink(std::size_t h, std::size_t n) {
    heads_[h].n = n;
    std::apply([&](auto&... index) { (truncate(index, view(h), static_cast<Position>(n)), ...); }, *heads_[h].indexes);
  }

 private:
  struct Head {
    std::size_t n = 0;
    std::vector<std::int32_t> table;
    std::unique_ptr<Indexes> indexes;
  };
  std::vector<K> keys_, values_;
  std::vector<Head> heads_;
};

/// All that is read, and what it says when nobody writes.
struct Problem {
  Cache cache;
  std::vector<decltype(cache.view(0))> views;
  std::vector<float> q;
  std::vector<std::size_t> row_begin{0, 1, 5};
  std::vector<StageList> estimators;

  Problem() {
    for (std::size_t h = 0; h < kRead * kKvHeads; ++h) cache.grow(h, 300 + 150 * (h / kKvHeads), h + 1);
    for (std::size_t h = 0; h < kRead * kKvHeads; ++h) views.push_back(cache.view(h));
    q = random_problem<float>({0, kColumns, 1, row_begin.back() * kQueryHeads}, 9).q;
    for (const char* text :
         {"dense", "sinks(2)+window(20)+topk(9)+priority(12)", "topk(20,by=sketch1,candidates=60)", "topk(9,by=sketch8,exact)",
          "topk(9,by=boxes,exact)", "quest(40)+summaries", "topp(0.5)+systematic(9,by=sketch4)", "poisson(9,by=means)",
          "multinomial(9)", "uniform(9)", "topk(5)+lsh(2,8)"}) {
      estimators.push_back(parse(text));
    }
  }

  std::size_t rows() const { return row_begin.back(); }
  std::size_t size() const { return rows() * kQueryHeads * kColumns; }

  std::vector<float> answer(const StageList& estimator, const Executor& executor) const {
    std::vector<float> out(size());
    LayerQuery query;
    query.rows = {q.data(), rows(), kQueryHeads, kColumns};
    query.row_begin = row_begin;
    attend(estimator, query, LayerKv<decltype(cache.view(0))>{views, kKvHeads},
           LayerState{{out.data(), rows(), kQueryHeads, kColumns}, nullptr}, {.executor = executor});
    return out;
  }
};

TEST(Readers, HaveTheirBitsWhileOtherSequencesAreWritten) {
  Problem p;
  std::vector<std::vector<float>> expected;
  for (const StageList& estimator : p.estimators) expected.push_back(p.answer(estimator, {}));

  std::atomic<std::size_t> reading{kReaders};
  std::vector<std::string> wrong(kReaders);
  std::vector<std::thread> readers;
  for (std::size_t reader = 0; reader < kReaders; ++reader) {
    readers.emplace_back([&, reader] {
      for (std::size_t i = 0; i < p.estimators.size(); ++i) {
        const std::size_t e = (i + reader) % p.estimators.size();
        for (const NamedExecutor& on : every_executor()) {
          const auto out = p.answer(p.estimators[e], on.executor);
          if (!same_bits(out.data(), expected[e].data(), out.size())) wrong[reader] += to_text(p.estimators[e]) + " on " + on.name;
        }
      }
      --reading;
    });
  }

  std::size_t rounds = 0;
  constexpr std::size_t kFirst = kRead * kKvHeads, kMost = kPagesEach * kPageSize;
  for (; reading > 0; ++rounds) {
    for (std::size_t h = kFirst; h < Cache::kHeads; ++h) {
      for (std::size_t n = 0; n + 90 < kMost; n += 90) p.cache.grow(h, 90, rounds + h);
      p.cache.grow(h, 1, rounds);
      p.cache.shrink(h, 100);
      p.cache.shrink(h, 0);
    }
  }
  for (std::thread& reader : readers) reader.join();
  for (const std::string& text : wrong) EXPECT_EQ(text, "");
  EXPECT_GT(rounds, 0u) << "nobody wrote meanwhile";
}

}  // namespace
}  // namespace skim::test
