// SPDX-License-Identifier: Apache-2.0
// One call on Eigen matrices. The only file that knows Eigen.
#ifndef SKIM_EIGEN_H_
#define SKIM_EIGEN_H_

#include <Eigen/Core>
#include <span>

#include "skim/skim.h"

namespace skim::inline SKIM_ABI {

using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace skim::inline SKIM_ABI

namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// A float matrix with contiguous rows, without a copy.
template <class Derived>
Rows<const float> rows_of(const Eigen::MatrixBase<Derived>& m) {
  static_assert(Derived::IsRowMajor,
                "skim: this Eigen matrix is column-major, so its rows (tokens) are strided; declare it as "
                "skim::RowMatrix, or Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>");
  static_assert(std::is_same_v<typename Derived::Scalar, float>, "skim: Eigen matrices must be of float");
  const auto& x = m.derived();
  if (x.innerStride() != 1 && x.cols() > 1) {  // a row of a column-major matrix passes for row-major
    fail("skim::attend: inner stride of an Eigen matrix is ", x.innerStride(), " but must be 1");
  }
  return {x.data(), static_cast<std::size_t>(x.rows()), static_cast<std::size_t>(x.cols()), x.outerStride()};
}

/// Attention of one head. q: [m, d], k: [n, d], v: [n, d_v], row-major. Row r of q is at position n - m + r and
/// sees the positions up to its own, unless `how.causal` is false. Returns [m, d_v].
/// `how` may set scale, logit rule, stream and causality; its rows, position and visible range are not used.
/// Throws std::invalid_argument on mismatched shapes and parameters out of range.
template <Estimator E, class Q, class K, class V>
RowMatrix attend(const E& estimator, const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k,
                 const Eigen::MatrixBase<V>& v, const Query& how = {}) {
  const Rows<const float> rows = rows_of(q);
  const ContiguousKv<float> kv{rows_of(k), rows_of(v)};
  RowMatrix out(q.rows(), v.cols());
  LayerQuery query;
  query.rows = {rows.data, rows.rows, 1, rows.cols, rows.stride};
  query.causal = how.causal;
  query.logit = how.logit;
  query.sink_logits = how.sink_logits;
  query.stream = how.stream;
  const LayerState state{{out.data(), rows.rows, 1, static_cast<std::size_t>(out.cols())}};
  HWY_NAMESPACE::attend(estimator, query, LayerKv<ContiguousKv<float>>{std::span(&kv, 1), 1}, state);
  return out;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE

namespace skim::inline SKIM_ABI {
using HWY_NAMESPACE::attend;
}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_EIGEN_H_
