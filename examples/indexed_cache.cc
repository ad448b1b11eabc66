// SPDX-License-Identifier: Apache-2.0
// A KV head that grows a token at a time with its indexes beside it: what each index takes, what estimators that go by it
// read, and how far they are from dense attention. At the end the cache is cut back, as after a rejected draft.
#include <skim/skim.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

constexpr std::size_t kGroup = 4, kDim = 64, kMost = 8192;

/// Keys and values of one KV head in bfloat16, and sketches of the keys.
struct Head {
  std::vector<skim::BF16> keys, values;
  skim::Sketch1 bits;
  skim::Sketch8 bytes;

  skim::ContiguousKv<skim::BF16> kv() const {
    const std::size_t n = keys.size() / kDim;
    return {{keys.data(), n, kDim}, {values.data(), n, kDim}};
  }
  void append(const std::vector<float>& key, const std::vector<float>& value) {
    for (const float x : key) keys.push_back(skim::from_float<skim::BF16>(x));
    for (const float x : value) values.push_back(skim::from_float<skim::BF16>(x));
    skim::append(bits, kv());  // what is new since the last time
    skim::append(bytes, kv());
  }
  void cut(std::size_t n) {
    keys.resize(n * kDim);
    values.resize(n * kDim);
    skim::truncate(bits, kv(), static_cast<skim::Position>(n));
    skim::truncate(bytes, kv(), static_cast<skim::Position>(n));
  }
};

int main() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Head head;
  std::vector<float> key(kDim), value(kDim), q(kGroup * kDim);
  while (head.keys.size() < kMost * kDim) {  // in place of a model: a value goes with what its key says
    for (std::size_t c = 0; c < kDim; ++c) {
      key[c] = normal(random) + (c == 3 ? 8.0f : 0.0f);  // one channel is far from zero, as in trained models
      value[c] = key[c] + normal(random);
    }
    head.append(key, value);
  }
  for (float& x : q) x = 1.5f * normal(random);

  skim::Query query;
  query.rows = {q.data(), kGroup, kDim};
  skim::Workspace workspace;
  skim::State exact(kGroup, kDim), out(kGroup, kDim);
  const auto report = [&](const char* text) {
    const auto kv = skim::with_index(head.kv(), head.bits, head.bytes);
    skim::attend(skim::Dense{}, query, kv, exact.view(), workspace);
    workspace.reads = {};
    skim::attend(skim::parse(text), query, kv, out.view(), workspace);
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < kGroup * kDim; ++i) {
      difference += std::pow(out.out()[i] - exact.out()[i], 2);
      size += std::pow(exact.out()[i], 2);
    }
    const skim::Reads& reads = workspace.reads;
    const double read = static_cast<double>((reads.keys + reads.values) * kDim * sizeof(skim::BF16) + reads.index_bytes);
    std::printf("%-56s reads %5.1f %% of the cache, error %.3f\n", text,
                100 * read / static_cast<double>(4 * head.keys.size()), std::sqrt(difference / size));
  };
  const auto all = [&] {
    for (const char* text : {"topk(256)", "topk(256,by=sketch8,exact)", "topk(256,by=sketch1)",
                             "topk(256,by=sketch1,candidates=1024)", "priority(256)", "priority(256,by=sketch1)"}) {
      report(text);
    }
  };

  const auto per_key = [&](std::size_t bytes) { return static_cast<double>(bytes) / static_cast<double>(head.bits.size()); };
  std::printf("%zu positions of %zu bytes; beside them sketches of %.1f bytes (1 bit) and %.1f (8 bits)\n",
              static_cast<std::size_t>(head.bits.size()), 4 * kDim, per_key(head.bits.bytes()), per_key(head.bytes.bytes()));
  all();
  head.cut(3000);
  std::printf("cut to %zu\n", static_cast<std::size_t>(head.bits.size()));
  all();
}
