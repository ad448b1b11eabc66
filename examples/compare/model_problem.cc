// SPDX-License-Identifier: Apache-2.0
#include "model_problem.h"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <set>
#include <vector>

#include <skim/skim.h>

#include "generate/error.h"
#include "generate/model.h"
#include "generate/perplexity.h"
#include "generate/progress.h"

namespace compare {
namespace {

/// Exact attention that keeps every query, key and value.
class Recorder final : public engine::Attention {
 public:
  explicit Recorder(const engine::Shape& shape) : shape_(shape), layers_(shape.layers) {}

  engine::Vector attend(std::size_t layer, const engine::Vector& q, const engine::Vector& k,
                        const engine::Vector& v) override {
    Layer& to = layers_[layer];
    to.queries.emplace_back(q.begin(), q.end());
    to.keys.insert(to.keys.end(), k.begin(), k.end());
    to.values.insert(to.values.end(), v.begin(), v.end());

    std::vector<skim::ContiguousKv<float>> heads;
    for (std::size_t h = 0; h < shape_.kv_heads; ++h) {
      heads.push_back({rows(to.keys, h), rows(to.values, h)});
    }
    engine::Vector out(q.size());
    const skim::LayerQuery query{.rows = {q.data(), 1, shape_.heads, shape_.head_size}};
    const skim::LayerKv<skim::ContiguousKv<float>> kv{heads, shape_.kv_heads};
    skim::attend(skim::Dense{}, query, kv,
                 skim::LayerState{{out.data(), 1, shape_.heads, shape_.head_size}},
                 {.workspaces = {&workspace_, 1}});
    return out;
  }

  /// One KV head of a text that is over, with the queries at `positions`.
  KvHead head(std::size_t layer, std::size_t h, std::uint64_t text,
              const std::set<std::size_t>& positions) const {
    const Layer& from = layers_[layer];
    KvHead kv{.layer = static_cast<std::uint32_t>(layer),
              .head = static_cast<std::uint32_t>(h),
              .d = shape_.head_size,
              .keys = gather(rows(from.keys, h)),
              .values = gather(rows(from.values, h)),
              .asks = {}};
    const std::size_t width =
        shape_.heads / shape_.kv_heads * shape_.head_size;  // of a group's queries
    for (const std::size_t at : positions) {
      const float* first = from.queries[at].data() + h * width;
      kv.asks.push_back({static_cast<skim::Position>(at), text, {first, first + width}});
    }
    return kv;
  }

 private:
  struct Layer {
    std::vector<std::vector<float>> queries;  // [n][heads * head_size]
    std::vector<float> keys, values;          // [n, kv_heads * head_size]
  };

  skim::Rows<const float> rows(const std::vector<float>& all, std::size_t h) const {
    const std::size_t width = shape_.kv_heads * shape_.head_size;
    return {all.data() + h * shape_.head_size, all.size() / width, shape_.head_size,
            static_cast<std::ptrdiff_t>(width)};
  }

  static std::vector<float> gather(const skim::Rows<const float>& rows) {
    std::vector<float> out;
    for (std::size_t r = 0; r < rows.rows; ++r)
      out.insert(out.end(), rows.row(r), rows.row(r) + rows.cols);
    return out;
  }

  engine::Shape shape_;
  std::vector<Layer> layers_;
  skim::Workspace workspace_;
};

std::set<std::size_t> spread(std::size_t first, std::size_t end, std::size_t count) {
  std::set<std::size_t> positions;
  for (std::size_t i = 1; i <= count; ++i) positions.insert(first + (end - 1 - first) * i / count);
  return positions;
}

}  // namespace

Problem read_model_problem(const ModelSettings& settings) {
  std::ifstream in(settings.text, std::ios::binary);
  if (!in) engine::fail("cannot read the text ", settings.text.string());
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const engine::Model model = engine::Model::load(settings.model);
  const engine::Shape& shape = model.llama.shape();
  const std::size_t longest = settings.tokens ? settings.tokens : settings.context ? settings.context : shape.context;

  Problem problem;
  problem.layers = shape.layers;
  problem.kv_heads = shape.kv_heads;
  problem.group = shape.heads / shape.kv_heads;
  std::size_t used = 0, cut = 0;
  for (std::vector<engine::Token>& tokens : engine::tokenized(model.tokenizer, text, settings.context)) {
    if (tokens.size() > longest) {
      ++cut;
      tokens.resize(longest);
    }
    if (tokens.size() <= settings.first) continue;
    problem.longest = std::max(problem.longest, tokens.size());
    Recorder recorder(shape);
    engine::Progress progress("reading text " + std::to_string(used), tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      model.llama.decode(tokens[i], i, recorder);
      progress.at(i + 1);
    }
    const auto positions = spread(settings.first, tokens.size(), settings.queries);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      for (std::size_t h = 0; h < shape.kv_heads; ++h) {
        problem.heads.push_back(recorder.head(layer, h, used, positions));
      }
    }
    ++used;
  }
  if (used == 0) {
    engine::fail("no text of more than ", settings.first, " tokens in ", settings.text.string(),
                 " (--first-query asks for that many)");
  }
  if (cut > 0)
    std::fprintf(stderr, "note: %zu texts were cut after %zu tokens (--tokens)\n", cut, longest);
  problem.name = settings.model.filename().string() + " on " + settings.text.filename().string() +
                 ", " + std::to_string(used) + (used == 1 ? " text of up to " : " texts of up to ") +
                 std::to_string(problem.longest) + " tokens";
  return problem;
}

}  // namespace compare
