// SPDX-License-Identifier: Apache-2.0
// Which indexes the cache grows for an estimator: a choice at run time among types.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>
#include <variant>

#include <skim/core/source.h>
#include <skim/estimator/text.h>
#include <skim/index/boxes.h>
#include <skim/index/lsh.h>
#include <skim/index/means.h>
#include <skim/index/sketch.h>

#include "error.h"

namespace engine {

/// Types of indexes.
template <class... Indexes>
struct IndexSet {};

/// Those that rank positions, and all that this engine can grow. A new kind of index is one more type here.
using RankingIndex = IndexSet<skim::Sketch1, skim::Sketch4, skim::Sketch8, skim::PageBoxes, skim::PageMeans>;
using EveryIndex =
    IndexSet<skim::Sketch1, skim::Sketch4, skim::Sketch8, skim::PageBoxes, skim::PageMeans, skim::LshTables>;

/// How indexes are made.
struct IndexOptions {
  std::size_t segment = 256;  // positions that a sketch takes in at a time; a page of means is a quarter of it
  std::shared_ptr<const skim::LshPlanes> planes = nullptr;  // of LSH tables
};

/// The planes that an estimator's LSH stage asks for, of the fewest bits and tables when it has none.
inline std::shared_ptr<const skim::LshPlanes> planes_for(const skim::StageList& estimator, std::size_t d, std::uint64_t seed) {
  skim::LshTail asked{1, 2};
  for (const skim::Stage& stage : estimator.stages) {
    if (const auto* lsh = std::get_if<skim::LshTail>(&stage)) asked = *lsh;
  }
  return std::make_shared<const skim::LshPlanes>(d, asked.bits, asked.tables, seed);
}

/// A new index.
template <class I>
I make_index(const IndexOptions& options) {
  if constexpr (std::is_same_v<I, skim::LshTables>) {
    return I(options.planes);
  } else if constexpr (requires(const I& index) { index.segment(); }) {
    return I(options.segment);
  } else if constexpr (std::is_same_v<I, skim::PageMeans>) {
    return I(options.segment / 4);
  } else {
    return I();
  }
}

/// Positions that an index has taken in; the newest are in none.
template <class I>
std::size_t taken_in(const I& index) {
  if constexpr (requires { index.sketched(); }) {
    return static_cast<std::size_t>(index.sketched());
  } else if constexpr (requires { index.hashed(); }) {
    return static_cast<std::size_t>(index.hashed());
  } else if constexpr (requires { index.summarised(); }) {
    return static_cast<std::size_t>(index.summarised());
  } else {
    return index.pages() * index.page_size();
  }
}

/// Calls make(IndexSet<...>{}) with what serves `sources`: nothing, one index, or, since each set is a type of
/// attention of its own, all of them.
template <class Make, class... Indexes>
auto with_indexes_for(skim::Sources sources, const Make& make, IndexSet<Indexes...> every) {
  constexpr skim::Sources all = (0u | ... | skim::sources_bit(Indexes::kSource));
  for (std::size_t i = 0; i < static_cast<std::size_t>(skim::Source::kSources); ++i) {
    const auto source = static_cast<skim::Source>(i);
    if ((sources & ~all & skim::sources_bit(source)) != 0) fail("no index serves by=", skim::name_of(source), " here");
  }
  using Made = decltype(make(IndexSet<>{}));
  Made made{};
  const auto is_made = [&]<class I>(IndexSet<I> one) {
    if (sources != skim::sources_bit(I::kSource)) return false;
    made = make(one);
    return true;
  };
  if ((is_made(IndexSet<Indexes>{}) || ...)) return made;
  return sources == 0 ? make(IndexSet<>{}) : make(every);
}

}  // namespace engine
