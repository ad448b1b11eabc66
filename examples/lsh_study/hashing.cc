// SPDX-License-Identifier: Apache-2.0
#include "hashing.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <Eigen/Core>

namespace lsh {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

}  // namespace

Codes hash(std::span<const float> rows, std::span<const float> centre, const skim::LshPlanes& planes) {
  const auto d = static_cast<Eigen::Index>(planes.key_dim());
  const auto n = static_cast<Eigen::Index>(rows.size()) / d;
  const std::size_t tables = planes.tables(), bits = planes.bits();
  const Eigen::Map<const Matrix> normals(planes.normals(), static_cast<Eigen::Index>(tables * bits), d);
  Codes codes{tables, std::vector<std::uint16_t>(static_cast<std::size_t>(n) * tables)};
  constexpr Eigen::Index kAtOnce = 256;
  Matrix part(kAtOnce, d), sides(kAtOnce, normals.rows());
  for (Eigen::Index first = 0; first < n; first += kAtOnce) {
    const Eigen::Index count = std::min(kAtOnce, n - first);
    for (Eigen::Index i = 0; i < count * d; ++i) {
      part.data()[i] = rows[static_cast<std::size_t>(first * d + i)] - (centre.empty() ? 0.0f : centre[static_cast<std::size_t>(i % d)]);
    }
    sides.noalias() = part * normals.transpose();
    for (Eigen::Index i = 0; i < count; ++i) {
      const float* side = sides.data() + i * sides.cols();
      std::uint16_t* out = codes.all.data() + static_cast<std::size_t>(first + i) * tables;
      for (std::size_t l = 0; l < tables; ++l) {
        unsigned code = 0;
        for (std::size_t b = 0; b < bits; ++b) code |= (*side++ > 0 ? 1u : 0u) << b;
        out[l] = static_cast<std::uint16_t>(code);
      }
    }
  }
  return codes;
}

std::vector<std::uint16_t> meetings(const Codes& keys, const std::uint16_t* query, std::size_t first, std::size_t last) {
  std::vector<std::uint16_t> count(keys.all.size() / keys.tables);
  for (std::size_t i = 0; i < count.size(); ++i) {
    const std::uint16_t* key = keys.row(i);
    unsigned met = 0;
    for (std::size_t l = first; l < last; ++l) met += key[l] == query[l] ? 1u : 0u;
    count[i] = static_cast<std::uint16_t>(met);
  }
  return count;
}

double inclusion(double cosine, std::size_t bits, std::size_t tables) {
  const double p = 1 - std::acos(std::clamp(cosine, -1.0, 1.0)) / std::numbers::pi;
  const double one = std::pow(p, static_cast<double>(bits));  // in one table
  const double others = static_cast<double>(tables) - 1;
  if (one >= 1) return 1;
  // 1 - (1 - one)^(L - 1) (1 + (L - 1) one), without the difference of numbers near 1
  return -std::expm1(others * std::log1p(-one) + std::log1p(others * one));
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t c = 0; c < a.size(); ++c) sum += static_cast<double>(a[c]) * static_cast<double>(b[c]);
  return sum;
}

std::vector<double> cosines(std::span<const float> rows, std::span<const float> centre, std::span<const float> query) {
  const std::size_t d = query.size(), n = rows.size() / d;
  const double length = std::sqrt(dot(query, query));
  std::vector<double> all(n);
  std::vector<float> key(d);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < d; ++c) key[c] = rows[i * d + c] - (centre.empty() ? 0.0f : centre[c]);
    const double lengths = length * std::sqrt(dot(key, key));
    all[i] = lengths > 0 ? dot(key, query) / lengths : 0;
  }
  return all;
}

std::vector<float> mean_row(std::span<const float> rows, std::size_t d, std::size_t first) {
  const std::size_t n = rows.size() / d;
  std::vector<double> sum(d);
  for (std::size_t i = first; i < n; ++i) {
    for (std::size_t c = 0; c < d; ++c) sum[c] += static_cast<double>(rows[i * d + c]);
  }
  std::vector<float> mean(d);
  for (std::size_t c = 0; c < d; ++c) mean[c] = static_cast<float>(sum[c] / static_cast<double>(n - first));
  return mean;
}

}  // namespace lsh
