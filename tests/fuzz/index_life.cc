// SPDX-License-Identifier: Apache-2.0
// Indexes that grow, shrink and answer in any order hold what fresh ones hold, bit for bit; and whoever asks them gets
// the same answers. What cannot be is refused and changes nothing.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "fuzz/head.h"
#include "fuzz/input.h"
#include "skim/skim.h"
#include "support/close.h"
#include "support/indexes.h"
#include "support/problem.h"

namespace skim::fuzz {
namespace {

using K = BF16;

void expect_same_indexes(Grown& a, Grown& b) {
  using test::same_buffer;
  expect(test::same_sketch(a.one, b.one), "1-bit sketch");
  expect(test::same_sketch(a.four, b.four), "4-bit sketch");
  expect(test::same_sketch(a.eight, b.eight), "8-bit sketch");
  expect(test::same_tables(a.tables, b.tables), "LSH tables");
  expect(a.boxes.size() == b.boxes.size() && a.means.size() == b.means.size(), "other sizes");
  expect(same_buffer("boxes", BoxAccess::boxes(a.boxes), BoxAccess::boxes(b.boxes)), "boxes");
  expect(same_buffer("reach", BoxAccess::reach(a.boxes), BoxAccess::reach(b.boxes)), "boxes");
  expect(same_buffer("keys", MeansAccess::keys(a.means), MeansAccess::keys(b.means)), "means");
  expect(same_buffer("values", MeansAccess::values(a.means), MeansAccess::values(b.means)), "means");
  expect(same_buffer("left out", a.means.left_out(), b.means.left_out()), "means");
}

/// Any bytes as new keys and values of the positions from `first` on: what speculation and beam search do.
void overwrite(test::Problem<K>& p, std::size_t first, std::uint8_t seed) {
  Noise noise(seed);
  for (std::size_t i = first * p.shape.d; i < p.keys.size(); ++i) p.keys[i] = test::stored<K>(double{noise()});
  for (std::size_t i = first * p.shape.d_v; i < p.values.size(); ++i) p.values[i] = test::stored<K>(double{noise()});
}

/// Room for n positions of `p`, whatever kind of index it is.
template <class Index>
void make_room(Index& index, std::size_t n, const test::Problem<K>& p) {
  const auto positions = static_cast<Position>(n);
  if constexpr (std::is_same_v<Index, PageMeans>) {
    reserve(index, positions, p.shape.d, p.shape.d_v);
  } else if constexpr (std::is_same_v<Index, LshTables>) {
    reserve(index, positions);
  } else {
    reserve(index, positions, p.shape.d);
  }
}

template <class Call>
void expect_refused(const Call& call, const std::string& what) {
  try {
    call();
  } catch (const std::invalid_argument&) {
    return;
  }
  found(what + " is not refused");
}

void run(Input& in) {
  test::Shape shape;
  shape.group = in.between(1, 3);
  shape.d = in.one_of<std::size_t>({8, 16, 5, 40});
  shape.d_v = in.one_of<std::size_t>({4, 8, 3});
  shape.n = in.one_of<std::size_t>({200, 400, 400, 1150});  // with LSH parts, and without
  auto p = problem_from<K>(in, shape);
  const Pieces pieces = pieces_from(in);
  const auto planes = planes_of(shape.d);
  Grown grown(pieces, planes);
  std::size_t n = 0;
  Workspace ws;

  for (int steps = 0; steps < 12 && !in.empty(); ++steps) {
    switch (in.between(0, 8)) {
      case 0:
      case 1: {  // one by one
        for (std::size_t more = std::min(in.between(1, 20), shape.n - n); more > 0; --more) {
          ++n;
          grown.each([&](auto& index) { append(index, first_of(p, n)); });
        }
        break;
      }
      case 2:
      case 3: {  // in bulk
        n = std::min(shape.n, n + in.between(0, 300));
        grown.each([&](auto& index) { append(index, first_of(p, n)); });
        break;
      }
      case 4: {  // cut back, and other keys from there on
        const std::size_t to = in.between(0, n);
        grown.each([&](auto& index) { truncate(index, first_of(p, n), static_cast<Position>(to)); });
        n = to;
        if (in.flag()) overwrite(p, n, in.byte());
        break;
      }
      case 5: {  // other keys, taken in again from there
        const std::size_t from = in.between(0, n);
        overwrite(p, from, in.byte());
        n = std::min(shape.n, from + in.between(0, 300));
        grown.each([&](auto& index) { append(index, first_of(p, n), static_cast<Position>(from)); });
        break;
      }
      case 6: {  // what cannot be
        const auto beyond = static_cast<Position>(n + 1 + in.between(0, 9));
        grown.each([&](auto& index) {
          expect_refused([&] { truncate(index, first_of(p, n), beyond); }, "cutting back to more");
          expect_refused([&] { append(index, first_of(p, n), beyond); }, "a gap");
          expect_refused([&] { truncate(index, first_of(p, n), -1); }, "cutting back to fewer than none");
          if (n == 0) return;
          ContiguousKv<K> narrow = first_of(p, n);
          narrow.keys.cols -= 1;
          expect_refused([&] { append(index, narrow); }, "keys of other columns");
        });
        break;
      }
      case 7: {  // memory beforehand
        const std::size_t room = in.between(0, shape.n);
        grown.each([&](auto& index) { make_room(index, room, p); });
        break;
      }
      case 8: {  // a copy goes on in its place
        const Grown copy = grown;
        grown = copy;
        break;
      }
    }

    Grown fresh(pieces, planes);
    fresh.each([&](auto& index) { append(index, first_of(p, n)); });
    expect_same_indexes(grown, fresh);
    grown.each([&](auto& index) { verify(index, first_of(p, n)); });

    const std::string text = estimator_from(in);
    const StageList e = parse(text);
    if ((sources(e) & sources_bit(Source::kExternal)) != 0) continue;
    QueryParts parts;
    const Query q = query_from(in, {p.q.data(), shape.group, shape.d}, n, parts);
    const ExternalScores none{{nullptr, 0, n}, 0};
    const auto kv = first_of(p, n);
    State a(shape.group, shape.d_v), b(shape.group, shape.d_v);
    Workspace unused;
    attend(e, q, grown.beside(kv, none), a.view(), ws);
    attend(e, q, fresh.beside(kv, none), b.view(), unused);
    expect(test::same_bits(a.out(), b.out(), shape.group * shape.d_v), text);
  }
}

}  // namespace
}  // namespace skim::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  skim::fuzz::Input in(data, size);
  skim::fuzz::run(in);
  return 0;
}
