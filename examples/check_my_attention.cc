// SPDX-License-Identifier: Apache-2.0
// You have written an attention kernel of your own. Is it right? A unit test of it against skim, which
// computes the same in double precision: the same positions, another program.
#include <skim/skim.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

/// The kernel under test: one query over sinks and a sliding window, in float.
/// q: [d], k: [n, d], v: [n, d_v], out: [d_v].
void my_attention(const float* q, const float* k, const float* v, int n, int d, int d_v, int sinks,
                  int window, float* out) {
  const float scale = 1 / std::sqrt(static_cast<float>(d));
  float max = -INFINITY, sum = 0;
  std::fill(out, out + d_v, 0.0f);
  for (int i = 0; i < n; ++i) {
    if (i >= sinks && i < n - window) continue;
    float s = 0;
    for (int c = 0; c < d; ++c) s += q[c] * k[i * d + c];
    s *= scale;
    const float larger = std::max(s, max), shrink = std::exp(max - larger),
                weight = std::exp(s - larger);
    for (int c = 0; c < d_v; ++c) out[c] = out[c] * shrink + weight * v[i * d_v + c];
    sum = sum * shrink + weight;
    max = larger;
  }
  for (int c = 0; c < d_v; ++c) out[c] /= sum;
}

/// The largest error of my_attention in units of what rounding explains; below 1 is right.
double error_over_bound(int n, int d, int d_v, int sinks, int window, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto numbers = [&](int count) {
    std::vector<float> x(static_cast<std::size_t>(count));
    for (float& value : x) value = normal(random);
    return x;
  };
  const std::vector<float> q = numbers(d), k = numbers(n * d), v = numbers(n * d_v);
  std::vector<float> out(static_cast<std::size_t>(d_v));
  my_attention(q.data(), k.data(), v.data(), n, d, d_v, sinks, window, out.data());

  // The same numbers in double, and their sizes: |v| instead of v gives what an error is relative to.
  const auto wide = [](const std::vector<float>& x) { return std::vector<double>(x.begin(), x.end()); };
  const std::vector<double> q_wide = wide(q), k_wide = wide(k), v_wide = wide(v);
  std::vector<double> v_size = v_wide;
  for (double& x : v_size) x = std::abs(x);

  skim::BasicQuery<double> query;
  query.rows = {q_wide.data(), 1, q_wide.size()};
  const auto estimator = skim::stack(skim::Sinks{sinks}, skim::Window{window});
  const auto exact_over = [&](const std::vector<double>& values) {
    const auto rows = static_cast<std::size_t>(n);
    return skim::attend(
        estimator, query,
        skim::ContiguousKv<double>{{k_wide.data(), rows, q_wide.size()},
                                   {values.data(), rows, static_cast<std::size_t>(d_v)}});
  };
  const skim::BasicState<double> exact = exact_over(v_wide), size = exact_over(v_size);

  // Float has 24 bits; a sum of m terms loses a few times sqrt(m) units of the last one.
  const double bound = 8 * std::sqrt(d + n) * 0x1p-24;
  double worst = 0;
  for (int c = 0; c < d_v; ++c) {
    worst = std::max(
        worst, std::abs(out[static_cast<std::size_t>(c)] - exact.out()[c]) / (bound * size.out()[c]));
  }
  return worst;
}

int main() {
  bool right = true;
  // Odd sizes find more bugs than round ones.
  for (const int n : {1, 2, 7, 64, 65, 1000}) {
    for (const int d : {1, 3, 64, 80}) {
      for (const int window : {1, 16, 1000}) {
        const double error =
            error_over_bound(n, d, 5, 4, window, static_cast<unsigned>(n * d + window));
        if (error <= 1) continue;
        std::printf("wrong for n %d, d %d, window %d: error %.1f times the bound\n", n, d, window,
                    error);
        right = false;
      }
    }
  }
  std::printf("my_attention is %s\n", right ? "right: 72 cases within the bound" : "wrong");
  return right ? 0 : 1;
}
