// SPDX-License-Identifier: Apache-2.0
// The parts of a transformer between its matrix products, forward and backward. All take [n, ...] rows of a
// text; every *_backward adds to the gradients of gains and writes the others.
#pragma once

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "matrix.h"

namespace train {

/// RMSNorm: out = x / rms(x) * gain, row by row. scales: [n], 1 / rms(x).
template <class Real>
void normalize(const Matrix<Real>& x, ConstMatrixView<Real> gain, Real epsilon, Matrix<Real>& out,
               std::vector<Real>& scales) {
  out.resize(x.rows(), x.cols());
  scales.resize(static_cast<std::size_t>(x.rows()));
  for (Eigen::Index r = 0; r < x.rows(); ++r) {
    const Real scale = 1 / std::sqrt(x.row(r).squaredNorm() / static_cast<Real>(x.cols()) + epsilon);
    scales[static_cast<std::size_t>(r)] = scale;
    out.row(r) = scale * x.row(r).cwiseProduct(gain.row(0));
  }
}

/// Adds the gradient in x to dx: that of the residual stream, which goes past the norm as well.
template <class Real>
void normalize_backward(const Matrix<Real>& x, ConstMatrixView<Real> gain,
                        const std::vector<Real>& scales, const Matrix<Real>& dout,
                        MatrixView<Real> dgain, Matrix<Real>& dx) {
  for (Eigen::Index r = 0; r < x.rows(); ++r) {
    const Real scale = scales[static_cast<std::size_t>(r)];
    dgain.row(0) += scale * dout.row(r).cwiseProduct(x.row(r));
    const Real inner = dout.row(r).cwiseProduct(gain.row(0)).dot(x.row(r));
    const Real along = scale * scale * scale * inner / static_cast<Real>(x.cols());
    dx.row(r) += scale * dout.row(r).cwiseProduct(gain.row(0)) - along * x.row(r);
  }
}

/// Rotary positions: pair (2i, 2i + 1) of every head turns by position * theta^(-2i / head_size).
template <class Real>
class Rotation {
 public:
  Rotation(std::size_t context, std::size_t head_size, double theta) : pairs_(head_size / 2) {
    for (std::size_t position = 0; position < context; ++position) {
      for (std::size_t i = 0; i < pairs_; ++i) {
        const double frequency =
            std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_size));
        const double angle = static_cast<double>(position) * frequency;
        cosines_.push_back(static_cast<Real>(std::cos(angle)));
        sines_.push_back(static_cast<Real>(std::sin(angle)));
      }
    }
  }

  std::size_t context() const { return cosines_.size() / pairs_; }

  /// Turns the first `heads` heads of every row; direction -1 turns them back, which gradients ask for.
  void turn(Matrix<Real>& x, std::size_t heads, int direction) const {
    for (Eigen::Index r = 0; r < x.rows(); ++r) {
      const Real* cosines = cosines_.data() + static_cast<std::size_t>(r) * pairs_;
      const Real* sines = sines_.data() + static_cast<std::size_t>(r) * pairs_;
      Real* pair = x.row(r).data();
      for (std::size_t head = 0; head < heads; ++head) {
        for (std::size_t i = 0; i < pairs_; ++i, pair += 2) {
          const Real sine = static_cast<Real>(direction) * sines[i];
          const Real a = pair[0], b = pair[1];
          pair[0] = a * cosines[i] - b * sine;
          pair[1] = a * sine + b * cosines[i];
        }
      }
    }
  }

 private:
  std::size_t pairs_;
  std::vector<Real> cosines_, sines_;  // [context, pairs]
};

/// SwiGLU: out = silu(gate) * up. gate_up: [n, 2 * hidden], the gates first.
template <class Real>
void swiglu(const Matrix<Real>& gate_up, Matrix<Real>& out) {
  const Eigen::Index hidden = gate_up.cols() / 2;
  out.resize(gate_up.rows(), hidden);
  for (Eigen::Index r = 0; r < gate_up.rows(); ++r) {
    const auto gate = gate_up.row(r).head(hidden).array();
    out.row(r).array() = gate / (1 + (-gate).exp()) * gate_up.row(r).tail(hidden).array();
  }
}

template <class Real>
void swiglu_backward(const Matrix<Real>& gate_up, const Matrix<Real>& dout, Matrix<Real>& dgate_up) {
  const Eigen::Index hidden = gate_up.cols() / 2;
  dgate_up.resize(gate_up.rows(), 2 * hidden);
  Eigen::Array<Real, 1, Eigen::Dynamic> sigmoid(hidden);
  for (Eigen::Index r = 0; r < gate_up.rows(); ++r) {
    const auto gate = gate_up.row(r).head(hidden).array();
    const auto up = gate_up.row(r).tail(hidden).array();
    const auto d = dout.row(r).array();
    sigmoid = 1 / (1 + (-gate).exp());
    dgate_up.row(r).head(hidden).array() = d * up * sigmoid * (1 + gate * (1 - sigmoid));
    dgate_up.row(r).tail(hidden).array() = d * gate * sigmoid;
  }
}

/// -ln softmax(logits)[target] of every row in `losses`, [n]; the logits become the gradient of
/// sum weights * losses.
template <class Real>
void cross_entropy(Matrix<Real>& logits, std::span<const std::int32_t> targets,
                   std::span<const Real> weights, std::vector<Real>& losses) {
  losses.resize(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    auto row = logits.row(static_cast<Eigen::Index>(i)).array();
    const Real most = row.maxCoeff();
    const Real target = row[targets[i]];
    row = (row - most).exp();
    const Real sum = row.sum();
    losses[i] = most + std::log(sum) - target;
    row *= weights[i] / sum;
    row[targets[i]] -= weights[i];
  }
}

}  // namespace train
