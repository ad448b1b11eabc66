// SPDX-License-Identifier: Apache-2.0
#include "recipe.h"

#include <charconv>
#include <cmath>
#include <numbers>
#include <random>
#include <sstream>

#include "generate/error.h"
#include "tasks.h"

namespace train {

namespace {

/// The fewest digits that are read back as this number: equal texts are equal numbers.
std::string shortest(double number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

}  // namespace

std::size_t Recipe::steps() const {
  std::size_t sum = 0;
  for (const Stage& stage : curriculum) sum += stage.steps;
  return sum;
}

std::size_t Recipe::context_of(std::size_t step) const {
  for (const Stage& stage : curriculum) {
    if (step < stage.steps) return stage.context;
    step -= stage.steps;
  }
  return curriculum.back().context;
}

double Recipe::rate_of(std::size_t step) const {
  if (step < warmup) return rate * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double done = static_cast<double>(step - warmup) /
                      static_cast<double>(std::max<std::size_t>(1, steps() - warmup));
  return rate * (last_rate + (1 - last_rate) * 0.5 * (1 + std::cos(std::numbers::pi * done)));
}

void Recipe::check(std::size_t bytes) const {
  if (shape.heads % shape.kv_heads != 0)
    engine::fail("train: ", shape.kv_heads, " KV heads do not divide ", shape.heads, " heads");
  if (shape.head_size % 2 != 0)
    engine::fail("train: a head of ", shape.head_size, " values has no pairs to rotate");
  for (const double number : {rate, clip, optimizer.weight_decay}) {
    if (!std::isfinite(number))
      engine::fail("train: rate ", rate, ", clip ", clip, " or decay ", optimizer.weight_decay,
                   " is not finite");
  }
  if (warmup >= steps())
    engine::fail("train: a warm-up of ", warmup, " steps is not shorter than the run, ", steps());
  for (const Stage& stage : curriculum) {
    if (stage.context < kMinContext) {
      engine::fail("train: a context of ", stage.context, " is shorter than the tasks', which is ",
                   kMinContext, " or more");
    }
    if (stage.context > bytes)
      engine::fail("train: a context of ", stage.context, " is longer than the text, ", bytes,
                   " bytes");
  }
}

std::string Recipe::text() const {
  std::ostringstream out;
  out << "layers=" << shape.layers << " width=" << shape.width << " heads=" << shape.heads
      << " kv_heads=" << shape.kv_heads << " head_size=" << shape.head_size
      << " hidden=" << shape.hidden << " vocabulary=" << shape.vocabulary
      << " context=" << shape.context << " estimator=" << estimator << " tasks=" << tasks
      << " curriculum=";
  for (const Stage& stage : curriculum)
    out << (&stage == curriculum.data() ? "" : ",") << stage.context << ':' << stage.steps;
  out << " tokens=" << tokens << " rate=" << shortest(rate) << " last_rate=" << shortest(last_rate)
      << " warmup=" << warmup << " clip=" << shortest(clip)
      << " first_decay=" << shortest(optimizer.first_decay)
      << " second_decay=" << shortest(optimizer.second_decay)
      << " epsilon=" << shortest(optimizer.epsilon)
      << " weight_decay=" << shortest(optimizer.weight_decay) << " seed=" << seed;
  return out.str();
}

std::vector<Recipe::Stage> parse_curriculum(const std::string& text) {
  std::vector<Recipe::Stage> stages;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&](char until) {
    std::size_t value = 0;
    const auto [stop, error] = std::from_chars(at, end, value);
    const bool ends = stop == end ? until == ',' : *stop == until && stop + 1 != end;
    if (error != std::errc() || value == 0 || !ends) {
      engine::fail("train: curriculum \"", text, "\" is not of the form CONTEXT:STEPS,CONTEXT:STEPS");
    }
    at = stop == end ? end : stop + 1;
    return value;
  };
  do {
    const std::size_t context = number(':');
    stages.push_back({context, number(',')});
  } while (at != end);
  return stages;
}

std::vector<float> first_weights(const engine::Shape& shape, std::uint64_t seed) {
  const Layout layout(shape);
  std::mt19937_64 random(seed);
  // The standard's distributions differ between libraries, its generators do not.
  const auto uniform = [&] { return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53; };
  const auto gaussian = [&] {
    return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform());
  };
  std::vector<float> weights(layout.size, 1.0f);  // gains stay at 1
  for (const Place* place : layout.places()) {
    if (place->is_gain) continue;
    double deviation = 1 / std::sqrt(static_cast<double>(place->columns));
    if (place == &layout.embedding) deviation = 0.02;
    for (const Layout::Layer& layer : layout.layers) {
      if (place == &layer.output || place == &layer.down)
        deviation /= std::sqrt(2.0 * static_cast<double>(shape.layers));
    }
    for (std::size_t i = 0; i < place->size(); ++i)
      weights[place->begin + i] = static_cast<float>(deviation * gaussian());
  }
  return weights;
}

}  // namespace train
