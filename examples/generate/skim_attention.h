// SPDX-License-Identifier: Apache-2.0
// Attention by skim on a paged cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "llama.h"

namespace engine {

/// What keys and values are stored as.
enum class CacheType { kF32, kF16, kBF16, kInt8 };

struct AttentionOptions {
  std::string estimator = "dense";  ///< skim's text form: "sinks(4)+window(64)+topk(power(2,0.5))"
  CacheType cache = CacheType::kF32;
  std::size_t page_size = 16;  ///< tokens
  std::uint64_t seed = 0;      ///< of estimators that draw
  std::uint64_t sequence = 0;  ///< tells this sequence's draws from another's
};

/// How many of the positions held a KV head has read, keys and values counted apart. A method that
/// needs every logit to choose reads every key. A sum over calls, so that sequences add up.
struct Density {
  std::size_t calls = 0;  // one for each token, layer and KV head
  double key_sum = 0;     // of distinct keys read / positions held
  double value_sum = 0;

  double keys() const { return key_sum / static_cast<double>(calls); }
  double values() const { return value_sum / static_cast<double>(calls); }
  Density& operator+=(const Density& other);
};

class SparseAttention : public Attention {
 public:
  virtual Density density() const = 0;
};

/// The attention of a new, empty sequence. Throws std::invalid_argument that shows where the
/// estimator's text is wrong.
std::unique_ptr<SparseAttention> make_attention(const Shape& shape, const AttentionOptions& options);

}  // namespace engine
