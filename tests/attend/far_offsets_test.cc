// SPDX-License-Identifier: Apache-2.0
// Are offsets beyond 2^31 values right?
#include <sys/mman.h>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// Addresses without memory: what is touched gets a page.
class FarMemory {
 public:
  explicit FarMemory(std::size_t bytes)
      : bytes_(bytes),
        data_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~FarMemory() {
    if (data_ != MAP_FAILED) munmap(data_, bytes_);
  }
  FarMemory(const FarMemory&) = delete;

  bool exists() const { return data_ != MAP_FAILED; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  std::size_t bytes_;
  void* data_;
};

constexpr std::ptrdiff_t kStride = (std::ptrdiff_t{1} << 31) - 77;  // in values: row 2 is beyond 2^32
constexpr std::size_t kBytes = std::size_t{16} << 30;

struct FarOffsets : testing::Test {
  FarMemory memory{kBytes};
  Problem<F16> p = random_problem<F16>({3, 24, 20, 2}, 1);
  State expected = attend(Dense{}, p.query(), p.kv());

  void SetUp() override {
    if (!memory.exists()) GTEST_SKIP() << "no 16 GiB of addresses";
  }
  /// Three rows of keys and values, `stride` apart.
  void put(F16* keys, F16* values, std::ptrdiff_t stride) {
    for (std::ptrdiff_t i = 0; i < 3; ++i) {
      std::copy_n(p.keys.data() + i * 24, 24, keys + i * stride);
      std::copy_n(p.values.data() + i * 20, 20, values + i * stride);
    }
  }
  void expect_same(const auto& kv) {
    const State state = attend(Dense{}, p.query(), kv);
    EXPECT_TRUE(same_bits(state.out(), expected.out(), 40));
    const State picked = attend(TopK{2}, p.query(), kv), flat = attend(TopK{2}, p.query(), p.kv());
    EXPECT_TRUE(same_bits(picked.out(), flat.out(), 40));
  }
};

TEST_F(FarOffsets, OfRows) {
  F16* keys = memory.as<F16>();
  put(keys, keys + 24, kStride);
  expect_same(ContiguousKv<F16>{{keys, 3, 24, kStride}, {keys + 24, 3, 20, kStride}});
}

TEST_F(FarOffsets, Backwards) {
  F16* keys = memory.as<F16>() + 2 * kStride;
  put(keys, keys + 24, -kStride);
  expect_same(ContiguousKv<F16>{{keys, 3, 24, -kStride}, {keys + 24, 3, 20, -kStride}});
}

TEST_F(FarOffsets, OfPages) {
  F16* keys = memory.as<F16>();
  put(keys, keys + 24, kStride);
  const std::int32_t table[] = {0, 1, 2};
  PagedKv<F16> kv{3, 1, table, 3, {keys, 24, kStride}, {keys + 24, 20, kStride}};
  expect_same(kv);
}

TEST_F(FarOffsets, OfRowsInAPage) {
  F16* keys = memory.as<F16>();
  put(keys, keys + 24, kStride);
  const std::int32_t table[] = {0};
  PagedKv<F16> kv{3, 3, table, 1, {keys, 24, 3 * kStride, kStride}, {keys + 24, 20, 3 * kStride, kStride}};
  expect_same(kv);
}

TEST_F(FarOffsets, OfPagesWithLargeIds) {
  constexpr std::int32_t kPages = std::int32_t{1} << 27;
  constexpr std::ptrdiff_t kPage = 64;  // values
  F16* keys = memory.as<F16>();
  const std::int32_t table[] = {kPages - 1, 0, kPages - 2};
  for (std::size_t i = 0; i < 3; ++i) {
    F16* row = keys + kPage * table[i];
    std::copy_n(p.keys.data() + i * 24, 24, row);
    std::copy_n(p.values.data() + i * 20, 20, row + 24);
  }
  PagedKv<F16> kv{3, 1, table, kPages, {keys, 24, kPage}, {keys + 24, 20, kPage}};
  expect_same(kv);
}

TEST_F(FarOffsets, OfQAndOut) {
  float* far = memory.as<float>();
  for (std::ptrdiff_t h = 0; h < 2; ++h) std::copy_n(p.q.data() + h * 24, 24, far + h * (kStride - 8));
  Query q = p.query();
  q.rows = {far, 2, 24, kStride - 8};
  float* out = far + 100;
  float lse[2];
  Workspace ws;
  attend(Dense{}, q, p.kv(), {{out, 2, 20, kStride - 8}, lse}, ws);
  for (std::ptrdiff_t h = 0; h < 2; ++h) {
    EXPECT_TRUE(same_bits(out + h * (kStride - 8), expected.out(static_cast<std::size_t>(h)), 20));
  }
}

}  // namespace
}  // namespace skim::test
