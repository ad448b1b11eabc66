// SPDX-License-Identifier: Apache-2.0
// Which indexes the cache grows for an estimator: a choice at run time among types.
#pragma once

#include <cstddef>
#include <type_traits>

#include <skim/core/source.h>
#include <skim/index/boxes.h>
#include <skim/index/means.h>
#include <skim/index/sketch.h>

#include "error.h"

namespace engine {

/// Types of indexes.
template <class... Indexes>
struct IndexSet {};

/// All that this engine can grow. A new kind of index is one more type here.
using EveryIndex = IndexSet<skim::Sketch1, skim::Sketch4, skim::Sketch8, skim::PageBoxes, skim::PageMeans>;

/// A new index. segment: positions that a sketch takes in at a time; a page of means is a quarter of it.
template <class I>
I make_index(std::size_t segment) {
  if constexpr (requires(const I& index) { index.segment(); }) {
    return I(segment);
  } else if constexpr (std::is_same_v<I, skim::PageMeans>) {
    return I(segment / 4);
  } else {
    return I();
  }
}

/// Positions that an index has taken in; the newest are in none.
template <class I>
std::size_t taken_in(const I& index) {
  if constexpr (requires { index.sketched(); }) {
    return static_cast<std::size_t>(index.sketched());
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
