// SPDX-License-Identifier: Apache-2.0
// What is asked of every method: keys, values and the queries that read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <skim/core/kv.h>
#include <skim/core/query.h>

namespace compare {

/// The query heads that share a KV head, at one position.
struct Ask {
  skim::Position position = 0;  // sees this position and those before it
  std::uint64_t sequence = 0;   // tells its random draws from those of other texts
  std::vector<float> rows;      // [group, d]
};

/// One KV head over one text.
struct KvHead {
  std::uint32_t layer = 0;
  std::uint32_t head = 0;     // of the layer
  std::size_t d = 0;          // of keys and of values
  std::vector<float> keys;    // [n, d]
  std::vector<float> values;  // [n, d]
  std::vector<Ask> asks;

  std::size_t size() const { return keys.size() / d; }
  std::size_t group() const { return asks.empty() ? 0 : asks[0].rows.size() / d; }

  skim::ContiguousKv<float> kv() const {
    return {{keys.data(), size(), d}, {values.data(), size(), d}};
  }

  skim::Query query(const Ask& ask, std::uint64_t seed, skim::Grouping grouping) const {
    skim::Query q;
    q.rows = {ask.rows.data(), ask.rows.size() / d, d};
    q.position = ask.position;
    q.grouping = grouping;
    q.stream = {.seed = seed, .layer = layer, .head = head, .sequence = ask.sequence};
    return q;
  }
};

struct Problem {
  std::string name;  // for titles: "synthetic, ..." or the model's
  std::size_t layers = 1;
  std::size_t kv_heads = 0;  // of a layer
  std::size_t group = 1;     // query heads of a KV head
  std::size_t longest = 0;   // positions of the longest text
  std::vector<KvHead> heads;

  /// The number of a query head among all layers'.
  std::size_t query_head(const KvHead& kv, std::size_t row) const {
    return (kv.layer * kv_heads + kv.head) * group + row;
  }
  std::size_t query_heads() const { return layers * kv_heads * group; }
  std::size_t asks() const {
    std::size_t sum = 0;
    for (const KvHead& kv : heads) sum += kv.asks.size();
    return sum;
  }
};

}  // namespace compare
