// SPDX-License-Identifier: Apache-2.0
// Makes the data a workload describes, one KV head at a time. Deterministic: equal arguments give equal
// values, whatever else was made before.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "bench/gaussian.h"
#include "bench/workload.h"

namespace skim_bench {

/// One KV head and the query heads that share it, synthetic. Logits are <q, k> / sqrt(d).
struct SyntheticHead {
  std::size_t n = 0, d = 0, group = 0;
  std::vector<float> queries;        // [group, d]
  std::vector<float> keys, values;   // [n, d]
  std::vector<std::size_t> needles;  // positions
  std::vector<std::size_t> heavy;    // positions, the heaviest first

  const float* query(std::size_t h) const { return queries.data() + h * d; }
  const float* key(std::size_t i) const { return keys.data() + i * d; }
  const float* value(std::size_t i) const { return values.data() + i * d; }
};

namespace synthetic_detail {

using Vector = std::vector<double>;

inline double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t c = 0; c < a.size(); ++c) sum += a[c] * b[c];
  return sum;
}

/// Takes the part along each of the orthonormal `basis` out of x.
inline void project_out(const std::vector<Vector>& basis, Vector& x) {
  for (int pass = 0; pass < 2; ++pass) {  // the second pass removes what rounding has left
    for (const Vector& b : basis) {
      const double along = dot(b, x);
      for (std::size_t c = 0; c < x.size(); ++c) x[c] -= along * b[c];
    }
  }
}

/// Adds x to an orthonormal basis; false when it lies in its span.
inline bool extend(std::vector<Vector>& basis, Vector x) {
  project_out(basis, x);
  const double length = std::sqrt(dot(x, x));
  if (length < 1e-9) return false;
  for (double& c : x) c /= length;
  basis.push_back(std::move(x));
  return true;
}

/// Builds one head. Everything the query depends on lies in `directions_`, which are orthogonal to the key mean:
/// so the key mean and the query's part along it shift all ordinary logits alike and change no spread.
class HeadMaker {
 public:
  HeadMaker(const Workload& w, std::size_t n, std::size_t d, std::size_t group, std::uint64_t seed,
            SyntheticHead& out)
      : w_(w), n_(n), d_(d), group_(group), seed_(seed), out_(out) {}

  void make() {
    out_.n = n_;
    out_.d = d_;
    out_.group = group_;
    out_.queries.assign(group_ * d_, 0.0f);
    out_.keys.resize(n_ * d_);
    out_.values.resize(n_ * d_);
    scores_.assign(group_ * n_, 0.0f);
    choose_key_mean();
    choose_directions();
    choose_special_positions();
    make_ordinary_keys();
    scale_queries();
    make_special_keys();
    make_values();
  }

 private:
  enum Stream : std::uint64_t {
    kMean,
    kOutlier,
    kDirection,
    kPlace,
    kCentre,
    kCluster,
    kKey,
    kSink,
    kValueMean,
    kValue
  };

  Vector gaussian(Stream stream, std::uint64_t row) const {
    std::vector<float> x(d_);
    gaussian_row(row_key(seed_, stream, row), d_, x.data());
    return {x.begin(), x.end()};
  }
  double root_d() const { return std::sqrt(static_cast<double>(d_)); }
  float* scores(std::size_t h) { return scores_.data() + h * n_; }

  void choose_key_mean() {
    mean_ = gaussian(kMean, 0);
    const double length = w_.mean * root_d() / std::sqrt(dot(mean_, mean_));
    for (double& c : mean_) c *= length;
    for (std::size_t j = 0; j < static_cast<std::size_t>(w_.outliers); ++j) {
      const std::uint64_t random = row_key(seed_, kOutlier, j);
      mean_[j * d_ / static_cast<std::size_t>(w_.outliers)] += random % 2 ? 12 : -12;
    }
    if (dot(mean_, mean_) > 0) extend(shift_, mean_);
  }

  // Unit directions p_h, [group]: the queries but for length and the part along the key mean.
  void choose_directions() {
    const Vector common = gaussian(kDirection, 0);
    for (std::size_t h = 0; h < group_; ++h) {
      Vector p = gaussian(kDirection, 1 + h);
      for (std::size_t c = 0; c < d_; ++c)
        p[c] = std::sqrt(w_.alike) * common[c] + std::sqrt(1 - w_.alike) * p[c];
      project_out(shift_, p);
      const double length = std::sqrt(dot(p, p));
      for (double& c : p) c /= length;
      directions_.push_back(std::move(p));
    }
    rows_.resize(group_ * d_);
    for (std::size_t h = 0; h < group_; ++h) {
      for (std::size_t c = 0; c < d_; ++c) rows_[h * d_ + c] = static_cast<float>(directions_[h][c]);
    }
  }

  void choose_special_positions() {
    const std::size_t count = static_cast<std::size_t>(w_.needles) + static_cast<std::size_t>(w_.heavy);
    if (2 * (count + 1) > n_)
      throw std::invalid_argument("workload: n is too small for so many needles and heavy hitters");
    special_.assign(n_, 0);
    special_[0] = w_.sink > 0;
    std::vector<std::size_t> places;
    for (std::uint64_t i = 0; places.size() < count; ++i) {
      const auto at = static_cast<std::size_t>(draw_below(row_key(seed_, kPlace, 0), i, n_));
      if (at == 0 || special_[at]) continue;
      special_[at] = 1;
      places.push_back(at);
    }
    const auto middle = places.begin() + static_cast<std::ptrdiff_t>(w_.needles);
    out_.needles.assign(places.begin(), middle);
    out_.heavy.assign(middle, places.end());
  }

  std::size_t cluster_of(std::size_t i) const {
    const auto count = static_cast<std::size_t>(w_.clusters);
    if (w_.runs > 0) return i / static_cast<std::size_t>(w_.runs) % count;
    return static_cast<std::size_t>(draw_below(row_key(seed_, kCluster, 0), i, count));
  }

  /// Row i without the key mean: the part that ordinary logits come from.
  void key_noise(std::size_t i, float* row) const {
    gaussian_row(row_key(seed_, kKey, i), d_, row);
    if (!centres_.empty()) {
      const float* centre = centres_.data() + cluster_of(i) * d_;
      const auto noise = static_cast<float>(w_.noise);
      for (std::size_t c = 0; c < d_; ++c) row[c] = centre[c] + noise * row[c];
    }
    if (!mean_row_.empty()) {
      const float along = plain_dot(unit_mean_.data(), row, d_);
      for (std::size_t c = 0; c < d_; ++c) row[c] -= along * unit_mean_[c];
    }
  }

  void add_mean(float* row) const {
    for (std::size_t c = 0; c < mean_row_.size(); ++c) row[c] += mean_row_[c];
  }

  void make_ordinary_keys() {
    centres_.resize(static_cast<std::size_t>(w_.clusters) * d_);
    for (std::size_t k = 0; k < static_cast<std::size_t>(w_.clusters); ++k) {
      gaussian_row(row_key(seed_, kCentre, k), d_, centres_.data() + k * d_);
    }
    if (!shift_.empty()) {
      mean_row_.assign(mean_.begin(), mean_.end());
      unit_mean_.assign(shift_[0].begin(), shift_[0].end());
    }
    for (std::size_t i = 0; i < n_; ++i) {
      float* row = out_.keys.data() + i * d_;
      key_noise(i, row);
      for (std::size_t h = 0; h < group_; ++h) scores(h)[i] = plain_dot(rows_.data() + h * d_, row, d_);
      add_mean(row);
    }
  }

  // Scores become logits less a constant: with them the spread of ordinary keys is exact. ln sum e^logit of
  // the ordinary keys follows.
  void scale_queries() {
    for (std::size_t h = 0; h < group_; ++h) {
      double sum = 0, squares = 0, count = 0;
      for (std::size_t i = 0; i < n_; ++i) {
        if (special_[i]) continue;
        const double x = scores(h)[i];
        sum += x;
        squares += x * x;
        ++count;
      }
      const double variance = squares / count - sum / count * (sum / count);
      const double to_logit = variance > 0 ? w_.spread / std::sqrt(variance) : 1;
      to_logit_.push_back(to_logit);
      double most = -HUGE_VAL, total = 0;
      for (std::size_t i = 0; i < n_; ++i) {
        scores(h)[i] *= static_cast<float>(to_logit);
        if (!special_[i]) most = std::max<double>(most, scores(h)[i]);
      }
      for (std::size_t i = 0; i < n_; ++i) {
        if (!special_[i]) total += std::exp(static_cast<double>(scores(h)[i]) - most);
      }
      lse_.push_back(most + std::log(total));
      for (std::size_t c = 0; c < d_; ++c) {
        out_.queries[h * d_ + c] = static_cast<float>(directions_[h][c] * to_logit * root_d());
      }
    }
  }

  double ordinary_mass() const {
    return 1 - w_.sink - (w_.needles > 0 ? w_.needlemass : 0) - (w_.heavy > 0 ? w_.heavymass : 0);
  }
  /// The logit with which a key holds `mass` in head h.
  double logit_of(double mass, std::size_t h) const {
    return lse_[h] + std::log(mass / ordinary_mass());
  }

  /// Makes key i as before but for the part seen by the queries: the logits are those that give it `mass`.
  void place(std::size_t i, double mass) {
    // Heads one after the other: each adds a direction orthogonal to those before, so it leaves their
    // scores as they are.
    std::vector<float> noise(d_);
    key_noise(i, noise.data());
    Vector key(noise.begin(), noise.end());
    std::vector<Vector> basis;
    for (std::size_t h = 0; h < group_; ++h) {
      if (!extend(basis, directions_[h])) continue;  // the same as a head before it
      const Vector& step = basis.back();
      const double wanted = logit_of(mass, h) / to_logit_[h];
      const double change = (wanted - dot(key, directions_[h])) / dot(step, directions_[h]);
      for (std::size_t c = 0; c < d_; ++c) key[c] += change * step[c];
    }
    float* row = out_.keys.data() + i * d_;
    for (std::size_t c = 0; c < d_; ++c) row[c] = static_cast<float>(key[c]);
    for (std::size_t h = 0; h < group_; ++h) {
      scores(h)[i] = static_cast<float>(dot(key, directions_[h]) * to_logit_[h]);
    }
    add_mean(row);
  }

  void make_special_keys() {
    for (const std::size_t i : out_.needles) place(i, w_.needlemass / w_.needles);
    double harmonic = 0;
    for (std::size_t j = 1; j <= out_.heavy.size(); ++j) harmonic += 1 / static_cast<double>(j);
    for (std::size_t j = 0; j < out_.heavy.size(); ++j) {
      place(out_.heavy[j], w_.heavymass / harmonic / static_cast<double>(j + 1));
    }
    if (w_.sink > 0) make_sink();
  }

  // The sink's key is as long as the varying part of an ordinary one. What draws queries to it is their part
  // against the key mean, which trained models have too.
  void make_sink() {
    constexpr double kCosine = 0.85;
    const Vector& m = shift_[0];
    std::vector<Vector> basis = shift_;
    for (const Vector& p : directions_) extend(basis, p);
    if (!extend(basis, gaussian(kSink, 0)))
      throw std::invalid_argument("workload: d is too small for a sink");
    const Vector& aside = basis.back();
    for (std::size_t c = 0; c < d_; ++c) {
      out_.keys[c] =
          static_cast<float>(root_d() * (std::sqrt(1 - kCosine * kCosine) * aside[c] - kCosine * m[c]));
    }
    const double distance =
        std::sqrt(dot(mean_, mean_)) + kCosine * root_d();  // of sink and mean along m
    for (std::size_t h = 0; h < group_; ++h) {
      const double against = logit_of(w_.sink, h) * root_d() / distance;
      for (std::size_t c = 0; c < d_; ++c)
        out_.queries[h * d_ + c] -= static_cast<float>(against * m[c]);
      scores(h)[0] = static_cast<float>(logit_of(w_.sink, h));
    }
  }

  void make_values() {
    std::vector<float> z(n_, 0.0f);  // the logit of the group's mean query, to be standardised
    for (std::size_t h = 0; h < group_; ++h) {
      for (std::size_t i = 0; i < n_; ++i) z[i] += scores(h)[i];
    }
    double sum = 0, squares = 0, count = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      if (special_[i]) continue;
      sum += z[i];
      squares += static_cast<double>(z[i]) * z[i];
      ++count;
    }
    const double centre = sum / count;
    const double variance = squares / count - centre * centre;
    const double inverse_sd = variance > 0 ? 1 / std::sqrt(variance) : 0;

    std::vector<float> mean(d_), direction(d_);
    gaussian_row(row_key(seed_, kValueMean, 0), d_, mean.data());
    for (std::size_t c = 0; c < d_; ++c) {
      direction[c] = static_cast<float>(row_key(seed_, kValueMean, 1 + c) % 2 ? w_.corr : -w_.corr);
    }
    for (std::size_t i = 0; i < n_; ++i) {
      float* row = out_.values.data() + i * d_;
      gaussian_row(row_key(seed_, kValue, i), d_, row);
      const auto x = static_cast<float>((static_cast<double>(z[i]) - centre) * inverse_sd);
      for (std::size_t c = 0; c < d_; ++c) row[c] += mean[c] + x * direction[c];
    }
    for (const std::size_t i : out_.needles) {
      float* row = out_.values.data() + i * d_;
      gaussian_row(row_key(seed_, kValue, n_ + i), d_, row);
      for (std::size_t c = 0; c < d_; ++c) row[c] *= 4;
    }
    if (w_.sink > 0) {
      gaussian_row(row_key(seed_, kValue, 0), d_, out_.values.data());
      for (std::size_t c = 0; c < d_; ++c) out_.values[c] *= 0.05f;
    }
  }

  const Workload& w_;
  std::size_t n_, d_, group_;
  std::uint64_t seed_;
  SyntheticHead& out_;

  Vector mean_;                     // [d], the key mean
  std::vector<Vector> shift_;       // its direction, if it is not 0
  std::vector<Vector> directions_;  // [group]
  std::vector<float> rows_;         // the same in float, [group, d]
  std::vector<char> special_;       // [n], not an ordinary key
  std::vector<float> centres_;      // [clusters, d]
  std::vector<float> mean_row_, unit_mean_;
  std::vector<float> scores_;           // [group, n]
  std::vector<double> to_logit_, lse_;  // [group]
};

}  // namespace synthetic_detail

/// Fills `head` with n positions of d channels and `group` query heads. Memory of `head` is used again.
/// A head of n = 131072, d = 128 takes 0.05 to 0.2 s. Throws std::invalid_argument on knobs that do not fit.
inline void make_head(const Workload& w, std::size_t n, std::size_t d, std::size_t group,
                      std::uint64_t seed, SyntheticHead& head) {
  validate(w);
  if (n < 2 || d == 0 || group == 0)
    throw std::invalid_argument("workload: n must be at least 2, d and group 1");
  synthetic_detail::HeadMaker(w, n, d, group, seed, head).make();
}

/// Query row `r` of head h: a query of the same length with cosine 0.5 to the head's own, in expectation. For
/// prefill, where every position asks.
inline void make_query_row(const SyntheticHead& head, std::size_t h, std::uint64_t seed, std::size_t r,
                           float* row) {
  constexpr std::uint64_t kQueryStream = 1000;
  gaussian_row(row_key(seed, kQueryStream + h, r), head.d, row);
  const float* own = head.query(h);
  const float length = std::sqrt(plain_dot(own, own, head.d) / plain_dot(row, row, head.d));
  for (std::size_t c = 0; c < head.d; ++c) row[c] = 0.5f * own[c] + 0.866025404f * length * row[c];
}

}  // namespace skim_bench
