#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Would the tests notice? Makes one mistake at a time in a copy of include/, compiles the test that should notice
# against it and wants that test to fail. By hand, once per release:
#
#   bash tests/mutants/run.sh            all of them; when all are killed, the table in README.md is written anew
#   bash tests/mutants/run.sh merge tau  those with one of these words in their name
#   bash tests/mutants/run.sh --fit      only whether each has its place; a ctest entry, so that the list stays true
#
# A mistake must fit exactly one place, or it is an error: when the code has moved, move the mistake. CXX chooses the
# compiler, JOBS how many run at once.
set -u
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
jobs=${JOBS:-$(nproc)}
names=() files=() tests=() olds=() news=()

# mutant <name> <header> <test file>[:<gtest filter>], then on stdin what is there, a line of ===, what to put there.
mutant() {
  local text new
  text=$(cat)$'\n'
  new=${text#*$'\n===\n'}
  names+=("$1") files+=("$2") tests+=("$3") olds+=("${text%%$'\n===\n'*}") news+=("${new%$'\n'}")
}

# ---- layouts, masks and heads ------------------------------------------------------------------------------------

mutant "swapped strides" core/kv.h attend/strides_test.cc <<'EOF'
  const V* value(Position i) const { return values.row(static_cast<std::size_t>(i)); }
===
  const V* value(Position i) const { return values.data + i * keys.stride; }
EOF
mutant "paged row off by one" kernel/block-inl.h kernel/block_test.cc <<'EOF'
    if (++row == kv.page_size) {
===
    if (++row > kv.page_size) {
EOF
mutant "a page twice in a table is let through" core/validate.h known/bad_inputs_test.cc <<'EOF'
    if (word & bit) fail(
===
    if (word & bit & 1) fail(
EOF
mutant "causal off by one" core/query.h attend/visible_test.cc <<'EOF'
q.visible.last = q.position + 1;
===
q.visible.last = q.position;
EOF
mutant "prefill sees one key too many" kernel/prefill-inl.h kernel/prefill_test.cc <<'EOF'
        const auto seen = hn::And(hn::Ge(at, hn::LoadU(tag, first)), hn::Lt(at, hn::LoadU(tag, last)));
===
        const auto seen = hn::And(hn::Ge(at, hn::LoadU(tag, first)), hn::Le(at, hn::LoadU(tag, last)));
EOF
mutant "GQA mapping by modulo" attend/layer_view-inl.h attend/gqa_test.cc <<'EOF'
    const Kv& kv = kv_.heads[sequence * kv_.kv_heads + kv_head];
===
    const Kv& kv = kv_.heads[sequence * kv_.kv_heads + first_head % kv_.kv_heads];
EOF
mutant "bf16 values keep their neighbour's bits" kernel/simd-inl.h kernel/simd_test.cc <<'EOF'
hn::And(pairs, hn::Set(du32, 0xFFFF0000u))
===
hn::And(pairs, hn::Set(du32, 0xFFFFFFFFu))
EOF
mutant "16-bit storage rounds ties up" core/storage.h core/storage_test.cc <<'EOF'
  const std::uint32_t half = (1u << (shift - 1)) - 1 + ((bits >> shift) & 1u);
===
  const std::uint32_t half = (1u << (shift - 1));
EOF

mutant "row offsets in 32 bits" core/rows.h attend/far_offsets_test.cc <<'EOF'
data + static_cast<std::ptrdiff_t>(r) * stride;
===
data + static_cast<int>(r) * static_cast<int>(stride);
EOF
mutant "scratch is new on every call" core/workspace.h core/workspace_test.cc <<'EOF'
    memory.clear();  // growing copies what a buffer holds, and nobody wants it
===
    memory = Buffer<std::byte>();
EOF
mutant "an error in a thread is lost" attend/run_tasks-inl.h core/executor_test.cc <<'EOF'
  if (shared.error) std::rethrow_exception(shared.error);
===
EOF

# ---- compositions, batches, and what is known of a query ----------------------------------------------------------

mutant "a list that ends in a tail may be followed" estimator/stage_list.h laws/composition_test.cc <<'EOF'
  bool stands_for_rest() const { return std::any_of(
===
  bool stands_for_rest() const { return !std::any_of(
EOF
mutant "a stack does not look at the order" estimator/stack.h laws/composition_test.cc <<'EOF'
          check_order("Stack", sizeof...(Stages), [&]
===
          check_order("Stack", 1, [&]
EOF
mutant "logits are those of any query of that KV head" kernel/score-inl.h laws/used_workspace_test.cc <<'EOF'
ws.asked.is_of(&q, &plain(kv)) ? ws.asked.logits : nullptr;
===
ws.asked.kv == &plain(kv) ? ws.asked.logits : nullptr;
EOF
mutant "a workspace may be lent twice" kernel/score-inl.h laws/used_workspace_test.cc <<'EOF'
    if (ws.asked.query != nullptr) {
===
    if (ws.asked.query == &q) {
EOF
mutant "the first sequence chooses the kernel" attend/layer_view-inl.h laws/batch_test.cc <<'EOF'
    const RowRange rows = rows_of(sequence);
    return rows.end - rows.begin >= kFewestRowsAtOnce;
===
    const RowRange rows = rows_of(sequence * 0);
    return rows.end - rows.begin >= kFewestRowsAtOnce;
EOF
mutant "split heads draw as the first ones" attend/layer_view-inl.h laws/batch_test.cc <<'EOF'
query_.first_head / group() + kv_head);
===
kv_head);
EOF

# ---- logits --------------------------------------------------------------------------------------------------------

mutant "scale applied twice" kernel/score-inl.h attend/dense_test.cc <<'EOF'
      auto x = hn::Mul(hn::Load(tag, row + t), scale);
===
      auto x = hn::Mul(hn::Mul(hn::Load(tag, row + t), scale), scale);
EOF
mutant "soft-cap before scale" kernel/score-inl.h attend/logit_rule_test.cc <<'EOF'
      auto x = hn::Mul(hn::Load(tag, row + t), scale);
      if (cap > 0) x = hn::Mul(hn::Set(tag, cap), hn::Tanh(tag, hn::Div(x, hn::Set(tag, cap))));
===
      auto x = hn::Load(tag, row + t);
      if (cap > 0) x = hn::Mul(hn::Set(tag, cap), hn::Tanh(tag, hn::Div(x, hn::Set(tag, cap))));
      x = hn::Mul(x, scale);
EOF
mutant "ALiBi with the wrong sign" kernel/score-inl.h attend/logit_rule_test.cc <<'EOF'
hn::NegMulAdd(slope, hn::Load(tag, distance + t)
===
hn::MulAdd(slope, hn::Load(tag, distance + t)
EOF
mutant "ALiBi counts from one" kernel/score-inl.h attend/logit_rule_test.cc <<'EOF'
static_cast<Real>(std::abs(q.position - positions[t]));
===
static_cast<Real>(std::abs(q.position - positions[t]) + 1);
EOF
mutant "a coefficient of exp rounded" kernel/simd-inl.h kernel/simd_test.cc <<'EOF'
0.4999937117099762f
===
0.5f
EOF

# ---- softmax and merge -----------------------------------------------------------------------------------------------

mutant "dropped rescale" kernel/accumulate-inl.h attend/dense_test.cc <<'EOF'
  return rescale;
===
  return 1;
EOF
mutant "tail of a block not padded with -inf" kernel/accumulate-inl.h attend/dense_test.cc <<'EOF'
      for (std::size_t t = b.count; t < kBlock; ++t) s[t] = -kInfinity<Real>;
===
EOF
mutant "base-2 lse" kernel/accumulate-inl.h known/lse_test.cc <<'EOF'
p.max[h] + std::log(sum);
===
p.max[h] + std::log2(sum);
EOF
mutant "chunks merged with swapped factors" kernel/accumulate-inl.h kernel/accumulate_test.cc <<'EOF'
    const auto k = hn::Set(tag, keep), a = hn::Set(tag, add);
===
    const auto k = hn::Set(tag, add), a = hn::Set(tag, keep);
EOF
mutant "merge without max" kernel/merge-inl.h kernel/merge_test.cc <<'EOF'
  const Real share = std::exp(small - large);
===
  const Real share = std::exp(small) / std::exp(large);
EOF
mutant "split chunks merged from the right" attend/split-inl.h known/needs_test.cc <<'EOF'
    merge_partial(total, Partial<Real>::at(memory + i * size, heads, padded), heads, padded);
===
    merge_partial(total, Partial<Real>::at(memory + (count - 1 - i) * size, heads, padded), heads, padded);
EOF
mutant "the empty state merged by arithmetic" kernel/merge-inl.h known/needs_test.cc <<'EOF'
  if (other_lse == kEmpty) return;
  if (lse == kEmpty) {
===
  if (false) {
EOF
mutant "merging nothing turns -0 into +0" kernel/merge-inl.h laws/merge_test.cc <<'EOF'
  if (other_lse == kEmpty) return;
===
EOF
mutant "blocks begin where a span begins" kernel/chunk-inl.h laws/canonical_bits_test.cc <<'EOF'
    const Position last = std::min(boundary, span_.last);
===
    const Position last = std::min(at_ + 0 * boundary + static_cast<Position>(kBlock), span_.last);
EOF
mutant "several infinite logits have a limit" kernel/accumulate-inl.h attend/bad_data_test.cc <<'EOF'
    if (p.max[h] == kInfinity<Real> && sum != 1) sum
===
    if (p.max[h] == kInfinity<Real> && sum == 0) sum
EOF
mutant "sink logit forgets to shrink the output" kernel/merge-inl.h attend/sink_logit_test.cc <<'EOF'
out[c] *= share / total;
===
out[c] *= 1 / total;
EOF

# ---- selection -------------------------------------------------------------------------------------------------------

mutant "ties of top-k to the higher position" kernel/select-inl.h kernel/select_test.cc <<'EOF'
      --ties;
      result.least_rank = ranks[i];
      keep = 1;
    }
    ranks[result.count] = ranks[i];
    result.count += keep;
  }
===
      --ties;
      keep = 1;
    }
    ranks[result.count] = ranks[i];
    result.count += keep;
  }
  for (std::size_t i = kept; i-- > 0;) {
    if (values[i] == result.least) { ranks[result.count - 1] = result.least_rank = i; break; }
  }
EOF
mutant "top-k threshold from a sample without a second look" kernel/select-inl.h kernel/select_test.cc <<'EOF'
  if (kept < k) {
    result.least = kth_largest(x, n, k, scratch);
===
  if (kept == 0) {
    result.least = kth_largest(x, n, k, scratch);
EOF
mutant "bisection that keeps the wrong half" kernel/select-inl.h kernel/select_test.cc <<'EOF'
    if (count >= k) {
===
    if (count > k) {
EOF
mutant "ties with a bracket count as above it" kernel/select-inl.h kernel/select_test.cc <<'EOF'
  Real* at = scratch + (k - kept.above - 1);
===
  Real* at = scratch + (k - from_high - 1);
EOF
mutant "products decide between near ties" kernel/preselect-inl.h kernel/preselect_test.cc <<'EOF'
wanted_[r].count, scratch_) - list.slack;
===
wanted_[r].count, scratch_);
EOF
mutant "a third of what products may be off" kernel/preselect-inl.h kernel/preselect_test.cc:*WorstCase* <<'EOF'
      const double error = kEpsilon * (
===
      const double error = kEpsilon / 3 * (
EOF
mutant "a full list is not thinned out" kernel/preselect-inl.h kernel/preselect_test.cc <<'EOF'
      if (!(scores_[from] >= bound)) continue;
===
EOF
mutant "known logits of another range" kernel/accumulate-inl.h kernel/accumulate_test.cc <<'EOF'
    const Real* of_head = known.of_head(h) - known.first;
===
    const Real* of_head = known.of_head(h);
EOF
mutant "int8: values weighed without their scale" kernel/int8-inl.h kernel/int8_test.cc <<'EOF'
    x[i] = hn::Mul(hn::Load(tag, weights + i * kN), hn::Load(tag, scales + i * kN));
===
    x[i] = hn::Load(tag, weights + i * kN);
EOF
mutant "int8: a query's step forgotten" kernel/int8-inl.h kernel/score_test.cc <<'EOF'
      hn::Store(hn::Mul(hn::Mul(hn::Load(tag, at), step), hn::Load(tag, scales + t)), tag, at);
===
      hn::Store(hn::Mul(hn::Load(tag, at), hn::Load(tag, scales + t)), tag, at);
EOF
mutant "int8: a row with NaN is quantised as if it were finite" core/storage.h core/storage_test.cc <<'EOF'
  if (!finite) scale = std::numeric_limits<float>::quiet_NaN();
===
EOF
mutant "NaN logits compare as they are" kernel/pool-inl.h kernel/pool_test.cc <<'EOF'
  return hn::IfThenElse(hn::Eq(x, x), x, hn::Set(Tag<Real>(), -kInfinity<Real>));
===
  return x;
EOF
mutant "a group's top-k hears its first head only" kernel/pool-inl.h kernel/pool_test.cc <<'EOF'
    for (std::size_t h = 1; h < heads; ++h) {
      top = hn::Max(
===
    for (std::size_t h = 1; h < std::min<std::size_t>(heads, 1); ++h) {
      top = hn::Max(
EOF
mutant "window off by one" estimator/spans-inl.h known/needs_test.cc <<'EOF'
std::min(e.width, q.visible.last)
===
std::min(e.width + 1, q.visible.last)
EOF
mutant "runs of a stack merged the wrong way round" kernel/gaps-inl.h attend/own_estimator_test.cc <<'EOF'
      const bool second = a == 0 || key(list[a - 1]) < key(spare[b - 1]);
===
      const bool second = a == 0 || key(spare[b - 1]) < key(list[a - 1]);
EOF
mutant "top-p of what is left, not of all" estimator/topp-inl.h estimator/topp_test.cc <<'EOF'
      total.add(s.of_head(h), static_cast<std::size_t>(q.visible.size()));
===
      for_each_unselected(s, selection, q.visible,
                          [&](const Real* at, std::size_t n, std::size_t) { total.add(at + h * s.stride, n); });
EOF
mutant "ties of top-p to the higher position" estimator/topp-inl.h estimator/topp_test.cc <<'EOF'
(score[a] == score[b] && a > b);
===
(score[a] == score[b] && a < b);
EOF
mutant "alpha n^C rounded down" core/budget.h core/budget_test.cc <<'EOF'
return std::ceil(x * (1 - 1e-12));
===
return std::floor(x * (1 - 1e-12));
EOF

# ---- samplers --------------------------------------------------------------------------------------------------------

mutant "weights pi for 1 / pi" estimator/poisson-inl.h estimator/poisson_test.cc <<'EOF'
    log_weights[out++] = -static_cast<double>(log_p);
===
    log_weights[out++] = static_cast<double>(log_p);
EOF
mutant "m - 1 for m" estimator/uniform-inl.h statistics/unbiased_slow_test.cc:Unbiased.Uniform <<'EOF'
    const double log_weight = std::log(static_cast<double>(left) / static_cast<double>(b));
===
    const double log_weight = std::log(static_cast<double>(left) / static_cast<double>(b - 1));
EOF
mutant "tau is the K-th priority" estimator/priority-inl.h laws/priority_exact_test.cc <<'EOF'
  return sample;
===
  sample.log_tau = kInfinity<Real>;
  for (std::size_t j = 0; j < sample.count; ++j) sample.log_tau = std::min(sample.log_tau, u[sample.ranks[j]]);
  return sample;
EOF
mutant "draws without their multiplicity" estimator/multinomial-inl.h estimator/multinomial_test.cc <<'EOF'
std::log(static_cast<double>(drawn - before) / expected);
===
std::log(1 / expected);
EOF
mutant "last key never drawn" estimator/multinomial-inl.h estimator/multinomial_test.cc <<'EOF'
  for (std::size_t i = 0; i < tail.n && drawn < draws; ++i) {
===
  for (std::size_t i = 0; i + 1 < tail.n && drawn < draws; ++i) {
EOF
mutant "< for <= at the last point" estimator/systematic-inl.h estimator/systematic_test.cc <<'EOF'
* total <= prefix * count) {
===
* total < prefix * count) {
EOF
mutant "certain keys searched from the wrong side" estimator/proportional-inl.h estimator/proportional_test.cc <<'EOF'
  std::sort(sizes, sizes + top.count, Descending{});
===
  std::sort(sizes, sizes + top.count, Ascending{});
EOF
mutant "a floor of 1e-4 in the weight" estimator/systematic-inl.h estimator/systematic_test.cc <<'EOF'
std::log(total / (count * static_cast<double>(p[i])));
===
std::log(total / (count * static_cast<double>(p[i]) + 1e-4));
EOF
mutant "a group samples by its first head" kernel/pool-inl.h laws/priority_exact_test.cc <<'EOF'
    for (std::size_t h = 0; h < heads; ++h) sum = hn::Add(
===
    for (std::size_t h = 0; h < 1; ++h) sum = hn::Add(
EOF
mutant "uniform numbers keyed by rank" estimator/proportional-inl.h estimator/poisson_test.cc <<'EOF'
    fill_uniforms(draws, gap.first, static_cast<std::size_t>(gap.size()), out);
===
    fill_uniforms(draws, out - u, static_cast<std::size_t>(gap.size()), out);
EOF
mutant "KV heads share their draws" attend/layer_view-inl.h statistics/streams_slow_test.cc:Streams.Uniform <<'EOF'
    q.stream.head = static_cast<std::uint32_t>(query_.first_head / group() + kv_head);
===
    q.stream.head = 0;
EOF
mutant "query heads share their draws" core/query.h statistics/streams_slow_test.cc:Streams.Uniform <<'EOF'
    q.stream.head = first_head.value_or(static_cast<std::uint32_t>(stream.head * heads())) + static_cast<std::uint32_t>(h);
===
    q.stream.head = stream.head;
EOF
mutant "layers share their draws" core/random.h statistics/streams_slow_test.cc:Streams.Uniform <<'EOF'
{stream.layer, stream.head,
===
{0, stream.head,
EOF
mutant "sequences share their draws" attend/layer_view-inl.h statistics/streams_slow_test.cc:Streams.Uniform <<'EOF'
query_.sequence_ids.empty() ? sequence : query_.sequence_ids[sequence];
===
0;
EOF
mutant "rows share their draws" core/random.h statistics/streams_slow_test.cc:Streams.Uniform <<'EOF'
    key_ = fold(Philox::block(of_head, {low(at), high(at), 0, 0}));
===
    key_ = fold(Philox::block(of_head, {low(at) * 0, high(at), 0, 0}));
EOF
mutant "draws count in 32 bits" core/random.h core/random_test.cc <<'EOF'
    return Philox::block(key_, {low(i / 4), high(i / 4), 0, 0})[i % 4];
===
    return Philox::block(key_, {low(i / 4), 0, 0, 0})[i % 4];
EOF

# ---- indexes ---------------------------------------------------------------------------------------------------------

mutant "centre not added back" index/scan-inl.h index/scan_test.cc <<'EOF'
        const auto centre = hn::Set(tag, centres[h]);
===
        const auto centre = hn::Set(tag, 0 * centres[h]);
EOF
mutant "centre of the next segment" index/scan-inl.h index/scan_test.cc <<'EOF'
    const float* centres = q.centres + key / sketch.segment() * heads;
===
    const float* centres = q.centres + (key + kKeys) / sketch.segment() * heads;
EOF
mutant "bits of a table in the wrong order" index/scan-inl.h index/scan_test.cc <<'EOF'
signs[j][code] = (code >> j & 1u)
===
signs[j][code] = (code >> (3 - j) & 1u)
EOF
mutant "scale of the wrong key" index/scan-inl.h index/scan_test.cc <<'EOF'
load_scales(scales + first + t), centre)
===
load_scales(scales + key + t), centre)
EOF
mutant "nibbles are 8 too large" index/scan-inl.h index/scan_test.cc <<'EOF'
        for (std::size_t c = 0; c < d; ++c) out[h].excess += 8 * row[c];
===
        for (std::size_t c = 0; c + 1 < d; ++c) out[h].excess += 8 * row[c];
EOF
mutant "a segment is sketched before it is complete" index/sketch-inl.h index/sketch_test.cc <<'EOF'
    if (kv.size() - sketch.sketched() < static_cast<Position>(sketch.segment())) break;
===
    if (kv.size() - sketch.sketched() < static_cast<Position>(sketch.segment()) - 1) break;
EOF
mutant "an outlier moves the centre" index/centre-inl.h index/outliers_test.cc <<'EOF'
constexpr float kOutlier = 16;
===
constexpr float kOutlier = 1e30f;
EOF
mutant "ordinary keys are outliers" index/centre-inl.h index/centre_test.cc <<'EOF'
constexpr float kOutlier = 16;
===
constexpr float kOutlier = 4;
EOF
mutant "only the largest outlier is left out" index/centre-inl.h index/centre_test.cc <<'EOF'
    if (all) return;
===
    (void)all;
    return;
EOF
mutant "what pages do not cover is on the budget" index/ranked-inl.h laws/one_scale_test.cc <<'EOF'
  count += count_at_least(x.scores, x.count, static_cast<Real>(kNotCovered));
===
EOF
mutant "a page is cut to its oldest positions" index/ranked-inl.h laws/one_scale_test.cc <<'EOF'
  Largest<Real> top = has_own_scale(by) ? first_of_pages(x, count, ws)
===
  Largest<Real> top = has_own_scale(by) ? largest(x.scores, x.count, std::min(count + count_at_least(x.scores, x.count, static_cast<Real>(kNotCovered)), x.count), ws)
EOF
mutant "what pages do not cover is sampled" estimator/proportional-inl.h laws/one_scale_test.cc <<'EOF'
    select_not_covered(x, q.visible, selection);
===
EOF
mutant "bounds of 8 bits forget an eighth of the rest" index/candidates-inl.h index/candidates_test.cc <<'EOF'
hn::MulAdd(load_scales(rests + rank + t), norm, fixed)
===
hn::MulAdd(hn::Mul(load_scales(rests + rank + t), hn::Set(tag, 0.125f)), norm, fixed)
EOF
mutant "bounds of 8 bits have a quarter of the slack for rounding" index/candidates-inl.h index/rounding_scalar_test.cc <<'EOF'
  const float rounding = static_cast<float>(q.rows.cols + 64) * 0x1p-23f;
===
  const float rounding = static_cast<float>(q.rows.cols + 64) * 0x1p-25f;
EOF
mutant "bounds of boxes have half of the slack for rounding" index/box_bounds-inl.h index/rounding_scalar_test.cc <<'EOF'
  const float rounding = static_cast<float>(of.rows.cols + 64) * 0x1p-23f;
===
  const float rounding = static_cast<float>(of.rows.cols + 64) * 0x1p-24f;
EOF
mutant "truncate keeps the note of a key" index/sketch-inl.h index/sketch_test.cc <<'EOF'
  while (count != 0 && list[count - 1] >= end) --count;
===
  while (count != 0 && list[count - 1] > end) --count;
EOF
mutant "truncate keeps the fingerprint of a segment" index/sketch-inl.h index/verify_test.cc <<'EOF'
  Access::fingerprints(sketch).resize(segments);
===
EOF
mutant "rows of a fingerprint in any order" index/fingerprint-inl.h index/fingerprint_test.cc <<'EOF'
    steps_ += whole / kStripe + (whole != size ? 1 : 0);
===
EOF
mutant "the last bytes of a row have no fingerprint" index/fingerprint-inl.h index/fingerprint_test.cc <<'EOF'
      if (whole != size) mix(rest);
===
EOF
mutant "strict looks at the oldest piece only" index/verify-inl.h attend/strict_test.cc <<'EOF'
      check(pieces - 1);
===
      check(0);
EOF
mutant "lengths of indexes unchecked without check" attend/layer_view-inl.h attend/strict_test.cc <<'EOF'
    for (const Kv& kv : kv_.heads) check_indexes_cover(kv);
===
EOF
mutant "append cuts before it has memory" index/sketch-inl.h memory/indexes_test.cc <<'EOF'
  // All memory first: a sketch that cannot grow is the one it was.
===
  truncate(sketch, kv, from);
EOF
mutant "reserve forgets the ranks" attend/reserve-inl.h attend/reserve_test.cc <<'EOF'
      case Workspace::kRanks: return by_position;
===
      case Workspace::kRanks: return 0;
EOF
mutant "half again of nearly all memory" core/buffer.h core/limits_test.cc <<'EOF'
capacity < kMost - more ? capacity + more : kMost
===
capacity + more
EOF
mutant "a workspace counts bytes that wrap" core/workspace.h core/limits_test.cc <<'EOF'
    if (count > Buffer<std::byte>::kMost / sizeof(T)) fail_to_allocate();
===
EOF
mutant "tail not scored" index/scores-inl.h index/scores_test.cc <<'EOF'
  if (tail.size() > 0) score_run(
===
  if (tail.size() > 1) score_run(
EOF
mutant "keys without a sketch not scored" index/scores-inl.h index/scores_test.cc <<'EOF'
    if (!q.visible.contains(at)) continue;
===
    if (!q.visible.contains(at + 600)) continue;
EOF
mutant "scores of an index outlive their query" kernel/score-inl.h index/scores_test.cc <<'EOF'
  ~Asking() { ws_.asked = {}; }
===
  ~Asking() { ws_.asked.query = nullptr; }
EOF
mutant "a shortlist takes known logits from the front" kernel/pool-inl.h index/candidates_test.cc:Candidates.* <<'EOF'
known.data + (left[j] - known.first)
===
known.data + left[j]
EOF
mutant "bound without the query's rounding" index/candidates-inl.h index/candidates_test.cc <<'EOF'
2 * of.off * far + rounding
===
0 * of.off * far + rounding
EOF
mutant "bound with a fifth of the rest" index/candidates-inl.h index/candidates_test.cc <<'EOF'
        const auto off = hn::MulAdd(load_scales(rests + rank + t), norm, fixed);
===
        const auto off = hn::MulAdd(hn::Mul(load_scales(rests + rank + t), hn::Set(tag, 0.2f)), norm, fixed);
EOF
mutant "a negative scale swaps the bounds" index/candidates-inl.h index/candidates_test.cc <<'EOF'
hn::Sub(hn::Min(a, b), of_tanh)
===
hn::Sub(a, of_tanh)
EOF
mutant "what is not known bounded by soft-cap" index/candidates-inl.h index/candidates_test.cc <<'EOF'
std::numeric_limits<float>::quiet_NaN());
===
kInfinity<float>);
EOF
mutant "floor of a proposal missing" estimator/proportional-inl.h laws/proposal_exact_test.cc <<'EOF'
, floor = hn::Set(tag, -kProposalRange<Real>);
===
, floor = hn::Set(tag, -kInfinity<Real>);
EOF
mutant "weight from the exact logit" estimator/priority-inl.h laws/proposal_exact_test.cc <<'EOF'
sample.log_weight(tail.log_proposal[sample.ranks[j]]); });
===
sample.log_weight(logits(q, kv, ws).data[sample.ranks[j]]); });
EOF
mutant "external scores of another row" index/scores-inl.h index/external_rank_test.cc <<'EOF'
external.scores.row(row);
===
external.scores.row(external.scores.rows - 1 - row);
EOF

# ---- gradients -------------------------------------------------------------------------------------------------------

mutant "gradient without minus the product of dout and out" train/tiles-inl.h train/tiles_test.cc <<'EOF'
hn::Sub(hn::Load(tag, ds), delta)
===
hn::Load(tag, ds)
EOF
mutant "gradient of a pick without its weight" train/scatter-inl.h train/scatter_test.cc <<'EOF'
hn::Add(hn::Load(tag, p_ + i), hn::Load(tag, log_weights + t));
===
hn::Load(tag, p_ + i);
EOF
mutant "gradient: soft cap without its slope" train/tiles-inl.h train/tiles_test.cc <<'EOF'
        slope = hn::Mul(scale, hn::NegMulAdd(share, share, hn::Set(tag, Real{1})));
===
EOF
mutant "gradient: slope of the soft cap by the logit with ALiBi" train/scatter-inl.h train/scatter_test.cc <<'EOF'
    find_slopes();
    apply_rule(q_, b.positions, p_);
===
    apply_rule(q_, b.positions, p_);
    find_slopes();
EOF
mutant "gradient: a row sees the key behind its last" train/tiles-inl.h train/tiles_test.cc <<'EOF'
hn::Lt(key, hn::Set(tag, static_cast<Real>(last)))
===
hn::Le(key, hn::Set(tag, static_cast<Real>(last)))
EOF
mutant "gradient: tiles between those that see hold what was there" train/tiles-inl.h train/tiles_test.cc <<'EOF'
          clear(t, j);
===
EOF
mutant "gradient: what a row does not see times 0" train/tiles-inl.h train/backward_poison_test.cc <<'EOF'
    const bool guarded = cut && !is_finite();
===
    const bool guarded = false;
EOF
mutant "gradient: the second span of a row forgotten" train/backward-inl.h train/backward_test.cc <<'EOF'
    for (std::size_t s = 0; s < kTiledSpans; ++s) {
===
    for (std::size_t s = 0; s < 1; ++s) {
EOF
mutant "gradient: rows meet the same keys in every phase" train/backward-inl.h train/backward_test.cc <<'EOF'
        const std::size_t rows = (keys + phase) % head.phases();
===
        const std::size_t rows = (keys + 0) % head.phases();
EOF
mutant "gradient: picks at the first key of a block belong to the block before" train/backward-inl.h train/backward_test.cc <<'EOF'
        return static_cast<std::size_t>(std::lower_bound(
===
        return static_cast<std::size_t>(std::upper_bound(
EOF
mutant "gradient: an empty row has an infinite weight" train/backward-inl.h train/backward_poison_test.cc <<'EOF'
lse == -kInfinity<Real> ? kInfinity<Real> : lse;
===
lse;
EOF
mutant "gradient of a sink logit with the wrong sign" train/backward-inl.h train/backward_differences_test.cc <<'EOF'
        sum -= std::exp(
===
        sum += std::exp(
EOF
mutant "gradient of the head before" train/backward-inl.h train/backward_test.cc <<'EOF'
      const std::size_t heads = q.heads(), head = kv_head * group + part;
===
      const std::size_t heads = q.heads(), head = kv_head * group + (part == 0 ? 0 : part - 1);
EOF
mutant "a record keeps what was written before" core/record.h core/record_test.cc <<'EOF'
    shelf.picks.clear();
===
    if (shelf.picks.size() > 1000) shelf.picks.clear();
EOF
mutant "a record forgets the weights behind the first" core/record.h train/replay_test.cc <<'EOF'
  for (const Pick& pick : picks) shelf.log_weights.push_back(pick.log_weight);
===
  for (const Pick& pick : picks) shelf.log_weights.push_back(&pick == picks.begin() ? pick.log_weight : 0);
EOF
mutant "a record of another head" attend/layer_view-inl.h train/replay_test.cc <<'EOF'
    return {record, i * selections_per_unit(), worker};
===
    return {record, i, worker};
# ---- LSH tables ------------------------------------------------------------------------------------------------------

mutant "LSH planes repeat" index/lsh_planes.h index/lsh_planes_test.cc <<'EOF'
      draw(seed, i / 4, four);
===
      draw(seed, i / 8, four);
EOF
mutant "LSH keys hashed as they are" index/lsh-inl.h index/lsh_test.cc <<'EOF'
    const auto v = hn::Sub(load_padded(row, c, d), load_padded(centre, c, d));
===
    const auto v = load_padded(row, c, d);
EOF
mutant "LSH keys hashed by the centre of the first segment" index/lsh-inl.h index/lsh_test.cc <<'EOF'
static_cast<std::size_t>(first) / tables.segment() * d;
===
static_cast<std::size_t>(first) / tables.segment() * 0;
EOF
mutant "LSH truncate keeps the note of a key" index/lsh-inl.h index/lsh_test.cc <<'EOF'
  unhashed.resize(count_below(unhashed, hashed));
===
  unhashed.resize(count_below(unhashed, n));
EOF
mutant "LSH truncate keeps a centre too many" index/lsh-inl.h index/lsh_test.cc <<'EOF'
  const Position centres = n / segment + (n % segment >= static_cast<Position>(LshTables::kOfCentre) ? 1 : 0);
===
  const Position centres = n / segment + 1;
EOF
mutant "LSH truncate keeps a part too many" index/lsh_parts-inl.h index/lsh_test.cc <<'EOF'
  const std::size_t kept_parts = cut.before;
===
  const std::size_t kept_parts = cut.before + 1;
EOF
mutant "LSH part forgets where a run begins" index/lsh_parts-inl.h index/lsh_parts_test.cc <<'EOF'
static_cast<std::uint16_t>(run->first));
===
std::uint16_t{0});
EOF
mutant "LSH bucket longer than a vector cut short" index/lsh_parts-inl.h index/lsh_parts_test.cc <<'EOF'
      } while (i < end);
      size += end - begin;
===
      } while (i < std::min(end, begin + 1));
      size += end - begin;
EOF
mutant "LSH part of the first part's tables" index/lsh_parts-inl.h index/lsh_test.cc <<'EOF'
      if (part.first >= first) parts[count++] = part;
===
      if (part.first >= first) parts[count++] = {part.first, part.size, parts[0].starts ? parts[0].starts : part.starts, part.positions};
EOF
mutant "LSH truncate keeps fingerprints" index/lsh-inl.h index/verify_test.cc <<'EOF'
  LshAccess::fingerprints(tables).resize(static_cast<std::size_t>(hashed) / LshTables::kAtOnce);
===
EOF
mutant "LSH room for parts forgotten" index/lsh-inl.h memory/indexes_test.cc <<'EOF'
  LshAccess::scratch(tables).reserve_exactly(append_scratch(tables, part_scratch(tables, part)));
===
EOF
mutant "LSH one collision for two" index/collisions-inl.h index/collisions_test.cc <<'EOF'
  const std::size_t shift = least == 1 ? 0 : 32;
===
  const std::size_t shift = 0;
EOF
mutant "LSH one collision for two among codes" index/collisions-inl.h index/collisions_test.cc <<'EOF'
counts[j] >= least ? 1u : 0u
===
counts[j] >= 1 ? 1u : 0u
EOF
mutant "LSH codes of the open region off by a table" index/collisions-inl.h index/collisions_test.cc <<'EOF'
block * all * kAtOnce, codes, number, least);
===
block * number * kAtOnce, codes, number, least);
EOF
mutant "LSH first part's positions for the next" index/lsh_parts-inl.h index/collisions_test.cc <<'EOF'
    positions += number * size;
===
    positions += number * size - size;
EOF
mutant "LSH last bucket ends where the next table begins" index/collisions-inl.h index/collisions_test.cc <<'EOF'
codes[t] + 1u < buckets ? start[1] : part.size;
===
codes[t] + 1u < buckets ? start[1] : start[0];
EOF
mutant "LSH counts of the last part stay" index/collisions-inl.h index/collisions_test.cc <<'EOF'
    std::memset(twos, 0, part.size / 4);
===
    if (part.first == 0) std::memset(twos, 0, part.size / 4);
EOF
mutant "LSH selected positions met again" index/collisions-inl.h index/collisions_test.cc <<'EOF'
    selected.clear({first, last}, wanted);
===
EOF
mutant "LSH keys without a hash not met" index/collisions-inl.h index/collisions_test.cc <<'EOF'
      wanted[at / 64] |= std::uint64_t{1} << (at % 64);
===
      wanted[at / 64] |= std::uint64_t{0} << (at % 64);
EOF
mutant "LSH pools the first head only" index/collisions-inl.h index/collisions_test.cc <<'EOF'
  for (std::size_t h = 0; h < q.heads(); ++h) {
===
  for (std::size_t h = 0; h < 1; ++h) {
EOF
mutant "LSH pools heads as long as they are" index/collisions-inl.h index/collisions_test.cc <<'EOF'
    const double share = 1 / std::sqrt(squares);
===
    const double share = 1;
EOF
mutant "LSH angles by the centre of another segment" index/angles-inl.h index/angles_test.cc <<'EOF'
data() + segment * d;
===
data() + (segment == 0 ? 0 : segment - 1) * d;
EOF
mutant "LSH angles over the end of a segment" index/angles-inl.h index/angles_test.cc <<'EOF'
i + count < met.count && segment_of(i + count) == segment) ++count;
===
i + count < met.count) ++count;
EOF
mutant "LSH int8 keys without their scale" index/angles-inl.h index/angles_test.cc <<'EOF'
      a = hn::Mul(a, scale);
===
EOF
mutant "LSH two collisions weighed as one" estimator/lsh-inl.h estimator/lsh_test.cc:LshWeight.* <<'EOF'
  if (e.collisions == 1) return hn::Mul(
===
  if (e.collisions != 0) return hn::Mul(
EOF
mutant "LSH cosine not clamped" estimator/lsh-inl.h estimator/lsh_test.cc:LshWeight.* <<'EOF'
  const auto c = hn::Min(hn::Max(cosine, hn::Set(tag, -1.0)), hn::Set(tag, 1.0));
===
  const auto c = cosine;
EOF
mutant "LSH weights of rare keys by a difference" estimator/lsh-inl.h estimator/lsh_test.cc:LshWeight.* <<'EOF'
hn::Set(tag, 1e-4 / tables));
===
hn::Set(tag, 0 / tables));
EOF
mutant "LSH keys without a hash not certain" estimator/lsh-inl.h estimator/lsh_test.cc <<'EOF'
met.positions[j] == unhashed[u]) weights[j] = 0;
===
met.positions[j] == unhashed[u]) weights[j] += 0;
EOF
mutant "LSH newest position left out" estimator/lsh-inl.h estimator/lsh_test.cc <<'EOF'
    if (newest.size() > 0) add_gaps(
===
    if (newest.size() > 1) add_gaps(
EOF
mutant "LSH zero query and zero key at a right angle" estimator/lsh-inl.h estimator/lsh_test.cc <<'EOF'
length > 0 ? 0.0 : 1.0)
===
0.0)
EOF

# ---- numbers at their edges ------------------------------------------------------------------------------------------

mutant "soft cap checked in double" core/validate.h core/validate_test.cc <<'EOF'
rule.soft_cap <= kMost)) {
===
std::isfinite(rule.soft_cap))) {
EOF
mutant "rows that interleave overlap" core/overlap.h core/overlap_test.cc <<'EOF'
    return floor_of(-b.length - ahead, a.step) < floor_of(a.length - 1 - ahead, a.step);
===
    return floor_of(-b.length - ahead, a.step) <= floor_of(a.length - 1 - ahead, a.step);
EOF
mutant "a head of NaN has a say" attend/nan_heads-inl.h known/extremes_test.cc <<'EOF'
  if (left == heads || left == 0) return {};
===
  if (left <= heads) return {};
EOF
mutant "a head of NaN that selects nothing is empty" attend/nan_heads-inl.h known/extremes_test.cc <<'EOF'
    if (state.lse_of(h) != -kInfinity<Real> || q.visible.size() == 0 ||
===
    if (state.lse_of(h) != kInfinity<Real> || q.visible.size() == 0 ||
EOF
mutant "nothing but NaN is nothing" attend/nan_heads-inl.h known/extremes_test.cc <<'EOF'
      if (std::isnan(of_head[i])) first = std::min(first, i);
===
EOF
mutant "sums of large values stay infinite" kernel/accumulate-inl.h attend/large_values_test.cc <<'EOF'
  if (first == heads) return;
===
  if (first <= heads) return;
EOF
mutant "large values of a chunk stay infinite" attend/many_rows-inl.h attend/large_values_test.cc <<'EOF'
      if (!std::isfinite(out[c]) && std::isfinite(alone[c])) out[c] = alone[c];
===
EOF
mutant "merged large values overflow" kernel/merge-inl.h attend/large_values_test.cc <<'EOF'
    if (!(std::abs(sum) <= kMost) && std::abs(a) <= kMost
===
    if (std::abs(sum) < 0 && std::abs(a) <= kMost
EOF
mutant "a small mass keeps nothing" estimator/topp-inl.h estimator/topp_test.cc <<'EOF'
constexpr double kSmallMass = 1e-4,
===
constexpr double kSmallMass = 0,
EOF
mutant "what scores rule out is taken when there is room" index/allowed-inl.h index/external_test.cc <<'EOF'
return s.data[i - s.first] > -kInfinity<Real>;
===
return s.data[i - s.first] >= -kInfinity<Real>;
EOF
mutant "what scores rule out gets a floor" estimator/proportional-inl.h index/external_test.cc <<'EOF'
pooled.count, by == Source::kExternal);
===
pooled.count, false);
EOF
mutant "what scores rule out may be a candidate" index/ranked-inl.h index/external_test.cc <<'EOF'
  if (by == Source::kExternal && top.least == -kInfinity<Real>) {
===
  if (by == Source::kExternal && top.least == kInfinity<Real>) {
EOF

# ---- the machinery ---------------------------------------------------------------------------------------------------

# build <include folder> <test> <program> <log>
build() {
  local also=
  case $2 in memory/*) also=tests/memory/allocator_test.cc ;; esac  # the operator new of that program
  "${CXX:-g++}" -std=c++20 -O1 -march=native -w -I"$1" -Itests -I. "tests/${2%%:*}" $also -o "$3" -lgtest -lgtest_main \
    -lpthread 2> "$4"
}

# run <program> <test> <log>; a test that hangs has noticed something too.
run() {
  local filter='*'
  case $2 in *:*) filter=${2#*:} ;; esac
  timeout 300 "$1" --gtest_brief=1 --gtest_fail_fast --gtest_filter="$filter" > "$3" 2>&1
}

# Every test passes on what is there.
check_test() {
  local dir=$work/base/${1//[\/:]/_}
  mkdir -p "$dir"
  if ! build include "$1" "$dir/test" "$dir/log"; then
    echo "does not compile: $1" > "$dir/wrong"
  elif ! run "$dir/test" "$1" "$dir/log"; then
    echo "fails without a mistake: $1" > "$dir/wrong"
  fi
  rm -f "$dir/test"
}

# places <mutant>: how often what it changes is there.
places() {
  local text rest old=${olds[$1]}
  text=$(cat "include/skim/${files[$1]}")
  rest=${text//"$old"/}
  echo $(((${#text} - ${#rest}) / ${#old}))
}

# Leaves the killer in $work/<i>/killer, or the reason why there is none in $work/<i>/wrong.
try_mutant() {
  local i=$1 dir=$work/$1 header text rest old=${olds[$1]} test=${tests[$1]}
  mkdir -p "$dir"
  cp -r include "$dir/include"
  header=$dir/include/skim/${files[$i]}
  text=$(cat "$header")
  if [ "$(places "$i")" != 1 ]; then
    echo "fits $(places "$i") places, not one" > "$dir/wrong"
  else
    printf '%s%s%s\n' "${text%%"$old"*}" "${news[$i]}" "${text#*"$old"}" > "$header"
    if ! build "$dir/include" "$test" "$dir/test" "$dir/log"; then
      echo "does not compile" > "$dir/wrong"
    elif run "$dir/test" "$test" "$dir/log"; then
      echo "SURVIVED ${test%%:*}" > "$dir/wrong"
    else
      rest=$(grep -m1 -o '^\[  FAILED  \] [^ ,]*' "$dir/log")
      echo "${test%%:*}: ${rest:-[  FAILED  ] by a crash}" | sed 's/\[  FAILED  \] //' > "$dir/killer"
    fi
  fi
  cp "$dir/log" "$work/$i.log" 2> /dev/null
  rm -rf "$dir/include" "$dir/test"
  echo "  ${names[$i]}: $(cat "$dir/killer" "$dir/wrong" 2> /dev/null)"
}

# in_parallel <function> <argument>...
in_parallel() {
  local call=$1 argument
  shift
  for argument in "$@"; do
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
    "$call" "$argument" &
  done
  wait
}

if [ "${1:-}" = --fit ]; then
  wrong=0
  for i in "${!names[@]}"; do
    count=$(places "$i")
    if [ "$count" != 1 ] || [ ! -e "tests/${tests[$i]%%:*}" ]; then
      echo "${names[$i]}: fits $count places in ${files[$i]}, not one, or there is no tests/${tests[$i]%%:*}"
      wrong=$((wrong + 1))
    fi
  done
  echo "$((${#names[@]} - wrong)) of ${#names[@]} fit"
  exit $((wrong > 0))
fi

chosen=()
for i in "${!names[@]}"; do
  fits=$(($# == 0))
  for word in "$@"; do [[ ${names[$i]} == *"$word"* ]] && fits=1; done
  ((fits)) && chosen+=("$i")
done

echo "Tests without a mistake"
mapfile -t used < <(for i in "${chosen[@]}"; do echo "${tests[$i]}"; done | sort -u)
in_parallel check_test "${used[@]}"
if ls "$work"/base/*/wrong > /dev/null 2>&1; then
  cat "$work"/base/*/wrong "$work"/base/*/log
  exit 1
fi

echo "${#chosen[@]} mutants"
in_parallel try_mutant "${chosen[@]}"

echo
wrong=0
{
  echo "| mutant | file | killed by |"
  echo "|---|---|---|"
  for i in "${chosen[@]}"; do
    if [ -e "$work/$i/killer" ]; then
      result=$(cat "$work/$i/killer")
    else
      result="**$(cat "$work/$i/wrong")**"
      wrong=$((wrong + 1))
    fi
    echo "| ${names[$i]} | ${files[$i]} | $result |"
  done
} > "$work/table"
cat "$work/table"
echo
echo "$((${#chosen[@]} - wrong)) of ${#chosen[@]} killed, in $SECONDS s"
[ "$wrong" = 0 ] || exit 1

if [ $# = 0 ]; then
  readme=tests/mutants/README.md
  { sed '/^<!-- the table/q' "$readme" && echo && cat "$work/table"; } > "$work/readme"
  cat "$work/readme" > "$readme"
  echo "wrote $readme"
fi
