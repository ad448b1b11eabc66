// SPDX-License-Identifier: Apache-2.0
// A Llama model of a few kilobytes with random weights and a small tokenizer.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gguf_parts.h"

namespace engine {

/// The metadata of a tokenizer: three control tokens, `pieces` with their scores, then all bytes.
inline void write_tokenizer(GgufParts& file,
                            const std::vector<std::pair<std::string, float>>& pieces) {
  std::vector<std::string> texts{"<unk>", "<s>", "</s>"};
  std::vector<float> scores{0, 0, 0};
  std::vector<std::int32_t> kinds{2, 3, 3};
  for (const auto& [text, score] : pieces) {
    texts.push_back(text);
    scores.push_back(score);
    kinds.push_back(1);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char* digits = "0123456789ABCDEF";
    texts.push_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
    scores.push_back(0);
    kinds.push_back(6);
  }
  file.text("tokenizer.ggml.model", "llama");
  file.texts("tokenizer.ggml.tokens", texts);
  file.numbers("tokenizer.ggml.scores", 6, scores);
  file.numbers("tokenizer.ggml.token_type", 5, kinds);
  file.u32("tokenizer.ggml.bos_token_id", 1);
  file.u32("tokenizer.ggml.eos_token_id", 2);
}

/// Sizes as the metadata give them. `write_tiny_model` makes every tensor to fit.
struct TinyShape {
  std::uint32_t layers = 2;
  std::uint32_t width = 8;
  std::uint32_t heads = 4;
  std::uint32_t kv_heads = 2;
  std::uint32_t head_size = 2;
  std::uint32_t hidden = 6;
  std::uint32_t vocabulary = 3 + 256;
};

inline void write_shape(GgufParts& file, const TinyShape& shape) {
  file.text("general.architecture", "llama");
  file.u32("llama.block_count", shape.layers);
  file.u32("llama.context_length", 64);
  file.u32("llama.embedding_length", shape.width);
  file.u32("llama.feed_forward_length", shape.hidden);
  file.u32("llama.attention.head_count", shape.heads);
  file.u32("llama.attention.head_count_kv", shape.kv_heads);
}

/// Tensor types whose every value in a tiny model is exact.
enum class TinyType : std::uint32_t { kF32 = 0, kF16 = 1, kBF16 = 30 };

/// All tensors but the output head, with values i / 64 from -31 / 64 to 31 / 64.
inline void write_weights(GgufParts& file, const TinyShape& shape, TinyType type = TinyType::kF32) {
  std::mt19937 random(1);
  const auto write = [&](const std::string& name, std::vector<std::uint64_t> dims) {
    std::uint64_t size = 1;
    for (const std::uint64_t dim : dims) size *= dim;
    ByteWriter bytes;
    for (std::uint64_t i = 0; i < size; ++i) {
      const int n = static_cast<int>(random() % 63) - 31;
      const float value = static_cast<float>(n) / 64;
      std::uint32_t bits;
      std::memcpy(&bits, &value, 4);
      // Exact, since 31 takes no more than 5 bits of precision, and no value is subnormal.
      const std::uint32_t sign = bits >> 16 & 0x8000u;
      const std::uint32_t half = n == 0 ? 0 : ((bits & 0x7FFFFFFFu) - 0x38000000u) >> 13 | sign;
      switch (type) {
        case TinyType::kF32:
          bytes.number(value);
          break;
        case TinyType::kF16:
          bytes.number(static_cast<std::uint16_t>(half));
          break;
        case TinyType::kBF16:
          bytes.number(static_cast<std::uint16_t>(bits >> 16));
          break;
      }
    }
    file.tensor(name, std::move(dims), static_cast<std::uint32_t>(type), bytes.bytes());
  };
  const std::uint64_t q = shape.heads * shape.head_size;
  const std::uint64_t kv = shape.kv_heads * shape.head_size;
  write("token_embd.weight", {shape.width, shape.vocabulary});
  for (std::uint32_t layer = 0; layer < shape.layers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    write(prefix + "attn_norm.weight", {shape.width});
    write(prefix + "attn_q.weight", {shape.width, q});
    write(prefix + "attn_k.weight", {shape.width, kv});
    write(prefix + "attn_v.weight", {shape.width, kv});
    write(prefix + "attn_output.weight", {q, shape.width});
    write(prefix + "ffn_norm.weight", {shape.width});
    write(prefix + "ffn_gate.weight", {shape.width, shape.hidden});
    write(prefix + "ffn_up.weight", {shape.width, shape.hidden});
    write(prefix + "ffn_down.weight", {shape.hidden, shape.width});
  }
  write("output_norm.weight", {shape.width});
}

inline GgufParts tiny_model(const TinyShape& shape = {}) {
  GgufParts file;
  write_shape(file, shape);
  write_tokenizer(file, {});
  write_weights(file, shape);
  return file;
}

/// The file with another value at `index` of a tensor of f32.
inline Bytes with_value(const GgufParts& file, const std::string& tensor, std::size_t index, float value) {
  Bytes bytes = file.bytes();
  const std::size_t data = bytes.size() - file.data.bytes().size();
  for (const GgufParts::Tensor& t : file.tensors) {
    if (t.name == tensor) std::memcpy(bytes.data() + data + t.offset + index * sizeof value, &value, sizeof value);
  }
  return bytes;
}

}  // namespace engine
