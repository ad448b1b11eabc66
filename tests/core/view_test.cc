// SPDX-License-Identifier: Apache-2.0
// What a query and a KV head hold on to cannot be a temporary: that is an error of the compiler.
#include "skim/core/view.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "skim/skim.h"

namespace skim::test {
namespace {

using Kv = ContiguousKv<float>;

template <class T, class From>
constexpr bool kTakes = std::is_constructible_v<View<T>, From> || std::is_convertible_v<From, View<T>>;

// A list with a name, in every form ...
static_assert(kTakes<const int, std::vector<int>&> && kTakes<const int, const std::vector<int>&>);
static_assert(kTakes<const int, int (&)[3]> && kTakes<const int, std::array<int, 3>&>);
static_assert(kTakes<const int, std::span<int>> && kTakes<const int, std::span<const int>> && kTakes<const int, View<int>>);
static_assert(std::is_convertible_v<std::vector<int>&, View<const int>>, "without a word");
static_assert(std::is_convertible_v<View<const int>, std::span<const int>>);
static_assert(std::is_trivially_copyable_v<View<const int>> && sizeof(View<const int>) == sizeof(std::span<const int>));
// ... and none without.
static_assert(!kTakes<const int, std::vector<int>> && !kTakes<const int, const std::vector<int>>);
static_assert(!kTakes<const int, std::array<int, 3>> && !kTakes<const int, int(&&)[3]>);
static_assert(!kTakes<int, const std::vector<int>&>, "nor one that may not be written");
static_assert(std::is_convertible_v<std::vector<int>, std::span<const int>>, "which a span takes");

// So with everything that holds on to one.
template <class T, class... From>
concept Holds = requires(From&&... from) { T{std::forward<From>(from)...}; };
static_assert(Holds<LayerKv<Kv>, std::vector<Kv>&, std::size_t> && !Holds<LayerKv<Kv>, std::vector<Kv>, std::size_t>);

template <class Table>
concept IsATable = requires(Table&& table) { PagedKv<float>{.table = std::forward<Table>(table)}; };
static_assert(IsATable<std::vector<std::int32_t>&> && !IsATable<std::vector<std::int32_t>>);

template <class From>
concept AreRowBegins = requires(LayerQuery q, From&& from) { q.row_begin = std::forward<From>(from); };
static_assert(AreRowBegins<std::vector<std::size_t>&> && !AreRowBegins<std::vector<std::size_t>>);
template <class From>
concept AreVisible = requires(LayerQuery q, From&& from) { q.visible = std::forward<From>(from); };
static_assert(AreVisible<std::vector<Span>&> && !AreVisible<std::vector<Span>>);
template <class From>
concept AreIds = requires(LayerQuery q, From&& from) { q.sequence_ids = std::forward<From>(from); };
static_assert(AreIds<std::vector<std::uint64_t>&> && !AreIds<std::vector<std::uint64_t>>);
template <class From>
concept AreGradients = requires(LayerGradients g, From&& from) { g.kv = std::forward<From>(from); };
static_assert(AreGradients<std::vector<KvGradient>&> && !AreGradients<std::vector<KvGradient>>);
template <class From>
concept AreWeights = requires(LightningQuery q, From&& from) { q.weights = std::forward<From>(from); };
static_assert(AreWeights<std::vector<float>&> && !AreWeights<std::vector<float>>);
template <class From>
concept AreWorkspaces = requires(Options o, From&& from) { o.workspaces = std::forward<From>(from); };
static_assert(AreWorkspaces<std::vector<Workspace>&> && !AreWorkspaces<std::vector<Workspace>>);

// An index travels as a pointer.
template <class... Indexes>
concept TravelBeside = requires(Kv kv, Indexes&&... indexes) { with_index(kv, std::forward<Indexes>(indexes)...); };
static_assert(TravelBeside<Sketch4&> && TravelBeside<const Sketch4&, PageBoxes&> && TravelBeside<const ExternalScores&>);
static_assert(!TravelBeside<Sketch4> && !TravelBeside<PageBoxes&, Sketch4> && !TravelBeside<ExternalScores>);
static_assert(!TravelBeside<const Sketch4> && !TravelBeside<int&>);

TEST(View, IsTheListItWasMadeOf) {
  std::vector<int> list = {1, 2, 3};
  View<const int> view = list;
  EXPECT_EQ(view.data(), list.data());
  EXPECT_EQ(view.size(), 3u);
  view = view.first(2);
  EXPECT_EQ(view.size(), 2u);
  view = {list.data() + 1, 2};
  EXPECT_EQ(view.front(), 2);
  view = {};
  EXPECT_TRUE(view.empty());
  const Kv kv{};
  const LayerKv<Kv> one{{&kv, 1}, 1}, same{std::span(&kv, 1), 1};
  EXPECT_EQ(one.sequences(), 1u);
  EXPECT_EQ(same.heads.data(), &kv);
}

}  // namespace
}  // namespace skim::test
