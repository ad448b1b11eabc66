// SPDX-License-Identifier: Apache-2.0
#include "layout.h"

namespace train {

Layout::Layout(const engine::Shape& shape) {
  const std::size_t width = shape.width;
  const std::size_t q_width = shape.heads * shape.head_size;
  const std::size_t kv_width = shape.kv_heads * shape.head_size;
  const auto place = [this](const std::string& name, std::size_t rows, std::size_t columns) {
    Place placed{name + ".weight", rows, columns, size};
    size += placed.size();
    return placed;
  };
  const auto gain = [&](const std::string& name) {
    Place placed = place(name, 1, width);
    placed.is_gain = true;
    return placed;
  };
  embedding = place("token_embd", shape.vocabulary, width);
  for (std::size_t i = 0; i < shape.layers; ++i) {
    const std::string prefix = "blk." + std::to_string(i) + ".";
    Layer layer;
    layer.attention_norm = gain(prefix + "attn_norm");
    layer.query = place(prefix + "attn_q", q_width, width);
    layer.key = place(prefix + "attn_k", kv_width, width);
    layer.value = place(prefix + "attn_v", kv_width, width);
    layer.output = place(prefix + "attn_output", width, q_width);
    layer.feed_forward_norm = gain(prefix + "ffn_norm");
    layer.gate = place(prefix + "ffn_gate", shape.hidden, width);
    layer.up = place(prefix + "ffn_up", shape.hidden, width);
    layer.down = place(prefix + "ffn_down", width, shape.hidden);
    layer.query_key_value = {"", q_width + 2 * kv_width, width, layer.query.begin};
    layer.gate_up = {"", 2 * shape.hidden, width, layer.gate.begin};
    layers.push_back(layer);
  }
  norm = gain("output_norm");
}

std::vector<const Place*> Layout::places() const {
  std::vector<const Place*> all{&embedding};
  for (const Layer& layer : layers) {
    all.insert(all.end(), {&layer.attention_norm, &layer.query, &layer.key, &layer.value, &layer.output,
                           &layer.feed_forward_norm, &layer.gate, &layer.up, &layer.down});
  }
  all.push_back(&norm);
  return all;
}

}  // namespace train
