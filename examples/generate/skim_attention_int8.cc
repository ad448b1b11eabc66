// SPDX-License-Identifier: Apache-2.0
#include "skim_attention_on.h"

namespace engine {

template std::unique_ptr<SparseAttention> make_attention_on<skim::I8>(const Shape&, const AttentionOptions&);

}  // namespace engine
