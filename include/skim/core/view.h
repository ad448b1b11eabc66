// SPDX-License-Identifier: Apache-2.0
// A list in the caller's memory that a query or a KV head holds on to.
#ifndef SKIM_CORE_VIEW_H_
#define SKIM_CORE_VIEW_H_

#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <type_traits>

#include "skim/core/config.h"

namespace skim::inline SKIM_ABI {

/// A std::span that refuses temporaries: a span of const values takes `View<const int> v = std::vector{1, 2}` without a
/// word, and points at nothing in the next line. It is made of whatever a span is made of that stays: an array or
/// container with a name, another span, a pointer and a count.
template <class T>
class View : public std::span<T> {
 public:
  constexpr View() = default;
  constexpr View(T* first, std::size_t count) : std::span<T>(first, count) {}

  template <class Range>
    requires(!std::same_as<std::remove_cvref_t<Range>, View> && std::convertible_to<Range, std::span<T>> &&
             (std::is_lvalue_reference_v<Range> || std::ranges::borrowed_range<Range>))
  constexpr View(Range&& range) : std::span<T>(range) {}
};

}  // namespace skim::inline SKIM_ABI

template <class T>
inline constexpr bool std::ranges::enable_borrowed_range<skim::View<T>> = true;

#endif  // SKIM_CORE_VIEW_H_
