// SPDX-License-Identifier: Apache-2.0
// What one gets without skim: OpenBLAS, if the build has found it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/dataset.h"
#include "bench/pool.h"

namespace skim_bench {

#if defined(SKIM_BENCH_OPENBLAS)
inline constexpr bool kHaveBlas = true;
#else
inline constexpr bool kHaveBlas = false;
#endif

/// A yardstick should be the best there is. If this processor has AVX-512 and OpenBLAS has not picked kernels
/// that use it (a processor newer than the library, or OPENBLAS_CORETYPE in the environment), starts the
/// program again with OPENBLAS_CORETYPE=SkylakeX. SKIM_BENCH_BLAS_AS_IS in the environment keeps what there is.
void insist_on_best_kernels(char** argv);

/// What the head of the report says: whether there is one, and for which processor it has chosen its kernels.
std::string blas_text();

/// Decode as one writes it with a BLAS: sgemv, softmax, sgemv for each query head, one BLAS thread, each thread
/// of the pool taking every T-th head.
class NaiveDecode {
 public:
  NaiveDecode(const Dataset<float>& data, Pool& pool);
  void operator()();

  const float* out() const { return out_.data(); }

 private:
  const Dataset<float>& data_;
  Pool& pool_;
  std::vector<std::vector<float>> logits_;  // [threads][n]
  std::vector<float> out_;
};

/// OpenBLAS's product of two square float matrices on its own threads.
class SquareProduct {
 public:
  static constexpr std::size_t kSize = 2048;

  explicit SquareProduct(std::size_t threads);
  ~SquareProduct();
  SquareProduct(const SquareProduct&) = delete;
  SquareProduct& operator=(const SquareProduct&) = delete;
  void operator()();

  static constexpr double operations() { return 2.0 * kSize * kSize * kSize; }

 private:
  std::vector<float> a_, b_, c_;
};

}  // namespace skim_bench
