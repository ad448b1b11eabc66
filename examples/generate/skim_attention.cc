// SPDX-License-Identifier: Apache-2.0
#include "skim_attention.h"

#include <vector>

#include <skim/skim.h>

#include "error.h"
#include "paged_cache.h"

namespace engine {
namespace {

/// A stage that selects nothing and counts what the stages before it have. It is called once for
/// each query group, that is for each KV head.
struct CountReads {
  Density* density;

  void validate() const {}
  std::size_t max_picks(std::size_t) const { return 0; }

  template <class Kv>
  void select(const skim::Query& query, const Kv&, skim::Selection& selection,
              skim::Workspace& workspace) const {
    skim::Position selected = static_cast<skim::Position>(selection.picks().size());
    for (const skim::Span span : selection.spans()) selected += span.size();
    const bool has_all_logits = workspace.logits != nullptr;  // so some stage has scored every key
    const auto n = static_cast<double>(query.visible.size());
    ++density->calls;
    density->key_sum += has_all_logits ? 1 : static_cast<double>(selected) / n;
    density->value_sum += static_cast<double>(selected) / n;
  }
};

template <class T>
class SkimAttention final : public SparseAttention {
 public:
  SkimAttention(const Shape& shape, const AttentionOptions& options)
      : shape_(shape),
        seed_(options.seed),
        sequence_(options.sequence),
        estimator_(skim::stack(skim::parse(options.estimator), CountReads{&density_})),
        cache_(shape, options.page_size),
        kv_heads_(shape.kv_heads) {}

  SkimAttention(const SkimAttention&) = delete;  // estimator_ points at density_
  SkimAttention& operator=(const SkimAttention&) = delete;

  Vector attend(std::size_t layer, const Vector& q, const Vector& k, const Vector& v) override {
    cache_.append(layer, k, v);
    for (std::size_t h = 0; h < kv_heads_.size(); ++h) kv_heads_[h] = cache_.head(layer, h);

    // A batch of one sequence with one new token.
    Vector out(q.size());
    const skim::LayerQuery query{
        .rows = {q.data(), 1, shape_.heads, shape_.head_size},
        .stream = {.seed = seed_, .layer = static_cast<std::uint32_t>(layer)},
        .sequence_ids = {&sequence_, 1},
    };
    const skim::LayerKv<skim::PagedKv<T>> kv{kv_heads_, shape_.kv_heads};
    const skim::LayerState state{{out.data(), 1, shape_.heads, shape_.head_size}};
    skim::attend(estimator_, query, kv, state, {.workspaces = {&workspace_, 1}});
    return out;
  }

  Density density() const override { return density_; }

 private:
  Shape shape_;
  std::uint64_t seed_;
  std::uint64_t sequence_;
  Density density_;
  skim::Stack<skim::StageList, CountReads> estimator_;
  PagedCache<T> cache_;
  std::vector<skim::PagedKv<T>> kv_heads_;  // of the current layer
  skim::Workspace workspace_;
};

}  // namespace

Density& Density::operator+=(const Density& other) {
  calls += other.calls;
  key_sum += other.key_sum;
  value_sum += other.value_sum;
  return *this;
}

std::unique_ptr<SparseAttention> make_attention(const Shape& shape, const AttentionOptions& options) {
  switch (options.cache) {
    case CacheType::kF32:
      return std::make_unique<SkimAttention<float>>(shape, options);
    case CacheType::kF16:
      return std::make_unique<SkimAttention<skim::F16>>(shape, options);
    case CacheType::kBF16:
      return std::make_unique<SkimAttention<skim::BF16>>(shape, options);
    case CacheType::kInt8:
      return std::make_unique<SkimAttention<skim::I8>>(shape, options);
  }
  fail("unknown cache type");
}

}  // namespace engine
