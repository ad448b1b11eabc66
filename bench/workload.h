// SPDX-License-Identifier: Apache-2.0
// Synthetic queries, keys and values with knobs, for tests, benchmarks and examples: what the knobs are, and
// how they are written. bench/synthetic.h makes the data.
//
// No knob is taken from a model: a figure on this data says what a method does when the data is so. Above all
// `corr` decides who wins: top-k drops a part of the values that is like the rest when values do not depend
// on the scores, and unlike it when they do.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace skim_bench {

/// How keys, values and queries of one KV head are distributed. Ordinary keys are independent Gaussian rows
/// of unit variance per coordinate, shifted by the key mean; a sink, needles and heavy hitters replace some
/// of them. Shares of softmax mass hold exactly for every query head.
struct Workload {
  double spread = 1.5;  ///< standard deviation of a query's logits over the ordinary keys: exact
  double corr =
      0.3;  ///< c of v = mean + c z direction + noise, per channel: mean and noise have variance
            ///< 1, direction is +-1, z is the standardised logit of the group's mean query
  double alike = 0;     ///< cosine between the query heads of a group, in expectation
  double mean = 0;      ///< length of the key mean over the length of the rest of a key
  double outliers = 0;  ///< channels in which the key mean is +-12
  double sink = 0;  ///< share of the softmax mass on position 0, whose key has cosine -0.85 to the key
                    ///< mean and whose value is small: needs a key mean
  double needles = 0;  ///< positions that hold `needlemass` together, with values unlike all others
  double needlemass = 0.5;
  double heavy = 0;  ///< positions that hold `heavymass` together, the j-th a share as 1/j
  double heavymass = 0.3;
  double clusters =
      0;  ///< if not 0, keys are one of so many centres of unit variance per coordinate ...
  double noise = 0.3;  ///< ... plus noise with this standard deviation per coordinate
  double runs = 0;  ///< if not 0, so many neighbours share a centre; otherwise every position draws one

  friend bool operator==(const Workload&, const Workload&) = default;
};

namespace workload_detail {

struct Knob {
  const char* name;
  double Workload::*value;
  double least, most;
  bool whole = false;
};

inline constexpr Knob kKnobs[] = {
    {"spread", &Workload::spread, 0, 1e3},
    {"corr", &Workload::corr, -1e3, 1e3},
    {"alike", &Workload::alike, 0, 1},
    {"mean", &Workload::mean, 0, 1e3},
    {"outliers", &Workload::outliers, 0, 1e4, true},
    {"sink", &Workload::sink, 0, 0.99},
    {"needles", &Workload::needles, 0, 1e6, true},
    {"needlemass", &Workload::needlemass, 1e-6, 0.99},
    {"heavy", &Workload::heavy, 0, 1e6, true},
    {"heavymass", &Workload::heavymass, 1e-6, 0.99},
    {"clusters", &Workload::clusters, 0, 1e6, true},
    {"noise", &Workload::noise, 1e-6, 1e3},
    {"runs", &Workload::runs, 0, 1e9, true},
};

struct Preset {
  const char* name;
  const char* knobs;
};

inline constexpr Preset kPresets[] = {
    {"iid", ""},
    {"magicpig", "spread=1.53"},  // 20 % of the keys hold 70-80 % of the mass, as in MagicPIG §3.1
    {"clustered05", "clusters=128,noise=0.05"},
    {"clustered30", "clusters=128,noise=0.3"},
    {"runs", "runs=1024"},
    {"sink", "mean=1,sink=0.5"},
    {"needles", "needles=4,needlemass=0.5"},
    {"heavy", "heavy=64,heavymass=0.3"},
    {"outliers", "outliers=4"},
    {"mixed", "mean=1,outliers=4,sink=0.3,heavy=64,heavymass=0.2,alike=0.5"},
};

inline std::string number(double x) {
  char digits[32];
  const auto result = std::to_chars(digits, digits + sizeof(digits), x);
  return {digits, result.ptr};
}

}  // namespace workload_detail

/// Throws std::invalid_argument when knobs are out of range or contradict each other.
inline void validate(const Workload& w) {
  for (const auto& knob : workload_detail::kKnobs) {
    const double x = w.*knob.value;
    if (!(x >= knob.least && x <= knob.most) || (knob.whole && x != std::floor(x))) {
      throw std::invalid_argument(
          std::string("workload: ") + knob.name + " is " + workload_detail::number(x) +
          " but must be " + (knob.whole ? "a whole number " : "") + "between " +
          workload_detail::number(knob.least) + " and " + workload_detail::number(knob.most));
    }
  }
  if (w.sink > 0 && w.mean == 0 && w.outliers == 0) {
    throw std::invalid_argument(
        "workload: a sink lies opposite to the key mean, so mean or outliers must not be 0");
  }
  if (w.sink + (w.needles > 0 ? w.needlemass : 0) + (w.heavy > 0 ? w.heavymass : 0) > 0.995) {
    throw std::invalid_argument(
        "workload: sink, needles and heavy hitters leave no softmax mass to the other keys");
  }
}

/// Reads items joined by ',' or '_': a preset, or a knob and its value with or without '=' between. Later
/// items override earlier ones; knobs not named keep their defaults.
///   spread=3,corr=1    clustered05_runs    sink_corr1
/// Throws std::invalid_argument that quotes the item it cannot read.
inline Workload parse_workload(std::string_view text, Workload w = {}) {
  const std::string_view whole = text;
  while (!text.empty()) {
    const std::size_t end = text.find_first_of(",_");
    const std::string_view item = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);

    bool known = false;
    for (const auto& preset : workload_detail::kPresets) {
      if (item != preset.name) continue;
      w = *preset.knobs != '\0' ? parse_workload(preset.knobs, w) : w;
      known = true;
    }
    std::size_t letters = 0;
    while (letters < item.size() && item[letters] >= 'a' && item[letters] <= 'z') ++letters;
    const std::size_t digits = letters + (letters < item.size() && item[letters] == '=' ? 1 : 0);
    for (const auto& knob : workload_detail::kKnobs) {
      if (known || item.substr(0, letters) != knob.name) continue;
      const char* last = item.data() + item.size();
      const auto result = std::from_chars(item.data() + digits, last, w.*knob.value);
      known = result.ec == std::errc{} && result.ptr == last;
    }
    if (!known) {
      throw std::invalid_argument("workload: cannot read '" + std::string(item) + "' in '" +
                                  std::string(whole) + "'");
    }
  }
  validate(w);
  return w;
}

/// The knobs that are not at their defaults, as `parse_workload` reads them: `spread=3,corr=1`, or "iid".
inline std::string to_text(const Workload& w, std::string_view equals = "=", char comma = ',') {
  const Workload defaults;
  std::string text;
  for (const auto& knob : workload_detail::kKnobs) {
    if (w.*knob.value == defaults.*knob.value) continue;
    if (!text.empty()) text += comma;
    text += knob.name;
    text += equals;
    text += workload_detail::number(w.*knob.value);
  }
  return text.empty() ? "iid" : text;
}

/// The same in the characters a benchmark's name may have: `spread3_corr1`.
inline std::string to_name(const Workload& w) { return to_text(w, "", '_'); }

}  // namespace skim_bench
