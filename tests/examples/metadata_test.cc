// SPDX-License-Identifier: Apache-2.0
// Metadata that would change what a model computes is used or refused by its name, never ignored.
#include "metadata.h"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "llama.h"
#include "plain_attention.h"
#include "tiny_model.h"
#include "tokenizer.h"

namespace engine {
namespace {

using Value = std::variant<bool, std::uint32_t, float, std::string>;

void write(GgufParts& file, std::string_view key, const Value& value) {
  if (const auto* flag = std::get_if<bool>(&value)) file.flag(key, *flag);
  if (const auto* count = std::get_if<std::uint32_t>(&value)) file.u32(key, *count);
  if (const auto* number = std::get_if<float>(&value)) file.f32(key, *number);
  if (const auto* text = std::get_if<std::string>(&value)) file.text(key, *text);
}

/// A tiny model with one more key.
GgufParts model_with(std::string_view key, const Value& value) {
  GgufParts file = tiny_model();
  write(file, key, value);
  return file;
}

/// What loading `file` complains about, or "".
std::string loading_error_of(const GgufParts& file) {
  try {
    const Gguf gguf(file.bytes());
    const Tokenizer tokenizer(gguf);
    const Llama llama(gguf);
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

/// What a model says after three tokens of a text.
Vector logits_of(const GgufParts& file) {
  const Gguf gguf(file.bytes());
  const Llama llama(gguf);
  PlainAttention attention(llama.shape());
  Vector logits;
  std::size_t position = 0;
  for (const Token token : Tokenizer(gguf).encode("abc"))
    logits = llama.decode(token, position++, attention);
  return logits;
}

struct Row {
  const char* key;
  Value value;
  const char* error;  // behind "gguf: "; empty: accepted
};

TEST(Metadata, IsUsedOrRefusedByName) {
  const Row rows[] = {
      {"general.type", "adapter", "key general.type is adapter, but only model is supported"},
      {"general.type", "mmproj", "key general.type is mmproj, but only model is supported"},
      {"general.type", "model", ""},
      {"general.quantization_version", 1u,
       "key general.quantization_version is 1, but only 2 is supported"},
      {"general.size_label", "260K", ""},
      {"general.sampling.temp", 0.5f, ""},
      {"split.count", 3u,
       "this is shard 1 of 3 of a model (keys split.no and split.count), but only a whole model is "
       "supported: join "
       "them, as llama-gguf-split --merge does"},
      {"split.count", 1u, ""},
      {"split.what", 1u, "key split.what is 1, which is not supported"},
      {"adapter.type", "lora",
       "key adapter.type is lora (an adapter of a model, which is no model), which is not supported"},
      {"adapter.lora.alpha", 16.0f,
       "key adapter.lora.alpha is 16 (an adapter of a model, which is no model), which is not "
       "supported"},
      {"llama.expert_count", 8u,
       "key llama.expert_count is 8 (a mixture of experts), but only 0 is supported"},
      {"llama.expert_used_count", 2u,
       "key llama.expert_used_count is 2 (a mixture of experts), but only 0 is supported"},
      {"llama.expert_count", 0u, ""},
      {"llama.attention.causal", false,
       "key llama.attention.causal is false, but only true is supported"},
      {"llama.attention.causal", 0u, "key llama.attention.causal should be a bool but is u32"},
      {"llama.attention.sliding_window", 16u,
       "key llama.attention.sliding_window is 16 (a window), but only 0 is supported"},
      {"llama.attention.scale", 0.5f,
       "key llama.attention.scale is 0.5 (another scale than 1 / sqrt(head size)), but only 0 is "
       "supported"},
      {"llama.attention.key_length", 2u, ""},
      {"llama.attn_logit_softcapping", 50.0f,
       "key llama.attn_logit_softcapping is 50 (a soft cap), but only 0 is supported"},
      {"llama.use_parallel_residual", true,
       "key llama.use_parallel_residual is true, but only false is supported"},
      {"llama.logit_scale", 2.0f, "key llama.logit_scale is 2, but only 1 is supported"},
      {"llama.logit_scale", std::nanf(""), "key llama.logit_scale is nan, but only 1 is supported"},
      {"llama.pooling_type", 1u,
       "key llama.pooling_type is 1 (a model of embeddings), but only 0 is supported"},
      {"llama.vocab_size", 260u,
       "tensor token_embd.weight has 259 rows but key llama.vocab_size is 260"},
      {"llama.vocab_size", 259u, ""},
      {"llama.tensor_data_layout", "transposed",
       "key llama.tensor_data_layout is transposed, but only Meta AI original pth or reference is "
       "supported"},
      {"llama.rope.scaling.type", "yarn",
       "key llama.rope.scaling.type is yarn, but only none or linear is supported"},
      {"llama.rope.scaling.factor", 0.0f, "key llama.rope.scaling.factor is 0, not a positive number"},
      {"llama.rope.scale_linear", -1.0f, "key llama.rope.scale_linear is -1, not a positive number"},
      {"llama.rope.scaling.attn_factor", 2.0f,
       "key llama.rope.scaling.attn_factor is 2, but only 1 is supported"},
      {"llama.rope.scaling.yarn_ext_factor", 1.0f,
       "key llama.rope.scaling.yarn_ext_factor is 1 (YaRN), but only 0 is supported"},
      {"llama.rope.scaling.finetuned", true, ""},
      {"llama.rope.scaling.original_context_length", 64u, ""},
      {"llama.rope.dimension_sections", 4u,
       "key llama.rope.dimension_sections is 4, which is not supported"},
      {"llama.whatever", "new\n", "key llama.whatever is (unprintable), which is not supported"},
      {"tokenizer.ggml.pre", "default", ""},
      {"tokenizer.ggml.add_sep_token", true,
       "key tokenizer.ggml.add_sep_token is true, but only false is supported"},
      {"tokenizer.ggml.remove_extra_whitespaces", true,
       "key tokenizer.ggml.remove_extra_whitespaces is true, but only false is supported"},
      {"tokenizer.ggml.eot_token_id", 259u,
       "key tokenizer.ggml.eot_token_id is 259 but there are 259 tokens"},
      {"tokenizer.ggml.precompiled_charsmap", "",
       "key tokenizer.ggml.precompiled_charsmap is , which is not supported"},
      {"tokenizer.chat_template.rag", "{{ x }}", ""},
      {"quantize.imatrix.file", "a.dat", ""},
  };
  for (const Row& row : rows) {
    const std::string wanted = *row.error ? "gguf: " + std::string(row.error) : "";
    EXPECT_EQ(loading_error_of(model_with(row.key, row.value)), wanted) << row.key;
  }
}

TEST(Metadata, SaysWhichShardItIs) {
  GgufParts second;  // as llama.cpp writes it: no word of the model
  write(second, "split.no", 1u);
  write(second, "split.count", 3u);
  EXPECT_EQ(loading_error_of(second).rfind("gguf: key tokenizer", 0), 0u);
  EXPECT_THROW(Llama(Gguf(second.bytes())), std::runtime_error);
  try {
    const Llama llama(Gguf(second.bytes()));
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(std::string(error.what()).rfind("gguf: this is shard 2 of 3 of a model", 0), 0u)
        << error.what();
  }
}

/// A value of the rule's own, as a file has it.
Value right_value(const MetadataRule& rule) {
  if (const auto* flag = std::get_if<bool>(&rule.value)) return *flag;
  if (const auto* count = std::get_if<std::size_t>(&rule.value))
    return static_cast<std::uint32_t>(*count);
  if (const auto* number = std::get_if<float>(&rule.value)) return *number;
  return std::string(std::get<std::string_view>(rule.value));
}

/// Another of the same type.
Value wrong_value(const Value& right) {
  return std::visit(
      [](auto value) -> Value {
        if constexpr (std::is_same_v<decltype(value), bool>)
          return !value;
        else if constexpr (std::is_same_v<decltype(value), std::string>)
          return value + "x";
        else
          return static_cast<decltype(value)>(value + 3);
      },
      right);
}

std::string key_of(const MetadataRule& rule) {
  std::string key(rule.key);
  if (key.back() == '*') key.back() = 'x';
  return key;
}

// The tokenizer's and the architecture's, which a tiny model has already, are in other tests.
bool has_already(std::string_view key) {
  const Gguf tiny(tiny_model().bytes());
  const auto keys = tiny.keys();
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

TEST(Metadata, EveryRowOfTheContractHolds) {
  const Vector expected = logits_of(tiny_model());
  std::size_t refused = 0, harmless = 0;
  for (const MetadataRule& rule : metadata_rules()) {
    const std::string key = key_of(rule);
    if (has_already(key)) continue;
    if (rule.use == Use::kMust) {
      const Value right = right_value(rule);
      EXPECT_EQ(loading_error_of(model_with(key, right)), "");
      EXPECT_EQ(logits_of(model_with(key, right)), expected) << key;
      const std::string error = loading_error_of(model_with(key, wrong_value(right)));
      EXPECT_EQ(error.rfind("gguf: key " + key + " is ", 0), 0u) << key << ": " << error;
      ++refused;
    } else if (rule.use == Use::kHarmless) {
      for (const Value& value : {Value(7u), Value(0.5f), Value(true), Value("text")}) {
        EXPECT_EQ(loading_error_of(model_with(key, value)), "") << key;
        EXPECT_EQ(logits_of(model_with(key, value)), expected) << key;
      }
      ++harmless;
    } else if (rule.use == Use::kRefused) {
      EXPECT_EQ(loading_error_of(model_with(key, 7u)).rfind("gguf: key " + key + " is 7", 0), 0u) << key;
    }
  }
  EXPECT_GT(refused, 20u);
  EXPECT_GT(harmless, 15u);
}

// A key that is said to be used and is not would be ignored after all.
TEST(Metadata, EveryUsedKeyIsRead) {
  for (const MetadataRule& rule : metadata_rules()) {
    if (rule.use != Use::kUsed || has_already(rule.key)) continue;
    const std::string error = loading_error_of(model_with(rule.key, "a text"));
    EXPECT_EQ(error.rfind("gguf: key " + std::string(rule.key) + " should be ", 0), 0u)
        << rule.key << ": " << error;
  }
}

}  // namespace
}  // namespace engine
