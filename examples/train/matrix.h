// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <Eigen/Core>

namespace train {

/// One row for each token.
template <class Real>
using Matrix = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

template <class Real>
using MatrixView = Eigen::Map<Matrix<Real>>;

template <class Real>
using ConstMatrixView = Eigen::Map<const Matrix<Real>>;

}  // namespace train
