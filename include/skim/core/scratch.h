// SPDX-License-Identifier: Apache-2.0
// Memory for the time of one call: set aside by somebody beforehand, or asked for now.
#ifndef SKIM_CORE_SCRATCH_H_
#define SKIM_CORE_SCRATCH_H_

#include <cstddef>

#include "skim/core/buffer.h"

namespace skim::inline SKIM_ABI {

/// `bytes` of memory, aligned to 64: what `kept` has room for if that is enough, else of its own, which goes when it goes.
/// `kept` stays empty, so that a copy of who holds it does not copy it.
class Scratch {
 public:
  Scratch(Buffer<std::byte>& kept, std::size_t bytes) {
    if (bytes > kept.capacity()) own_.reserve_exactly(bytes);
    data_ = bytes > kept.capacity() ? own_.data() : kept.data();
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  std::byte* data() const { return data_; }

 private:
  Buffer<std::byte> own_;
  std::byte* data_ = nullptr;
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_SCRATCH_H_
