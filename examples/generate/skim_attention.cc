// SPDX-License-Identifier: Apache-2.0
#include "skim_attention.h"

#include <skim/core/storage.h>

#include "error.h"

namespace engine {

// In the files skim_attention_*.cc.
template <class T>
std::unique_ptr<SparseAttention> make_attention_on(const Shape& shape, const AttentionOptions& options);

Density& Density::operator+=(const Density& other) {
  calls += other.calls;
  key_sum += other.key_sum;
  value_sum += other.value_sum;
  index_sum += other.index_sum;
  return *this;
}

Density& Density::operator-=(const Density& other) {
  calls -= other.calls;
  key_sum -= other.key_sum;
  value_sum -= other.value_sum;
  index_sum -= other.index_sum;
  return *this;
}

std::unique_ptr<SparseAttention> make_attention(const Shape& shape, const AttentionOptions& options) {
  switch (options.cache) {
    case CacheType::kF32: return make_attention_on<float>(shape, options);
    case CacheType::kF16: return make_attention_on<skim::F16>(shape, options);
    case CacheType::kBF16: return make_attention_on<skim::BF16>(shape, options);
    case CacheType::kInt8: return make_attention_on<skim::I8>(shape, options);
  }
  fail("unknown cache type");
}

}  // namespace engine
