// SPDX-License-Identifier: Apache-2.0
// Attention of any shape over any numbers. One storage type a source file, since each takes long to compile.
//
// A KV head is laid out twice, with strides and in pages, and must give the same bits by: the fused call, the three
// verbs, a workspace that has just answered another query, pages. What is selected is compared with the reference in
// double, as far as its numbers are tame. A whole layer is compared with its rows, on any number of threads. What cannot
// be asked is refused before anything is written.
#ifndef SKIM_TESTS_FUZZ_ATTEND_ON_H_
#define SKIM_TESTS_FUZZ_ATTEND_ON_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz/head.h"
#include "fuzz/input.h"
#include "skim/skim.h"
#include "support/close.h"
#include "support/guarded.h"
#include "support/layouts.h"
#include "support/problem.h"
#include "support/threads.h"

namespace skim::fuzz {

/// Calls attend, or says why it did not want to.
template <class Call>
std::optional<std::string> refusal(const Call& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    const std::string what = error.what();
    expect(what.starts_with("skim::"), "an error without a name: " + what);
    expect(what.find("of the selection") == std::string::npos, "an estimator has selected what nobody may: " + what);
    return what;
  }
  return std::nullopt;
}

// ---- a head -----------------------------------------------------------------------------------------------------

/// One KV head with its indexes, in strides and in pages.
template <class K>
struct Head {
  test::Problem<K> p;
  test::Matrix keys, values;  // as numbers
  Grown grown;
  std::vector<float> scores;  // [rows, n]: of the newest `rows` positions
  ExternalScores external;
  test::Strided<K, K> strided;
  test::InPages<K, K> paged;

  Head(Input& in, const test::Shape& shape, std::size_t rows, const Pieces& pieces,
       const std::shared_ptr<const LshPlanes>& planes)
      : p(problem_from<K>(in, shape)),
        keys(test::numbers_of(p.keys, shape.n, shape.d)),
        values(test::numbers_of(p.values, shape.n, shape.d_v)),
        grown(pieces, planes),
        strided(p, in.between(0, 5), in.between(0, 5)),
        paged(p, in.one_of<std::size_t>({1, 3, 16, 64}), in.flag() ? test::Adjacency::kApart : test::Adjacency::kAdjacent) {
    grown.each([&](auto& index) { append(index, p.kv()); });
    Noise noise(in.byte());
    scores.resize(rows * shape.n);
    for (float& x : scores) x = noise();
    poke(in, scores);
    external = {{scores.data(), rows, shape.n}, static_cast<Position>(shape.n) - static_cast<Position>(rows)};
  }
  Head(Head&&) = delete;  // views point into it

  auto in_strides() const { return grown.beside(strided.kv(), external); }
  auto in_pages() const { return grown.beside(paged.kv(), external); }
};

// ---- right ------------------------------------------------------------------------------------------------------

inline bool has_nan(const double* row, std::size_t count) {
  for (std::size_t c = 0; c < count; ++c) {
    if (std::isnan(row[c])) return true;
  }
  return false;
}
/// Whether float makes of sums of these what double makes of them: no sum overflows. Infinities and NaN are alike in both;
/// not in int8, where they are a scale's.
template <class K>
bool is_tame(const double* row, std::size_t count) {
  for (std::size_t c = 0; c < count; ++c) {
    if (std::isfinite(row[c]) ? std::abs(row[c]) > 1e15 : std::is_same_v<K, I8>) return false;
  }
  return true;
}

/// A finite number that no float holds, as scale times code of int8 may be: it counts as the largest float or as infinite.
inline bool is_beyond_float(double x) {
  return std::isfinite(x) && std::abs(x) > double{std::numeric_limits<float>::max()};
}

/// One row of a result against the reference over what was selected, by the rules of core/validate.h:
///   a NaN in q                 NaN, where anything is visible
///   keys and q tame            the reference
///   values however large       finite where all of a column are; not where one is not, if all logits are finite
template <class K>
void expect_right(const StateView& state, const Head<K>& head, const Query& q, std::size_t h,
                  const std::vector<test::Weighted>& list, const std::string& what) {
  const test::Problem<K>& p = head.p;
  const test::Matrix &keys = head.keys, &values = head.values;
  const std::string where = what + ", head " + std::to_string(h);
  const float* out = state.out.row(h);
  test::ReferenceQuery row = test::reference_query(q, h, p.shape.n);
  if (has_nan(row.row.data(), p.shape.d)) {
    if (q.resolved(static_cast<Position>(p.shape.n)).visible.size() == 0) return;
    expect(std::isnan(state.lse_of(h)), where + ": a NaN in q, and lse is a number");
    for (std::size_t c = 0; c < p.shape.d_v; ++c) expect(std::isnan(out[c]), where + ": a NaN in q, and out is a number");
    return;
  }
  if (!is_tame<K>(row.row.data(), p.shape.d)) return;
  std::vector<bool> finite(p.shape.d_v, true), beyond(p.shape.d_v, false);
  for (const test::Weighted& w : list) {
    const auto i = static_cast<std::size_t>(w.position);
    if (!is_tame<K>(keys.numbers.data() + i * p.shape.d, p.shape.d)) return;
    for (std::size_t c = 0; c < p.shape.d_v; ++c) {
      finite[c] = finite[c] && std::isfinite(values(i, c));
      beyond[c] = beyond[c] || is_beyond_float(values(i, c));
    }
  }
  if constexpr (std::is_same_v<K, I8>) test::round_row(row.row);
  const std::vector<double> logits = test::reference_logits(row, keys);
  test::ReferenceState reference = test::reference_attention(logits, values, list);
  if (q.sink_logits) test::add_sink(reference, double{q.sink_logits[h]});
  test::Bound bound = test::bound_of<float>(row, keys, list, reference);
  if constexpr (std::is_same_v<K, I8>) {
    test::add_rounding_of_weights(bound, p.values, p.shape.d_v, logits, list, reference.lse);
  }
  constexpr double kDenormal = 1e-37;  // below, floats have fewer bits
  expect(test::is_close(double{state.lse_of(h)}, reference.lse, bound.lse + kDenormal),
         where + ": lse is " + std::to_string(state.lse_of(h)) + " but should be " + std::to_string(reference.lse));
  for (std::size_t c = 0; c < p.shape.d_v; ++c) {
    if (beyond[c]) continue;
    if (!finite[c]) {
      if (std::isfinite(reference.lse)) expect(!std::isfinite(out[c]), where + ": a value that is not finite is gone");
      continue;
    }
    expect(test::is_close(double{out[c]}, reference.out[c], bound.out[c] + kDenormal),
           where + ": out[" + std::to_string(c) + "] is " + std::to_string(out[c]) + " but should be " +
               std::to_string(reference.out[c]) + " +- " + std::to_string(bound.out[c]));
  }
}

/// Selected anew, the same positions; and every head of `state` right.
template <class K, class Kv>
void expect_right(const StateView& state, const Head<K>& head, const StageList& e, const Query& q, const Kv& kv,
                  const std::string& what) {
  for (std::size_t h = 0; h < q.heads(); ++h) {
    const Selection selection = q.grouping == Grouping::kPerHead ? select(e, q.head(h), kv) : select(e, q, kv);
    if (!selection.summaries().empty()) continue;  // rows of another table count too
    expect_right(state, head, q, h, test::list_of(selection), what);
  }
}

// ---- one group --------------------------------------------------------------------------------------------------

struct Output {
  test::Guarded<float> out, lse;
  std::size_t heads, cols;

  Output(std::size_t heads_, std::size_t cols_) : out(heads_ * cols_), lse(heads_), heads(heads_), cols(cols_) {}

  StateView view() { return {{out.data(), heads, cols}, lse.data()}; }
  void expect_written(const std::string& what) const {
    expect(out.all_written(), what);
    expect(lse.all_written(), what);
  }
};

inline void expect_same(const Output& a, const Output& b, const std::string& what) {
  expect(test::same_bits(a.out.data(), b.out.data(), a.out.size()), what + ": out");
  expect(test::same_bits(a.lse.data(), b.lse.data(), a.lse.size()), what + ": lse");
}

template <class K>
void try_group(Input& in, const StageList& e, const std::string& text, const test::Shape& shape) {
  const auto planes = planes_of(shape.d);
  const std::size_t rows = shape.n == 0 ? 0 : 1;
  Head<K> head(in, shape, rows, pieces_from(in), planes);
  QueryParts parts;
  Query q = query_from(in, {head.p.q.data(), shape.group, shape.d}, shape.n, parts);
  // The caller's scores are of one query position.
  if (rows != 0) head.external.first_query = q.position == kNewest ? static_cast<Position>(shape.n) - 1 : q.position;
  // The two layouts differ in how rows are found, not in what is made of them: numbers of 16 bits, which take as long to
  // compile as others, lie in pages only.
  const auto kv = [&] {
    if constexpr (sizeof(K) == 2) {
      return head.in_pages();
    } else {
      return head.in_strides();
    }
  }();
  const auto paged = head.in_pages();

  Workspace ws, used;
  Output fused(shape.group, shape.d_v), again(shape.group, shape.d_v), in_pages(shape.group, shape.d_v);
  attend(e, q, kv, fused.view(), ws);
  fused.expect_written(text);

  // A workspace that knows another query of the same rows.
  Query other = q;
  other.logit.scale = 0.01;
  other.visible = {0, static_cast<Position>(shape.n / 2)};
  attend(e, other, paged, again.view(), used);
  attend(e, q, kv, again.view(), used);
  expect_same(fused, again, text + ": a used workspace");
  attend(e, q, paged, in_pages.view(), used);
  expect_same(fused, in_pages, text + ": pages");

  if (q.grouping == Grouping::kPerGroup) {
    attend(select(e, q, kv), q, kv, again.view(), used);
    expect_same(fused, again, text + ": the three verbs");
  }
  expect_right(fused.view(), head, e, q, kv, text);

  const Query resolved = q.resolved(kv.size());
  Workspace unused;
  const auto known = logits(resolved, kv, used), fresh = logits(resolved, kv, unused);
  for (std::size_t h = 0; h < q.heads(); ++h) {
    expect(test::same_bits(known.of_head(h), fresh.of_head(h),
                           static_cast<std::size_t>(resolved.visible.size())),
           text + ": logits with a used workspace");
  }
}

// ---- a layer ----------------------------------------------------------------------------------------------------

template <class K>
void try_layer(Input& in, const StageList& e, const std::string& text, const test::Shape& shape) {
  const std::size_t kv_heads = in.between(1, 2), sequences = in.between(1, 3);
  const std::size_t q_heads = kv_heads * shape.group;
  const auto planes = planes_of(shape.d);
  const Pieces pieces = pieces_from(in);
  using View = decltype(std::declval<const Head<K>&>().in_pages());
  std::vector<std::unique_ptr<Head<K>>> heads;
  std::vector<View> views;
  std::vector<std::size_t> begin{0};
  for (std::size_t s = 0; s < sequences; ++s) {
    test::Shape one = shape;
    one.n = s == 0 ? shape.n : positions_from(in, 120);
    one.group = 1;
    // More rows than positions are refused with a reason of their own.
    const std::size_t rows = std::min(one.n, in.flag() ? in.between(0, 3) : in.between(0, 20));
    begin.push_back(begin.back() + rows);
    for (std::size_t h = 0; h < kv_heads; ++h) {
      heads.push_back(std::make_unique<Head<K>>(in, one, rows, pieces, planes));
      views.push_back(heads.back()->in_pages());
    }
  }
  const std::size_t rows = begin.back();
  const std::vector<float> q = rows_from<float>(in, rows * q_heads, shape.d);

  LayerQuery query;
  query.rows = {q.data(), rows, q_heads, shape.d};
  query.row_begin = begin;
  query.causal = !in.rarely(4);
  query.grouping = in.flag() ? Grouping::kPerGroup : Grouping::kPerHead;
  query.stream = {in.byte(), 1, 0, 0};
  std::vector<Span> visible;
  if (in.rarely(4)) {
    for (std::size_t r = 0; r < rows; ++r) {
      visible.push_back({static_cast<Position>(in.between(0, 20)), static_cast<Position>(in.between(0, 600))});
    }
    query.visible = visible;
  }

  Options options;
  options.row_invariant = in.rarely(4);
  options.strict = in.flag();
  const auto call = [&](const LayerQuery& part, std::span<const View> of, std::size_t threads) {
    std::vector<Workspace> workspaces(threads);
    options.executor = threads == 1 ? Executor{} : test::backwards(threads);
    options.workspaces = workspaces;
    const HeadRows<const float>& rows_of = part.rows;
    Output output(rows_of.rows * rows_of.heads, shape.d_v);
    attend(e, part, LayerKv<View>{of, rows_of.heads / shape.group},
           LayerState{{output.out.data(), rows_of.rows, rows_of.heads, shape.d_v}, output.lse.data()}, options);
    return output;
  };
  Output one = call(query, views, 1);
  one.expect_written(text + ", a layer");
  expect_same(one, call(query, views, in.between(2, 5)), text + ", a layer on threads");

  // One KV head of one sequence in a call of its own.
  {
    const std::size_t s = in.between(0, sequences - 1), h = in.between(0, kv_heads - 1), first = h * shape.group;
    const std::uint64_t id = s;
    LayerQuery part = query;
    part.rows = {q.data() + (begin[s] * q_heads + first) * shape.d, begin[s + 1] - begin[s], shape.group, shape.d,
                 query.rows.row_stride, query.rows.head_stride};
    part.row_begin = {};
    part.sequence_ids = {&id, 1};
    part.first_head = first;
    if (!visible.empty()) part.visible = std::span<const Span>(visible).subspan(begin[s], part.rows.rows);
    const Output alone = call(part, {&views[s * kv_heads + h], 1}, 1);
    for (std::size_t r = 0; r < part.rows.rows; ++r) {
      const std::size_t at = ((begin[s] + r) * q_heads + first) * shape.d_v, count = shape.group * shape.d_v;
      expect(test::same_bits(one.out.data() + at, alone.out.data() + r * count, count),
             text + ": a head of a sequence alone, row " + std::to_string(r));
    }
  }

  // The reference is slow: a row of each sequence is enough.
  for (std::size_t s = 0; s < sequences; ++s) {
    if (begin[s] == begin[s + 1]) continue;
    const std::size_t r = begin[s] + in.between(0, begin[s + 1] - begin[s] - 1);
    for (std::size_t h = 0; h < kv_heads; ++h) {
      const Head<K>& head = *heads[s * kv_heads + h];
      const std::size_t at = r * q_heads + h * shape.group;
      Query row;
      row.rows = {q.data() + at * shape.d, shape.group, shape.d};
      row.position = static_cast<Position>(head.p.shape.n) - static_cast<Position>(begin[s + 1] - r);
      row.causal = query.causal;
      if (!visible.empty()) row.visible = visible[r];
      row.grouping = query.grouping;
      row.stream = {query.stream.seed, 1, static_cast<std::uint32_t>(h), s};
      const StateView state{{one.out.data() + at * shape.d_v, shape.group, shape.d_v}, one.lse.data() + at};
      const std::string what = text + ", row " + std::to_string(r);
      expect_right(state, head, e, row, views[s * kv_heads + h], what);
      if (!options.row_invariant) continue;
      const State alone = attend(e, row, views[s * kv_heads + h]);
      expect(test::same_bits(alone.out(), state.out.data, shape.group * shape.d_v), what + " alone");
    }
  }
}

// ---- wrong ------------------------------------------------------------------------------------------------------

/// One thing that does not fit: refused, and nothing written.
template <class K>
void try_wrong(Input& in, const StageList& e, const std::string& text, test::Shape shape) {
  shape.n = std::max<std::size_t>(shape.n, 3);
  const auto planes = planes_of(shape.d);
  Head<K> head(in, shape, 1, pieces_from(in), planes);
  Query q;
  q.rows = {head.p.q.data(), shape.group, shape.d};
  auto kv = head.in_pages();
  std::vector<std::int32_t> table = head.paged.table();
  kv.base.table = table;
  Output output(shape.group, shape.d_v);
  StateView state = output.view();
  const std::size_t entry = in.between(0, table.size() - 1);
  std::vector<float> slopes(shape.group, 0.5f);
  switch (in.between(0, 22)) {
    case 0: q.rows.cols += 1; break;
    case 1: state.out.cols += 1; break;
    case 2: state.out.rows += 1; break;
    case 3: state.lse = nullptr; break;
    case 4: q.position = -1 - static_cast<Position>(in.byte()); break;
    case 5: table[entry] = -1 - in.byte(); break;
    case 6: table[entry] = static_cast<std::int32_t>(kv.base.pool_pages) + in.byte(); break;
    case 7:
      if (table.size() == 1) return;
      table[entry] = table[(entry + 1) % table.size()];
      break;
    case 8: kv.base.n += 1; break;  // the indexes know of fewer
    case 9: kv.base.page_size = 0; break;
    case 10: kv.base.table = kv.base.table.first(table.size() - 1); break;
    case 11: kv.base.keys.data = nullptr; break;
    case 12: q.logit.soft_cap = in.one_of<double>({-1, -INFINITY, NAN, INFINITY, 1e39, 1e-46}); break;
    case 13: q.logit.scale = in.one_of<double>({-INFINITY, NAN, INFINITY, 0, 1e39, -1e39}); break;
    case 14: state.out.data = head.p.q.data(); break;
    case 15: q.rows.rows = 0; break;
    case 16: q.rows.data = nullptr; break;
    case 17: kv.base.keys.page_stride = PTRDIFF_MAX / 2; break;
    case 18:
      if (table.size() == 1) return;
      kv.base.keys.page_stride = 0;
      break;
    case 19:
      slopes[in.between(0, shape.group - 1)] = in.one_of<float>({NAN, INFINITY, -INFINITY});
      q.logit.alibi_slopes = slopes.data();
      break;
    case 20: state.lse = state.out.data + in.between(0, shape.group * shape.d_v - 1); break;
    case 21: state.lse = head.p.q.data(); break;
    case 22: kv.base.n -= 1; break;  // the indexes know of more
  }
  Workspace ws;
  const std::vector<float> before = head.p.q;
  const auto why = refusal([&] { attend(e, q, kv, state, ws); });
  expect(why.has_value(), text + ": something that does not fit is not refused");
  expect(output.out.untouched(), text + ": refused, but out was written");
  expect(output.lse.untouched(), text + ": refused, but lse was written");
  expect(test::same_bits(before.data(), head.p.q.data(), before.size()), text + ": refused, but q was written");
}

/// One input against one storage type.
template <class K>
void attend_on(Input& in) {
  StageList e;
  const std::string text = estimator_from(in);
  try {
    e = parse(text);
  } catch (const std::invalid_argument&) {
    found("not an estimator: " + text);
  }
  test::Shape shape;
  shape.group = in.between(1, 5);
  shape.d = in.one_of<std::size_t>({8, 16, 1, 3, 24, 33, 64});
  shape.d_v = in.one_of<std::size_t>({8, 16, 1, 5, 24, 40});
  shape.n = positions_from(in, 1100);
  switch (in.between(0, 3)) {
    case 0:
    case 1: return try_group<K>(in, e, text, shape);
    case 2: return try_layer<K>(in, e, text, shape);
    case 3: return try_wrong<K>(in, e, text, shape);
  }
}

void attend_on_f32(Input& in);
void attend_on_f16(Input& in);
void attend_on_bf16(Input& in);
void attend_on_int8(Input& in);

}  // namespace skim::fuzz

#endif  // SKIM_TESTS_FUZZ_ATTEND_ON_H_
