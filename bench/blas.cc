// SPDX-License-Identifier: Apache-2.0
#include "bench/blas.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(SKIM_BENCH_OPENBLAS)

#include <cblas.h>
#include <stdlib.h>
#include <unistd.h>

namespace skim_bench {

void insist_on_best_kernels(char** argv) {
#if defined(__x86_64__)
  const std::string core = openblas_get_corename();
  const bool uses_avx512 = core == "SkylakeX" || core == "Cooperlake" || core == "SapphireRapids";
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!has_avx512 || uses_avx512 || std::getenv("SKIM_BENCH_BLAS_AS_IS") != nullptr) return;
  setenv("SKIM_BENCH_BLAS_AS_IS", "1", 1);  // once
  setenv("OPENBLAS_CORETYPE", "SkylakeX", 1);
  execv("/proc/self/exe", argv);  // returns only if it fails; the report names the kernels in use
#else
  (void)argv;
#endif
}

std::string blas_text() { return std::string("kernels for ") + openblas_get_corename(); }

NaiveDecode::NaiveDecode(const Dataset<float>& data, Pool& pool)
    : data_(data), pool_(pool), logits_(pool.threads()), out_(data.shape().q_heads * data.shape().d) {
  for (auto& logits : logits_) logits.resize(data.shape().n);
  openblas_set_num_threads(1);
}

void NaiveDecode::operator()() {
  const Shape& s = data_.shape();
  const auto n = static_cast<blasint>(s.n), d = static_cast<blasint>(s.d);
  const float scale = 1 / std::sqrt(static_cast<float>(s.d));
  pool_.each(pool_.threads(), [&](std::size_t first, std::size_t) {
    float* p = logits_[first].data();
    for (std::size_t h = first; h < s.q_heads; h += pool_.threads()) {
      const skim::ContiguousKv<float>& kv = data_.heads()[h / s.group()];
      cblas_sgemv(CblasRowMajor, CblasNoTrans, n, d, scale, kv.keys.data, d, data_.query(0, h), 1, 0, p,
                  1);
      const float most = *std::max_element(p, p + s.n);
      float sum = 0;
      for (std::size_t i = 0; i < s.n; ++i) sum += p[i] = std::exp(p[i] - most);
      cblas_sgemv(CblasRowMajor, CblasTrans, n, d, 1 / sum, kv.values.data, d, p, 1, 0,
                  out_.data() + h * s.d, 1);
    }
  });
}

SquareProduct::SquareProduct(std::size_t threads)
    : a_(kSize * kSize, 0.5f), b_(kSize * kSize, 0.25f), c_(kSize * kSize) {
  openblas_set_num_threads(static_cast<int>(threads));
}

SquareProduct::~SquareProduct() { openblas_set_num_threads(1); }

void SquareProduct::operator()() {
  constexpr auto size = static_cast<blasint>(kSize);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size, size, size, 1, a_.data(), size,
              b_.data(), size, 0, c_.data(), size);
}

}  // namespace skim_bench

#else

namespace skim_bench {

void insist_on_best_kernels(char**) {}
std::string blas_text() { return "not found: no vs_naive, no sgemm_fraction"; }

NaiveDecode::NaiveDecode(const Dataset<float>& data, Pool& pool) : data_(data), pool_(pool) {
  throw std::logic_error("built without OpenBLAS");
}
void NaiveDecode::operator()() { (void)data_, (void)pool_; }
SquareProduct::SquareProduct(std::size_t) { throw std::logic_error("built without OpenBLAS"); }
SquareProduct::~SquareProduct() = default;
void SquareProduct::operator()() {}

}  // namespace skim_bench

#endif
