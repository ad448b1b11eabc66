// SPDX-License-Identifier: Apache-2.0
// What a backward pass reads of the forward pass, and where its gradients go.
#ifndef SKIM_TRAIN_GRADIENTS_H_
#define SKIM_TRAIN_GRADIENTS_H_

#include <cstddef>

#include "skim/attend/layer.h"
#include "skim/core/rows.h"
#include "skim/core/view.h"

namespace skim::inline SKIM_ABI {

/// Gradients of one KV head: dk [n, d] and dv [n, d_v], every row overwritten.
template <class Real>
struct BasicKvGradient {
  Rows<Real> dk{};
  Rows<Real> dv{};
};

using KvGradient = BasicKvGradient<float>;

/// Of a layer call `attend(estimator, query, kv, state)` and a loss that follows it.
template <class Real>
struct BasicLayerGradients {
  BasicLayerState<Real> state{};                    ///< what the call wrote, lse too; only read
  HeadRows<const Real> dout{};                      ///< [rows, q_heads, d_v], gradient of the loss in `out`
  HeadRows<Real> dq{};                              ///< [rows, q_heads, d], overwritten
  View<const BasicKvGradient<Real>> kv{};           ///< one for each view in LayerKv::heads, in the same order
  Real* dsink = nullptr;                            ///< [q_heads], overwritten; null when not wanted
};

using LayerGradients = BasicLayerGradients<float>;

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_TRAIN_GRADIENTS_H_
