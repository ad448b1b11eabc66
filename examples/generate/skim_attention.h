// SPDX-License-Identifier: Apache-2.0
// Attention by skim on a paged cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "llama.h"

namespace engine {

/// What keys and values are stored as.
enum class CacheType { kF32, kF16, kBF16, kInt8 };

struct AttentionOptions {
  std::string estimator = "dense";  ///< skim's text form: "sinks(4)+window(64)+topk(power(2,0.5))"
  CacheType cache = CacheType::kF32;
  std::size_t page_size = 16;  ///< tokens
  std::size_t segment = 256;   ///< tokens that a sketch takes in at a time; a page of means is a quarter of it
  std::uint64_t seed = 0;      ///< of estimators that draw
  std::uint64_t sequence = 0;  ///< tells this sequence's draws from another's
};

/// How much of what a KV head held has been read (skim::Reads). A method that needs every logit to choose reads every
/// key. A sum over calls, so that sequences add up.
struct Density {
  std::size_t calls = 0;  // one for each token, layer and KV head
  double key_sum = 0;     // of keys read / positions held; a key read to choose and again to attend counts twice
  double value_sum = 0;
  double index_sum = 0;   // of bytes of indexes read / bytes of the keys and values held

  double keys() const { return key_sum / static_cast<double>(calls); }
  double values() const { return value_sum / static_cast<double>(calls); }
  double index() const { return index_sum / static_cast<double>(calls); }
  /// Bytes read / bytes of the keys and values held; a key is as long as a value.
  double bytes() const { return (keys() + values()) / 2 + index(); }
  Density& operator+=(const Density& other);
  Density& operator-=(const Density& other);
};

/// Something kept of each token by each KV head.
struct Memory {
  std::string what;
  double bytes = 0;  // a token and KV head; of an index: a token that it has taken in
};

class SparseAttention : public Attention {
 public:
  /// Forgets all tokens but the first n.
  virtual void truncate(std::size_t n) = 0;
  virtual Density density() const = 0;
  /// Keys, values, and every index that grows beside them. Sketches, boxes and means take in whole segments or pages.
  virtual std::vector<Memory> memory() const = 0;
};

/// The attention of a new, empty sequence. Beside keys and values it keeps the indexes that the estimator goes by and,
/// when these are several, all others too. Throws std::invalid_argument that shows where the estimator's text is wrong.
std::unique_ptr<SparseAttention> make_attention(const Shape& shape, const AttentionOptions& options);

}  // namespace engine
