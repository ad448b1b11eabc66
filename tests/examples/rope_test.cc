// SPDX-License-Identifier: Apache-2.0
// Rotary positions against a plain reference in double: unscaled, scaled linearly under either key, and by divisors.
#include "rope.h"

#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "llama.h"
#include "tiny_model.h"

namespace engine {
namespace {

constexpr TinyShape kShape{.layers = 1, .width = 32, .heads = 4, .kv_heads = 2, .head_size = 8};

/// Keeps the queries and keys that it is asked with.
struct Recorder : Attention {
  Vector q, k;
  Vector attend(std::size_t, const Vector& queries, const Vector& keys, const Vector&) override {
    q = queries;
    k = keys;
    return Vector::Zero(queries.size());
  }
};

/// What a file asks for, told by itself.
struct Rope {
  double theta = 10000;
  double factor = 1;
  std::vector<double> divisors{1, 1, 1, 1};
};

std::vector<double> rotated(const Vector& heads, std::size_t position, const Rope& rope) {
  std::vector<double> out(heads.begin(), heads.end());
  for (std::size_t head = 0; head < out.size(); head += 8) {
    for (std::size_t i = 0; i < 4; ++i) {
      const double turns =
          std::pow(rope.theta, -static_cast<double>(i) / 4) / (rope.factor * rope.divisors[i]);
      const double angle = static_cast<double>(position) * turns;
      const double a = out[head + 2 * i], b = out[head + 2 * i + 1];
      out[head + 2 * i] = a * std::cos(angle) - b * std::sin(angle);
      out[head + 2 * i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
  }
  return out;
}

GgufParts model_with(const std::function<void(GgufParts&)>& add) {
  GgufParts file = tiny_model(kShape);
  add(file);
  return file;
}

void expect_rotation(const GgufParts& file, const Rope& rope, const char* what) {
  const Llama model(Gguf(file.bytes()));
  Recorder plain, turned;
  model.decode(70, 0,
               plain);  // at position 0 nothing is turned, and a first layer knows no other positions
  for (const std::size_t position : {1u, 7u, 63u, 5000u}) {
    model.decode(70, position, turned);
    for (const auto& [from, to] : {std::pair(plain.q, turned.q), std::pair(plain.k, turned.k)}) {
      const std::vector<double> expected = rotated(from, position, rope);
      for (Eigen::Index i = 0; i < to.size(); ++i) {
        EXPECT_NEAR(to[i], expected[static_cast<std::size_t>(i)], 1e-6)
            << what << ", position " << position;
      }
    }
  }
}

void add_divisors(GgufParts& file) { file.f32_tensor("rope_freqs.weight", {4}, {1, 1.5f, 8, 32}); }

TEST(Rope, TurnsAsAPlainReferenceDoes) {
  expect_rotation(tiny_model(kShape), {}, "plain");
  expect_rotation(model_with([](auto& f) { f.f32("llama.rope.freq_base", 500000); }), {.theta = 500000},
                  "base");
  expect_rotation(model_with([](auto& f) {
                    f.text("llama.rope.scaling.type", "linear");
                    f.f32("llama.rope.scaling.factor", 4);
                  }),
                  {.factor = 4}, "linear");
  // As in llama.cpp, a factor alone is one of linear scaling.
  expect_rotation(model_with([](auto& f) { f.f32("llama.rope.scaling.factor", 2.5f); }),
                  {.factor = 2.5}, "no type");
  expect_rotation(model_with([](auto& f) { f.f32("llama.rope.scale_linear", 8); }), {.factor = 8},
                  "old key");
  expect_rotation(model_with([](auto& f) {
                    f.f32("llama.rope.scale_linear", 8);
                    f.f32("llama.rope.scaling.factor", 8);
                  }),
                  {.factor = 8}, "both keys");
  expect_rotation(model_with([](auto& f) {
                    f.text("llama.rope.scaling.type", "none");
                    f.f32("llama.rope.scaling.factor", 1);
                  }),
                  {}, "none");
  expect_rotation(model_with(add_divisors), {.divisors = {1, 1.5, 8, 32}}, "Llama 3");
  expect_rotation(model_with([](auto& f) {
                    add_divisors(f);
                    f.f32("llama.rope.freq_base", 500000);
                    f.f32("llama.rope.scaling.factor", 2);
                  }),
                  {.theta = 500000, .factor = 2, .divisors = {1, 1.5, 8, 32}}, "all");
}

TEST(Rope, RefusesWhatContradictsItself) {
  const auto error_with = [](const std::function<void(GgufParts&)>& add) -> std::string {
    try {
      const Llama made(Gguf(model_with(add).bytes()));
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(error_with([](auto& f) {
              f.f32("llama.rope.scale_linear", 8);
              f.f32("llama.rope.scaling.factor", 4);
            }),
            "gguf: key llama.rope.scaling.factor is 4 but llama.rope.scale_linear is 8: they should be "
            "the same");
  for (const std::string key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    EXPECT_EQ(error_with([&](auto& f) {
                f.text("llama.rope.scaling.type", "none");
                f.f32(key, 4);
              }),
              "gguf: key " + key + " is 4 but llama.rope.scaling.type is none");
  }
  EXPECT_EQ(error_with([](auto& f) {
              f.f32_tensor("rope_freqs.weight", {3}, {1, 1, 1});
            }),
            "gguf: tensor rope_freqs.weight is 3 but should be 4");
  EXPECT_EQ(error_with([](auto& f) {
              f.f32_tensor("rope_freqs.weight", {4}, {1, 1, 0, 1});
            }),
            "gguf: tensor rope_freqs.weight: value 2 is 0, not a positive number");
  EXPECT_EQ(error_with([](auto& f) {
              f.f32_tensor("rope_freqs.weight", {4}, {1, NAN, 1, 1});
            }),
            "gguf: tensor rope_freqs.weight: value 1 is nan, not a positive number");
}

}  // namespace
}  // namespace engine
