// SPDX-License-Identifier: Apache-2.0
#include "entropy.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "chance.h"
#include "generate/parallel.h"

namespace train {

double entropy(std::span<const double> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0,
         weighted = 0;  // of e^x, and of x e^x, where x is how much a logit lies below the largest
  for (const double logit : logits) {
    const double mass = std::exp(logit - largest);
    if (mass == 0) continue;  // where x may be infinite
    sum += mass;
    weighted += mass * (logit - largest);
  }
  return std::log(sum) - weighted / sum;
}

std::vector<std::size_t> decoding_rows(const Sample& sample) {
  std::vector<std::size_t> rows;
  for (const auto& [begin, end] : sample.answers) {
    for (std::size_t i = begin; i < end; ++i) rows.push_back(i - 1);
  }
  constexpr std::size_t kRows = 16;
  const std::size_t n = sample.tokens.size() - 1;
  for (std::size_t i = 1; i <= kRows && sample.answers.empty(); ++i)
    rows.push_back(n / 2 + (n - n / 2) * i / kRows - 1);
  return rows;
}

void HeadEntropies::add(const Tape<float>& tape, std::span<const std::size_t> rows) {
  const auto d = static_cast<Eigen::Index>(shape_.head_size);
  const std::size_t group = shape_.heads / shape_.kv_heads;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  std::vector<double> logits;
  for (std::size_t layer = 0; layer < shape_.layers; ++layer) {
    const Matrix<float>& qkv = tape.layers[layer].qkv;
    const auto head_of = [&](std::size_t row, std::size_t head) {
      return qkv.row(static_cast<Eigen::Index>(row))
          .segment(static_cast<Eigen::Index>(head) * d, d)
          .cast<double>();
    };
    for (std::size_t head = 0; head < shape_.heads; ++head) {
      for (const std::size_t row : rows) {
        logits.clear();
        for (std::size_t i = 0; i <= row; ++i) {
          logits.push_back(scale * head_of(row, head).dot(head_of(i, shape_.heads + head / group)));
        }
        sums_[layer * shape_.heads + head] += entropy(logits);
      }
    }
  }
  rows_ += rows.size();
}

void HeadEntropies::add(const HeadEntropies& other) {
  for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += other.sums_[i];
  rows_ += other.rows_;
}

HeadEntropies head_entropies(const Transformer<float>& model, const std::vector<float>& weights,
                             const Task& task, std::size_t context, std::size_t texts,
                             std::uint64_t seed, std::size_t threads) {
  struct Worker {
    std::unique_ptr<TrainedAttention<float>> attention;
    Tape<float> tape;
  };
  std::vector<Worker> workers(threads);
  std::vector<HeadEntropies> each(texts, HeadEntropies(model.shape()));
  engine::for_each_parallel(texts, threads, [&](std::size_t i, std::size_t worker) {
    Worker& at = workers[worker];
    if (!at.attention)
      at.attention = std::make_unique<TrainedAttention<float>>(model.shape(), skim::parse("dense"));
    std::mt19937_64 random = random_of(seed, 0, i);
    const Sample sample = task(context, random);
    at.attention->begin(sample, seed);
    model.forward(weights.data(), std::span(sample.tokens).first(context), *at.attention, at.tape);
    each[i].add(at.tape, decoding_rows(sample));
  });
  HeadEntropies sum(model.shape());
  for (const HeadEntropies& one : each) sum.add(one);  // in this order, whoever was done first
  return sum;
}

}  // namespace train
