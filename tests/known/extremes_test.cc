// SPDX-License-Identifier: Apache-2.0
// What does every number at the edge of what a number can be give, from every estimator and on every path? One row for
// each, with what is written down in core/validate.h: an error that names the argument, NaN, or what the reference says.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/indexes.h"
#include "support/layer_problem.h"
#include "support/threads.h"

namespace skim::test {
namespace {

constexpr std::size_t kLength = 150, kD = 16, kDv = 8, kHeads = 3, kRows = 9;
constexpr float kMost = std::numeric_limits<float>::max();

/// Every estimator there is, by everything it can go by.
const std::vector<StageList>& estimators() {
  static const std::vector<StageList> all = [] {
    std::vector<StageList> list;
    for (const char* text :
         {"dense", "sinks(3)", "window(5)", "topk(8)", "topk(100)", "topp(0.9)", "topp(1e-9)", "topp(1e-300)",
          "uniform(8)", "priority(8)", "multinomial(8)", "systematic(8)", "poisson(8)", "quest(40)", "lsh(2,9)",
          "topk(8,by=sketch1)", "topk(8,by=sketch4,candidates=20)", "topk(8,by=sketch8,exact)", "topk(8,by=boxes)",
          "topk(8,by=boxes,exact)", "topk(8,by=means)", "topk(8,by=external)", "topk(8,by=external,candidates=30)",
          "priority(8,by=sketch1)", "systematic(8,by=boxes)", "multinomial(8,by=means)", "poisson(8,by=sketch8)",
          "priority(8,by=external)", "sinks(2)+window(3)+topk(4)+priority(6)", "sinks(2)+topk(4,by=sketch4)+lsh(2,9)",
          "topp(1e-9)+systematic(5)"}) {
      list.push_back(parse(text));
    }
    return list;
  }();
  return all;
}

/// A query group of three heads with everything that can be extreme about it.
struct World {
  Problem<float> p = random_problem<float>({kLength, kD, kDv, kHeads}, 1);
  std::vector<float> external = random_problem<float>({1, kRows * kLength, 1, 1}, 2).keys;  // [rows, n]
  LogitRule rule{};
  std::vector<float> slopes, sinks;
  Executor executor{};

  Query query(std::size_t heads = kHeads) const {
    Query q;
    q.rows = {p.q.data(), heads, kD};
    q.logit = rule;
    if (!slopes.empty()) q.logit.alibi_slopes = slopes.data();
    if (!sinks.empty()) q.sink_logits = sinks.data();
    return q;
  }
};

/// Its keys and values, with all indexes.
struct Head {
  Sketches sketches;
  PageBoxes boxes;
  PageMeans means{16};
  LshTables tables;
  ExternalScores external;
  ContiguousKv<float> plain;

  explicit Head(const World& w)
      : sketches(small(w.p.kv())),
        tables(lsh_tables_of(w.p.kv(), 2, 9)),
        external{{w.external.data(), kRows, kLength}, static_cast<Position>(kLength - kRows)},
        plain(w.p.kv()) {
    append(boxes, plain);
    append(means, plain);
  }
  auto kv() const {
    return with_index(plain, sketches.one, sketches.four, sketches.eight, boxes, means, tables, external);
  }

 private:
  static Sketches small(const ContiguousKv<float>& kv) {
    Sketches s;
    s.one = Sketch1(64), s.four = Sketch4(64), s.eight = Sketch8(64);  // two segments, and a rest
    append(s.one, kv);
    append(s.four, kv);
    append(s.eight, kv);
    return s;
  }
};

using Indexed = decltype(std::declval<const Head&>().kv());

/// How the same is asked.
enum class Way { kGroup, kPerHead, kLayer, kSplit, kChunk };
constexpr Way kWays[] = {Way::kGroup, Way::kPerHead, Way::kLayer, Way::kSplit, Way::kChunk};
const char* name_of_way(Way way) {
  return way == Way::kGroup ? "group" : way == Way::kPerHead ? "per head" : way == Way::kLayer ? "layer"
       : way == Way::kSplit ? "layer, split over threads" : "last row of a chunk";
}

State ask(const StageList& e, const World& w, const Head& head, Way way, std::size_t heads = kHeads) {
  const Indexed kv = head.kv();
  Query q = w.query(heads);
  State state(heads, kDv);
  Workspace ws;
  if (way == Way::kGroup || way == Way::kPerHead) {
    if (way == Way::kPerHead) q.grouping = Grouping::kPerHead;
    attend(e, q, kv, state.view(), ws);
    return state;
  }
  const std::size_t rows = way == Way::kChunk ? kRows : 1;
  std::vector<float> all = random_problem<float>({1, kD, 1, rows * heads}, 3).q;
  std::vector<float> out(rows * heads * kDv), lse(rows * heads);
  std::copy_n(q.rows.data, heads * kD, all.end() - static_cast<std::ptrdiff_t>(heads * kD));
  LayerQuery layer;
  layer.rows = {all.data(), rows, heads, kD};
  layer.logit = q.logit;
  layer.sink_logits = q.sink_logits;
  Options options;
  options.executor = way == Way::kSplit ? backwards(2) : w.executor;
  attend(e, layer, LayerKv<Indexed>{{&kv, 1}, 1}, LayerState{{out.data(), rows, heads, kDv}, lse.data()}, options);
  for (std::size_t h = 0; h < heads; ++h) {
    const std::size_t at = (rows - 1) * heads + h;
    std::copy_n(out.data() + at * kDv, kDv, state.out(h));
    state.view().lse_of(h) = lse[at];
  }
  return state;
}

testing::AssertionResult is_nan(const State& state, std::size_t h) {
  const bool out = std::all_of(state.out(h), state.out(h) + kDv, [](float x) { return std::isnan(x); });
  return out && std::isnan(state.lse(h)) ? testing::AssertionSuccess()
             : testing::AssertionFailure() << "head " << h << " has lse " << state.lse(h) << ", out " << state.out(h)[0];
}

testing::AssertionResult is(const State& state, float out, float lse) {
  for (std::size_t h = 0; h < state.heads(); ++h) {
    for (std::size_t c = 0; c < kDv; ++c) {
      if (state.out(h)[c] == out && state.lse(h) == lse) continue;
      return testing::AssertionFailure() << "head " << h << " has lse " << state.lse(h) << ", out " << state.out(h)[c];
    }
  }
  return testing::AssertionSuccess();
}

/// What the reference makes of what each head selects.
testing::AssertionResult agrees_with_selection(const StageList& e, const World& w, const Head& head, Way way,
                                               State& state) {
  const Indexed kv = head.kv();
  const Query q = w.query();
  for (std::size_t h = 0; h < kHeads; ++h) {
    const Selection selection = way == Way::kPerHead ? select(e, q.head(h), kv) : select(e, q, kv);
    const auto close = agrees(state.view().head(h), w.p, q.head(h), list_of(selection));
    if (!close) return testing::AssertionFailure() << "head " << h << ": " << close.message();
  }
  return testing::AssertionSuccess();
}

struct Extreme;
using Check = std::function<void(const Extreme&, const StageList&, const World&, const Head&, Way)>;

struct Extreme {
  const char* name;
  std::function<void(World&)> make;
  Check check;
};

// ---- what is right -----------------------------------------------------------------------------------------------

Check error(const char* part, const char* other = "skim::") {
  return [part, other](const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
    expect_error([&] { ask(e, w, head, way); }, {part, other});
  };
}

void reference(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  State state = ask(e, w, head, way);
  EXPECT_TRUE(agrees_with_selection(e, w, head, way, state));
}

/// The reference, and all of it finite.
void finite(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  State state = ask(e, w, head, way);
  for (std::size_t h = 0; h < kHeads; ++h) {
    EXPECT_TRUE(std::all_of(state.out(h), state.out(h) + kDv, [](float x) { return std::isfinite(x); })) << state.out(h)[0];
    EXPECT_TRUE(std::isfinite(state.lse(h)));
  }
  EXPECT_TRUE(agrees_with_selection(e, w, head, way, state));
}

void defined(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  const State state = ask(e, w, head, way);
  for (std::size_t h = 0; h < kHeads; ++h) {
    EXPECT_TRUE(std::all_of(state.out(h), state.out(h) + kDv, [](float x) { return std::isfinite(x); })) << state.out(h)[0];
    EXPECT_FALSE(std::isnan(state.lse(h)));
  }
}

void nan_everywhere(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  const State state = ask(e, w, head, way);
  for (std::size_t h = 0; h < kHeads; ++h) EXPECT_TRUE(is_nan(state, h));
}

void empty(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  EXPECT_TRUE(is(ask(e, w, head, way), 0, -kInfF));
}

void all_in_the_sink(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  EXPECT_TRUE(is(ask(e, w, head, way), 0, kInfF));
}

/// The last head is NaN, and the others have the bits of a group without it.
void nan_in_the_last_head(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  const State state = ask(e, w, head, way), others = ask(e, w, head, way, kHeads - 1);
  EXPECT_TRUE(is_nan(state, kHeads - 1));
  EXPECT_TRUE(same_bits(state.out(), others.out(), (kHeads - 1) * kDv));
  for (std::size_t h = 0; h + 1 < kHeads; ++h) EXPECT_EQ(state.lse(h), others.lse(h));
}

/// Whatever the others are: the last head is NaN, and they are not.
void nan_sink(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  const State state = ask(e, w, head, way);
  EXPECT_TRUE(is_nan(state, kHeads - 1));
  EXPECT_TRUE(std::isfinite(state.lse(0)) && std::isfinite(state.out(1)[0]));
}

/// As if there were no sinks.
void no_sink(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  World without = w;
  without.sinks.clear();
  const State state = ask(e, w, head, way), expected = ask(e, without, head, way);
  EXPECT_TRUE(same_bits(state.out(), expected.out(), kHeads * kDv));
  for (std::size_t h = 0; h < kHeads; ++h) EXPECT_EQ(state.lse(h), expected.lse(h));
}

/// Nothing that goes by the scores selects what they rule out, here every third position and more.
void never_ruled_out(const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
  State state = ask(e, w, head, way);
  EXPECT_TRUE(agrees_with_selection(e, w, head, way, state));
  if (to_text(e).find("external") == std::string::npos) return;
  const float* scores = w.external.data() + (kRows - 1) * kLength;
  for (const Weighted& at : list_of(select(e, w.query(), head.kv()))) EXPECT_GT(scores[at.position], -kInfF);
}

// ---- the rows ----------------------------------------------------------------------------------------------------

void fill(std::vector<float>& x, float value) { std::fill(x.begin(), x.end(), value); }

Extreme soft_cap(const char* name, double cap, Check check) {
  return {name, [cap](World& w) { w.rule.soft_cap = cap; }, std::move(check)};
}
Extreme scale(const char* name, double value, Check check) {
  return {name, [value](World& w) { w.rule.scale = value; }, std::move(check)};
}
Extreme slopes(const char* name, float value, Check check) {
  return {name, [value](World& w) { w.slopes = {0.01f, 0.02f, value}; }, std::move(check)};
}
Extreme sinks(const char* name, float value, Check check) {
  return {name, [value](World& w) { w.sinks = {value, value, value}; }, std::move(check)};
}
Extreme key(const char* name, float value, Check check) {
  return {name, [value](World& w) { w.p.keys[40 * kD + 3] = value; }, std::move(check)};
}
Extreme values(const char* name, float value, Check check) {
  return {name, [value](World& w) { fill(w.p.values, value); }, std::move(check)};
}

const std::vector<Extreme>& rows() {
  static const std::vector<Extreme> all = {
      {"nothing extreme", [](World&) {}, finite},

      soft_cap("soft_cap inf in float", 1e39, error("soft_cap is 1e+39", "(0: none)")),
      soft_cap("soft_cap 0 in float", 1e-46, error("soft_cap is 1e-46", "(0: none)")),
      soft_cap("soft_cap subnormal", 1e-40, error("soft_cap is 1e-40", "(0: none)")),
      soft_cap("soft_cap so large that x / cap vanishes", 3e38, error("soft_cap is 3e+38", "(0: none)")),
      soft_cap("soft_cap NaN", kNan, error("soft_cap is nan")),
      soft_cap("soft_cap inf", kInf, error("soft_cap is inf")),
      soft_cap("soft_cap negative", -1, error("soft_cap is -1")),
      soft_cap("soft_cap as small as may be", 2e-38, finite),
      soft_cap("soft_cap as large as may be", 1e31, finite),
      scale("scale 0", 0, error("scale is 0", "1 / sqrt(d)")),
      scale("scale inf in float", -1e39, error("scale is -1e+39", "1 / sqrt(d)")),
      scale("scale 0 in float", 1e-46, error("scale is 1e-46", "1 / sqrt(d)")),
      scale("scale NaN", kNan, error("scale is nan")),
      scale("scale negative", -0.3, finite),
      scale("scale tiny", 1e-37, finite),
      slopes("slope NaN", kNanF, error("ALiBi slope 2", "finite")),
      slopes("slope inf", kInfF, error("ALiBi slope 2", "finite")),
      slopes("slope -inf", -kInfF, error("ALiBi slope 2", "finite")),
      slopes("slope 1e6", 1e6f, reference),
      slopes("slope 3e38", 3e38f, defined),

      {"threads 0", [](World& w) { w.executor.threads = 0; },
       [](const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
         if (way == Way::kLayer || way == Way::kChunk) expect_error([&] { ask(e, w, head, way); }, {"threads", "is 0", "1"});
       }},
      {"threads and no run", [](World& w) { w.executor.threads = 4; },
       [](const Extreme&, const StageList& e, const World& w, const Head& head, Way way) {
         if (way == Way::kLayer || way == Way::kChunk) expect_error([&] { ask(e, w, head, way); }, {"4 threads", "run is null"});
       }},

      sinks("sink -inf", -kInfF, no_sink),
      sinks("sink +inf", kInfF, all_in_the_sink),
      sinks("sink NaN", kNanF, nan_everywhere),
      {"sink NaN of one head", [](World& w) { w.sinks = {0, 1, kNanF}; }, nan_sink},
      sinks("sink 1e30", 1e30f, reference),

      {"NaN in q of one head", [](World& w) { w.p.q[2 * kD + 5] = kNanF; }, nan_in_the_last_head},
      {"NaN in the last column of q of one head", [](World& w) { w.p.q[3 * kD - 1] = kNanF; }, nan_in_the_last_head},
      {"q of one head NaN, with slopes",
       [](World& w) {
         std::fill_n(w.p.q.begin() + 2 * kD, kD, kNanF);
         w.slopes = {0.5f, 0.01f, 0.2f};
       },
       nan_in_the_last_head},
      {"NaN in q of one head, with a sink",
       [](World& w) {
         w.p.q[2 * kD] = kNanF;
         w.sinks = {0, 1, 2};
       },
       nan_in_the_last_head},
      {"NaN in q of every head", [](World& w) { for (std::size_t h = 0; h < kHeads; ++h) w.p.q[h * kD + h] = kNanF; },
       nan_everywhere},
      {"NaN in q, external scores that rule everything out",
       [](World& w) {
         fill(w.p.q, kNanF);
         fill(w.external, -kInfF);
       },
       nan_everywhere},

      key("one key NaN", kNanF, reference),
      {"every key NaN", [](World& w) { fill(w.p.keys, kNanF); }, nan_everywhere},
      {"one logit -inf", [](World& w) { fill(w.p.q, 1); w.p.keys[40 * kD + 3] = -kInfF; }, reference},
      {"one logit +inf", [](World& w) { fill(w.p.q, 1); w.p.keys[40 * kD + 3] = kInfF; }, reference},
      {"every logit -inf",
       [](World& w) {
         fill(w.p.q, 1);
         for (std::size_t i = 0; i < kLength; ++i) w.p.keys[i * kD + 3] = -kInfF;
       },
       empty},
      {"every logit NaN, of finite numbers",
       [](World& w) {
         fill(w.p.q, 3e38f);
         for (std::size_t i = 0; i < w.p.keys.size(); ++i) w.p.keys[i] = i % 2 == 0 ? 3e38f : -3e38f;
       },
       nan_everywhere},
      {"logits of 1e30", [](World& w) { for (float& x : w.p.keys) x *= 1e30f; }, finite},
      {"every logit 1e8",
       [](World& w) {
         fill(w.p.q, 1);
         fill(w.p.keys, 1e8f);
         w.rule.scale = 1.0 / kD;
       },
       finite},

      {"one value NaN", [](World& w) { w.p.values[40 * kDv + 3] = kNanF; }, reference},
      {"one value +inf", [](World& w) { w.p.values[40 * kDv + 3] = kInfF; }, reference},
      {"values of 3e38 and -3e38", [](World& w) { for (float& x : w.p.values) x = x > 0 ? 3e38f : -3e38f; }, finite},
      values("all values 3e38", 3e38f, finite),
      values("all values -3e38", -3e38f, finite),
      values("all values the largest", kMost, defined),
      {"all values 3e38, logits of 1e30",
       [](World& w) {
         fill(w.p.values, 3e38f);
         for (float& x : w.p.keys) x *= 1e30f;
       },
       finite},
      {"all values 3e38 but one NaN",
       [](World& w) {
         fill(w.p.values, 3e38f);
         w.p.values[40 * kDv + 3] = kNanF;
       },
       reference},

      {"subnormal keys", [](World& w) { for (std::size_t i = 0; i < w.p.keys.size(); i += 2) w.p.keys[i] = 1e-41f; }, finite},
      {"subnormal q", [](World& w) { fill(w.p.q, 1e-41f); }, finite},

      {"external scores that rule out a third",
       [](World& w) { for (std::size_t i = 0; i < w.external.size(); i += 3) w.external[i] = -kInfF; }, never_ruled_out},
      {"external scores that leave three",
       [](World& w) {
         for (std::size_t i = 0; i < w.external.size(); ++i) {
           if (i % kLength % 40 != 7) w.external[i] = -kInfF;
         }
       },
       never_ruled_out},
      {"external scores that rule everything out", [](World& w) { fill(w.external, -kInfF); }, never_ruled_out},
      {"external scores of NaN", [](World& w) { fill(w.external, kNanF); }, finite},
      {"external scores of +inf", [](World& w) { fill(w.external, kInfF); }, finite},
  };
  return all;
}

/// How the host has set up its floating-point unit.
enum class Machine { kUsual, kFlushing };

class FloatingPoint {
 public:
#if defined(__SSE__)
  explicit FloatingPoint(Machine machine) : saved_(_mm_getcsr()) {
    if (machine == Machine::kFlushing) _mm_setcsr(saved_ | 0x8040u);  // flush to zero, denormals are zero
  }
  ~FloatingPoint() { _mm_setcsr(saved_); }
#else
  explicit FloatingPoint(Machine) {}
#endif
  FloatingPoint(const FloatingPoint&) = delete;

 private:
  unsigned int saved_ = 0;
};

struct Extremes : testing::TestWithParam<std::size_t> {
  void expect_on(Machine machine) {
    const Extreme& row = rows()[GetParam()];
    const FloatingPoint set_up(machine);
    World w;
    row.make(w);
    const Head head(w);
    for (const StageList& e : estimators()) {
      for (const Way way : kWays) {
        SCOPED_TRACE(std::string(row.name) + ": " + to_text(e) + ", " + name_of_way(way));
        row.check(row, e, w, head, way);
        if (HasFailure()) return;
      }
    }
  }
};

TEST_P(Extremes, GiveWhatIsWrittenDown) { expect_on(Machine::kUsual); }
TEST_P(Extremes, AlsoWhereSubnormalsAreFlushed) { expect_on(Machine::kFlushing); }

INSTANTIATE_TEST_SUITE_P(, Extremes, testing::Range(std::size_t{0}, rows().size()));

// ---- shapes at their edges ---------------------------------------------------------------------------------------

// Nothing there, more rows than keys, and pages without a step: a table of its own, since the world above has one shape.
TEST(ExtremeShapes, GiveWhatIsWrittenDown) {
  for (const StageList& e : estimators()) {
    if (sources(e) != 0) continue;  // indexes have tests of their own
    SCOPED_TRACE(to_text(e));
    const auto none = random_problem<float>({0, kD, kDv, kHeads}, 4);
    auto unseen = none;
    std::fill(unseen.q.begin(), unseen.q.end(), kNanF);
    EXPECT_TRUE(is(attend(e, none.query(), none.kv()), 0, -kInfF));
    EXPECT_TRUE(is(attend(e, unseen.query(), unseen.kv()), 0, -kInfF)) << "nothing visible, whatever q holds";
    const float sinks[] = {1, kNanF, -kInfF};
    Query with_sinks = unseen.query();
    with_sinks.sink_logits = sinks;
    const State sunk = attend(e, with_sinks, unseen.kv());
    EXPECT_EQ(sunk.lse(0), 1.0f);
    EXPECT_TRUE(is_nan(sunk, 1));
    EXPECT_EQ(sunk.lse(2), -kInfF);

    for (const std::size_t n : {0u, 3u}) {
      LayerProblem<float> p({2, 1, kD, kDv}, {{5, n}}, 5);
      LayerOutput output(p);
      LayerQuery q = p.query();
      if (n != 0) {
        expect_error([&] { attend(e, q, p.kv(), output.state()); }, {"5 causal rows", "3 keys"});
        EXPECT_TRUE(output.out.untouched() && output.lse.untouched());
        q.causal = false;
        attend(e, q, p.kv(), output.state());
        EXPECT_TRUE(output.all_written());
      } else {
        attend(e, q, p.kv(), output.state());
        for (std::size_t i = 0; i < output.lse.size(); ++i) EXPECT_EQ(output.lse.data()[i], -kInfF);
      }
    }

    const auto p = random_problem<float>({40, kD, kDv, kHeads}, 6);
    const std::vector<std::int32_t> table = {0, 1, 2};
    const PagedKv<float> paged{.n = 40, .page_size = 16, .table = table, .pool_pages = 3,
                               .keys = {p.keys.data(), kD}, .values = {p.values.data(), kDv, 16 * kDv}};
    expect_error([&] { attend(e, p.query(), paged); }, {"page_stride of keys is 0", "3 pages", "16 * 16"});
  }
}

}  // namespace
}  // namespace skim::test
