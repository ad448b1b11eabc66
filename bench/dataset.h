// SPDX-License-Identifier: Apache-2.0
// A layer's synthetic KV cache in a storage type and layout, with the exact answers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "bench/memory.h"
#include "bench/reference.h"
#include "bench/synthetic.h"
#include "bench/workload.h"
#include "skim/core/kv.h"
#include "skim/core/storage.h"

namespace skim_bench {

struct Shape {
  std::size_t q_heads = 32, kv_heads = 8, n = 4096, d = 128;

  std::size_t group() const { return q_heads / kv_heads; }
  friend bool operator==(const Shape&, const Shape&) = default;
};

enum class Layout {
  kApart,     ///< [n, d] keys, then [n, d] values of a head
  kAdjacent,  ///< [n, 2 d]: the value of a position behind its key
  kPages16,   ///< pages of 16 positions anywhere in the head's pool, keys and values apart
  kPages64,
};

constexpr std::size_t page_size(Layout layout) {
  return layout == Layout::kPages16 ? 16 : layout == Layout::kPages64 ? 64 : 0;
}

/// Everything the memory of a benchmark depends on, but the storage type.
struct DataSpec {
  Shape shape{};
  Workload workload{};
  Layout layout = Layout::kApart;
  bool huge_pages = true;
  std::size_t rows = 1;  ///< newest positions that ask: 1 is decode, n is prefill

  friend bool operator==(const DataSpec&, const DataSpec&) = default;
};

/// What one row of one query head asks: positions [first, last) under a rule.
struct Asked {
  std::size_t first = 0, last = 0;
  ExactRule rule{};
};

inline const char* name_of(float) { return "f32"; }
inline const char* name_of(skim::F16) { return "f16"; }
inline const char* name_of(skim::BF16) { return "bf16"; }
inline const char* name_of(skim::I8) { return "int8"; }

/// Bytes that a row of d values takes in storage type T.
template <class T>
constexpr std::size_t row_bytes(std::size_t d) {
  return skim::row_values<T>(d) * sizeof(T);
}

/// A row of `count` values in storage type T.
template <class T>
void store_row(const float* from, std::size_t count, T* to) {
  if constexpr (std::is_same_v<T, skim::I8>) return skim::quantize_row(from, count, to);
  std::size_t c = 0;
#if defined(__F16C__)
  if constexpr (std::is_same_v<T, skim::F16>) {  // from_float has branches, and there are 10^9 values
    for (; c + 8 <= count; c += 8) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + c),
                       _mm256_cvtps_ph(_mm256_loadu_ps(from + c), _MM_FROUND_TO_NEAREST_INT));
    }
  }
#endif
  skim::from_floats(from + c, count - c, to + c);
}

/// The seed of a KV head: a dataset of a shape has the same values in every type and layout.
inline std::uint64_t seed_of(std::size_t kv_head) { return 20261122 + 1000 * kv_head; }

class AnyDataset {
 public:
  AnyDataset() = default;
  AnyDataset(const AnyDataset&) = delete;
  AnyDataset& operator=(const AnyDataset&) = delete;
  virtual ~AnyDataset() = default;
};

template <class T>
class Dataset : public AnyDataset {
 public:
  explicit Dataset(const DataSpec& spec);

  const DataSpec& spec() const { return spec_; }
  const Shape& shape() const { return spec_.shape; }
  double huge_share() const { return huge_share_; }

  /// [rows, q_heads, d]
  const float* queries() const { return queries_.data(); }
  const float* query(std::size_t row, std::size_t q_head) const {
    return queries_.data() + (row * shape().q_heads + q_head) * shape().d;
  }
  std::span<const skim::ContiguousKv<T>> heads() const { return heads_; }   ///< empty when paged
  std::span<const skim::PagedKv<T>> paged_heads() const { return paged_; }  ///< empty otherwise

  /// Relative l2 errors of out [rows, q_heads, d]: one for each query head of each row with an exact answer
  /// (decode: the one row; prefill: eight rows, evenly spaced, and the last).
  std::vector<double> errors(const float* out) const { return errors(out, exact_); }

  /// The same against other answers than those of plain causal attention.
  std::vector<double> errors(const float* out, const std::vector<double>& exact) const {
    std::vector<double> all;
    for (std::size_t r = 0; r < exact_rows_.size(); ++r) {
      for (std::size_t h = 0; h < shape().q_heads; ++h) {
        const float* row = out + (exact_rows_[r] * shape().q_heads + h) * shape().d;
        all.push_back(
            relative_l2(row, exact.data() + (r * shape().q_heads + h) * shape().d, shape().d));
      }
    }
    return all;
  }

  /// Exact answers, [exact rows, q_heads, d]: of plain causal attention ...
  const std::vector<double>& answers() const { return exact_; }
  /// ... and of what asked(row, q_head) -> Asked says. Makes the data once more.
  template <class AskedBy>
  std::vector<double> answers(const AskedBy& asked) const {
    std::vector<double> exact(exact_.size());
    SyntheticHead head;
    for (std::size_t kv_head = 0; kv_head < shape().kv_heads; ++kv_head) {
      make_head(spec_.workload, shape().n, shape().d, shape().group(), seed_of(kv_head), head);
      answer_head(kv_head, head, asked, exact.data());
    }
    return exact;
  }

 private:
  void place_head(std::size_t kv_head, const SyntheticHead& head);
  void ask_head(std::size_t kv_head, const SyntheticHead& head);
  template <class AskedBy>
  void answer_head(std::size_t kv_head, const SyntheticHead& head, const AskedBy& asked,
                   double* exact) const {
    for (std::size_t q_head = kv_head * head.group; q_head < (kv_head + 1) * head.group; ++q_head) {
      for (std::size_t e = 0; e < exact_rows_.size(); ++e) {
        const Asked a = asked(exact_rows_[e], q_head);
        exact_attention(
            head, query(exact_rows_[e], q_head), a.last - a.first,
            [&](std::size_t j) { return a.first + j; },
            exact + (e * shape().q_heads + q_head) * shape().d, a.rule);
      }
    }
  }

  DataSpec spec_;
  skim::Arena memory_;
  double huge_share_ = 0;
  std::vector<float> queries_;
  std::vector<skim::ContiguousKv<T>> heads_;
  std::vector<skim::PagedKv<T>> paged_;
  std::vector<std::vector<std::int32_t>> tables_;
  std::vector<std::size_t> exact_rows_;
  std::vector<double> exact_;  // [exact rows, q_heads, d]
};

template <class T>
Dataset<T>::Dataset(const DataSpec& spec) : spec_(spec), tables_(spec.shape.kv_heads) {
  const Shape& s = spec.shape;
  const std::size_t bytes = s.kv_heads * s.n * 2 * row_bytes<T>(s.d);
  const std::size_t reserve = std::size_t{1} << 30;  // one head in float, workspaces, and other people
  if (bytes + reserve > available_memory()) {
    throw std::runtime_error("needs " + std::to_string((bytes + reserve) >> 20) + " MiB, but only " +
                             std::to_string(available_memory() >> 20) + " MiB are available");
  }
  memory_ = touched_memory(bytes, spec.huge_pages);
  queries_.resize(spec.rows * s.q_heads * s.d);
  const std::size_t steps = spec.rows < 8 ? spec.rows : 8;
  for (std::size_t i = 1; i <= steps; ++i) exact_rows_.push_back(i * spec.rows / steps - 1);
  exact_.resize(exact_rows_.size() * s.q_heads * s.d);

  SyntheticHead head;
  for (std::size_t kv_head = 0; kv_head < s.kv_heads; ++kv_head) {
    make_head(spec.workload, s.n, s.d, s.group(), seed_of(kv_head), head);
    place_head(kv_head, head);
    ask_head(kv_head, head);
  }
  huge_share_ = skim_bench::huge_share(memory_);
}

template <class T>
void Dataset<T>::place_head(std::size_t kv_head, const SyntheticHead& head) {
  const std::size_t n = head.n, d = head.d, row = skim::row_values<T>(d);
  T* keys = reinterpret_cast<T*>(memory_.data()) + kv_head * 2 * n * row;
  T* values = spec_.layout == Layout::kAdjacent ? keys + row : keys + n * row;
  const std::size_t page = page_size(spec_.layout);
  if (page != 0 && n % page != 0) throw std::invalid_argument("n must be a multiple of the page size");
  if (page == 0) {
    const auto stride = static_cast<std::ptrdiff_t>(spec_.layout == Layout::kAdjacent ? 2 * row : row);
    heads_.push_back({{keys, n, d, stride}, {values, n, d, stride}});
  } else {
    std::vector<std::int32_t>& table = tables_[kv_head];
    table.resize(n / page);
    std::iota(table.begin(), table.end(), 0);
    for (std::size_t i = table.size(); i > 1; --i) {
      std::swap(table[i - 1], table[draw_below(row_key(seed_of(kv_head), 2000, 0), i, i)]);
    }
    const auto stride = static_cast<std::ptrdiff_t>(page * row);
    paged_.push_back({n, page, table, table.size(), {keys, d, stride}, {values, d, stride}});
  }
  for (std::size_t i = 0; i < n; ++i) {
    const auto at = static_cast<skim::Position>(i);
    const T* key = page == 0 ? heads_.back().key(at) : paged_.back().key(at);
    const T* value = page == 0 ? heads_.back().value(at) : paged_.back().value(at);
    store_row(head.key(i), d, const_cast<T*>(key));
    store_row(head.value(i), d, const_cast<T*>(value));
  }
}

// The newest row is the query the workload speaks of; others are at an angle to it.
template <class T>
void Dataset<T>::ask_head(std::size_t kv_head, const SyntheticHead& head) {
  const Shape& s = shape();
  for (std::size_t h = 0; h < head.group; ++h) {
    const std::size_t q_head = kv_head * head.group + h;
    for (std::size_t r = 0; r < spec_.rows; ++r) {
      float* row = queries_.data() + (r * s.q_heads + q_head) * s.d;
      if (r + 1 == spec_.rows) {
        std::copy_n(head.query(h), s.d, row);
      } else {
        make_query_row(head, h, seed_of(kv_head), r, row);
      }
    }
  }
  const auto plain = [&](std::size_t row, std::size_t) { return Asked{0, s.n - spec_.rows + row + 1}; };
  answer_head(kv_head, head, plain, exact_.data());
}

inline std::unique_ptr<AnyDataset> current_dataset;
/// What has been made of it and goes with it (indexes.h).
inline std::unique_ptr<AnyDataset> current_indexes;

/// The dataset of a benchmark. Only one is kept: benchmarks that share one are registered side by side.
template <class T>
const Dataset<T>& dataset(const DataSpec& spec) {
  if (const auto* same = dynamic_cast<const Dataset<T>*>(current_dataset.get());
      same && same->spec() == spec) {
    return *same;
  }
  current_indexes.reset();
  current_dataset.reset();  // before the next one asks for memory
  auto fresh = std::make_unique<Dataset<T>>(spec);
  const Dataset<T>& result = *fresh;
  current_dataset = std::move(fresh);
  return result;
}

}  // namespace skim_bench
