// SPDX-License-Identifier: Apache-2.0
// Does a strict call never answer for another head's keys, and no call at all for another number of them?
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/any_index.h"
#include "support/layer_problem.h"

namespace skim::test {
namespace {

constexpr std::size_t kD = 12, kDv = 8;

/// One index of each kind, of the keys of one KV head.
struct Kinds {
  std::tuple<Sketch1, Sketch4, Sketch8, PageBoxes, PageMeans, LshTables> all{
      Sketch1(), Sketch4(), Sketch8(), PageBoxes(), PageMeans(), make_index<LshTables>(kD)};

  Kinds() = default;
  template <class Kv>
  explicit Kinds(const Kv& kv) {
    std::apply([&](auto&... index) { (append(index, kv), ...); }, all);
  }
};
constexpr const char* kNames[] = {Sketch1::kName,   Sketch4::kName,   Sketch8::kName,
                                  PageBoxes::kName, PageMeans::kName, LshTables::kName};
/// Estimators that go by each.
constexpr const char* kBy[] = {"topk(5,by=sketch1)", "topk(5,by=sketch4)", "topk(5,by=sketch8,exact)", "quest(32)",
                               "topk(5,by=means)", "lsh(3,3)"};
constexpr int kKinds = 6, kNone = -1;

template <class K>
using KvOf = IndexedKv<ContiguousKv<K>, Sketch1, Sketch4, Sketch8, PageBoxes, PageMeans, LshTables>;

/// `kv` with the indexes of `own`, but for the one of kind `which`, which is another's.
template <class K>
KvOf<K> with_other(const ContiguousKv<K>& kv, const Kinds& own, const Kinds& other, int which) {
  const auto of = [&]<std::size_t kKind>(std::integral_constant<std::size_t, kKind>) {
    return &std::get<kKind>(static_cast<int>(kKind) == which ? other.all : own.all);
  };
  return [&]<std::size_t... kKind>(std::index_sequence<kKind...>) {
    return KvOf<K>{kv, {of(std::integral_constant<std::size_t, kKind>())...}};
  }(std::make_index_sequence<kKinds>());
}

/// Two KV heads of one sequence, whose indexes of one kind may be exchanged.
template <class K>
struct TwoHeads {
  LayerProblem<K> p;
  std::vector<Kinds> kinds;
  std::vector<float> out;

  explicit TwoHeads(std::size_t n, std::size_t rows = 1) : p({4, 2, kD, kDv}, {{rows, n}}, 1), out(rows * 4 * kDv) {
    look();
  }
  void look() {
    kinds.clear();
    for (const auto& view : p.views) kinds.emplace_back(view);
  }
  std::vector<KvOf<K>> views(int exchanged) const {
    return {with_other(p.views[0], kinds[0], kinds[1], exchanged), with_other(p.views[1], kinds[1], kinds[0], exchanged)};
  }
  LayerState state() { return {{out.data(), p.rows(), 4, kDv}}; }
  void attend_with(int exchanged, const char* by, const Options& options) {
    const auto heads = views(exchanged);
    attend(parse(by), p.query(), LayerKv<KvOf<K>>{heads, 2}, state(), options);
  }
};

TEST(Strict, NeverAnswersForAnotherHeadsKeys) {
  for_each_stored([](auto storage) {
    using K = decltype(storage);
    for (const std::size_t n : {330u, 512u, 1500u}) {
      TwoHeads<K> two(n, 2);
      EXPECT_NO_THROW(two.attend_with(kNone, "dense", {.strict = true})) << n;
      for (int kind = 0; kind < kKinds; ++kind) {
        EXPECT_NO_THROW(two.attend_with(kind, kBy[kind], {})) << "or the test is of nothing";
        expect_error([&] { two.attend_with(kind, kBy[kind], {.strict = true}); },
                     {"skim::attend", kNames[kind], "KV view 0", "another KV head"});
        expect_error([&] { two.attend_with(kind, kBy[kind], {.check = false, .strict = true}); }, {kNames[kind]});
        SelectionRecord record;
        const auto heads = two.views(kind);
        const LayerKv<KvOf<K>> kv{heads, 2};
        expect_error([&] { select(parse(kBy[kind]), two.p.query(), kv, record, {.strict = true}); }, {kNames[kind]});
      }
    }
  });
}

// The index of a sequence that shares the beginning: a slot that was used again, or a prefix.
TEST(Strict, NorForThoseOfASequenceThatBeginsAlike) {
  TwoHeads<float> two(1500);
  std::copy_n(two.p.heads[0].keys.begin(), 1200 * kD, two.p.heads[1].keys.begin());
  std::copy_n(two.p.heads[0].values.begin(), 1200 * kDv, two.p.heads[1].values.begin());
  two.look();
  EXPECT_NO_THROW(two.attend_with(kNone, "dense", {.strict = true}));
  for (int kind = 0; kind < kKinds; ++kind) {
    expect_error([&] { two.attend_with(kind, "dense", {.strict = true}); }, {kNames[kind]});
  }
}

// What is overwritten in place is drawn sooner or later: as a sequence grows, all pieces are.
TEST(Strict, EveryPieceIsLookedAtInTime) {
  const auto p = random_problem<float>({4200, kD, kDv, 4}, 1);
  const Kinds right(p.kv());
  for (const std::size_t at : {0u, 2048u, 4000u}) {
    auto stale = p;
    stale.keys[at * kD] += 1;
    const Kinds other(first_positions(p, 4096));
    for (int kind = 0; kind < kKinds; ++kind) {
      std::size_t noticed = 0;
      Kinds grown = other, fresh(first_positions(stale, 4096));
      for (Position n = 4096; n < 4196 && noticed == 0; ++n) {
        const auto kv = first_positions(stale, n);
        std::apply([&](auto&... index) { (append(index, kv), ...); }, grown.all);
        std::apply([&](auto&... index) { (append(index, kv), ...); }, fresh.all);
        const std::vector<KvOf<float>> heads = {with_other(kv, fresh, grown, kind)};
        LayerQuery query;
        query.rows = {stale.q.data(), 1, 4, kD};
        std::vector<float> out(4 * kDv);
        try {
          attend(Dense{}, query, LayerKv<KvOf<float>>{heads, 1}, LayerState{{out.data(), 1, 4, kDv}}, {.strict = true});
        } catch (const std::invalid_argument&) {
          ++noticed;
        }
      }
      EXPECT_EQ(noticed, 1u) << kNames[kind] << ", position " << at;
    }
  }
}

// A few comparisons a head, so that `check = false` does not leave them out; for every verb.
TEST(Strict, AnotherNumberOfKeysIsAlwaysAnError) {
  TwoHeads<float> two(300);
  const StageList by_keys = parse("topk(5)");
  const auto longer = random_problem<float>({301, kD, kDv, 1}, 3);
  std::vector<float> lse(4), dout(4 * kDv), dq(4 * kD), dk(2 * 300 * kD), dv(2 * 300 * kDv), q(2 * kD);
  const std::vector<KvGradient> of_kv = {{{dk.data(), 300, kD}, {dv.data(), 300, kDv}},
                                         {{dk.data() + 300 * kD, 300, kD}, {dv.data() + 300 * kDv, 300, kDv}}};
  LayerGradients gradients;
  gradients.state = two.state();
  gradients.state.lse = lse.data();
  gradients.dout = {dout.data(), 1, 4, kDv};
  gradients.dq = {dq.data(), 1, 4, kD};
  gradients.kv = of_kv;
  Query group;
  group.rows = {q.data(), 2, kD};
  for (const Position covered : {299, 301}) {  // behind and ahead
    const Kinds other(first_positions(longer, covered));
    const std::string have = std::to_string(covered);
    for (int kind = 0; kind < kKinds; ++kind) {
      const std::vector<KvOf<float>> heads = {with_other(two.p.views[0], two.kinds[0], other, kNone),
                                              with_other(two.p.views[1], two.kinds[1], other, kind)};
      const LayerKv<KvOf<float>> kv{heads, 2};
      const auto expect_refused = [&](const auto& call) { expect_error(call, {kNames[kind], have.c_str(), "300"}); };
      for (const bool check : {true, false}) {
        const Options options{.check = check};
        SelectionRecord record;
        for (const StageList& one : {parse(kBy[kind]), by_keys}) {  // an index that nobody goes by too
          expect_refused([&] { attend(one, two.p.query(), kv, two.state(), options); });
          expect_refused([&] { select(one, two.p.query(), kv, record, options); });
          expect_refused([&] { backward(one, two.p.query(), kv, gradients, options); });
        }
        select(by_keys, two.p.query(), LayerKv<ContiguousKv<float>>{two.p.views, 2}, record);
        expect_refused([&] { backward(record, two.p.query(), kv, gradients, options); });
      }
      expect_refused([&] { attend(by_keys, group, heads[1]); });
      expect_refused([&] { select(by_keys, group, heads[1]); });
      expect_refused([&] { attend(Selection{}, group, heads[1]); });
      expect_refused([&] { verify(heads[1]); });
    }
  }
}

}  // namespace
}  // namespace skim::test
