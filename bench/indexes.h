// SPDX-License-Identifier: Apache-2.0
// The indexes of a dataset, all that skim has, for every KV head.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bench/dataset.h"
#include "bench/memory.h"
#include "bench/pool.h"
#include "skim/skim.h"

namespace skim_bench {

/// What grows beside each KV head. Another index is another type here.
using Indexes =
    std::tuple<skim::Sketch1, skim::Sketch4, skim::Sketch8, skim::PageBoxes, skim::PageMeans>;

/// All of them travel with every row, so that all rows share one type of KV: to compile attention once more
/// takes longer than to build them.
template <class Kv>
auto with_all(const Kv& kv, const Indexes& indexes) {
  return std::apply([&](const auto&... index) { return skim::with_index(kv, index...); }, indexes);
}
template <class Kv>
using WithAll = decltype(with_all(std::declval<Kv>(), std::declval<const Indexes&>()));

/// Calls visit(I{}) with the type of the index that serves `source`.
template <class Visit>
void visit_index(skim::Source source, const Visit& visit) {
  const auto one = [&]<class I>(const I& empty) {
    if (I::kSource == source) visit(empty);
  };
  std::apply([&](const auto&... empty) { (one(empty), ...); }, Indexes{});
}

template <class T>
class IndexedDataset : public AnyDataset {
 public:
  using Kv = WithAll<skim::ContiguousKv<T>>;

  explicit IndexedDataset(const Dataset<T>& data) : data_(data), indexes_(data.heads().size()) {
    // About 2 bytes a component, and as much again while they grow.
    const std::size_t bytes = data.heads().size() * data.shape().n * data.shape().d * 4;
    if (bytes > available_memory()) {
      throw std::runtime_error("indexes need " + std::to_string(bytes >> 20) + " MiB, but only " +
                               std::to_string(available_memory() >> 20) + " MiB are available");
    }
    Pool pool(std::max(1u, std::thread::hardware_concurrency()));
    pool.each(indexes_.size(), [&](std::size_t h, std::size_t) {
      std::apply([&](auto&... index) { (skim::append(index, data.heads()[h]), ...); }, indexes_[h]);
    });
    for (std::size_t h = 0; h < indexes_.size(); ++h)
      heads_.push_back(with_all(data.heads()[h], indexes_[h]));
  }

  const Dataset<T>& data() const { return data_; }
  std::span<const Kv> heads() const { return heads_; }

  /// Of the indexes that serve `sources`, of all KV heads.
  double bytes(skim::Sources sources) const {
    std::size_t sum = 0;
    const auto add = [&]<class I>(const I& index) {
      if ((skim::sources_bit(I::kSource) & sources) != 0) sum += index.bytes();
    };
    for (const Indexes& head : indexes_)
      std::apply([&](const auto&... index) { (add(index), ...); }, head);
    return static_cast<double>(sum);
  }

 private:
  const Dataset<T>& data_;
  std::vector<Indexes> indexes_;
  std::vector<Kv> heads_;
};

/// The indexes of the current dataset, kept as long as it.
template <class T>
const IndexedDataset<T>& indexed(const Dataset<T>& data) {
  if (const auto* same = dynamic_cast<const IndexedDataset<T>*>(current_indexes.get());
      same && &same->data() == &data) {
    return *same;
  }
  current_indexes.reset();
  auto fresh = std::make_unique<IndexedDataset<T>>(data);
  const IndexedDataset<T>& result = *fresh;
  current_indexes = std::move(fresh);
  return result;
}

}  // namespace skim_bench
