// SPDX-License-Identifier: Apache-2.0
#include "metadata.h"

#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "error.h"

namespace engine {
namespace {

constexpr MetadataRule used(std::string_view key) { return {key, Use::kUsed}; }
constexpr MetadataRule harmless(std::string_view key) { return {key, Use::kHarmless}; }
constexpr MetadataRule refused(std::string_view key, std::string_view meaning = {}) {
  return {key, Use::kRefused, {}, meaning};
}
template <class T>
constexpr MetadataRule must(std::string_view key, T value, std::string_view meaning = {}) {
  return {key, Use::kMust, value, meaning};
}
constexpr std::size_t kNone = 0;

// The keys of the GGUF specification and of llama.cpp, by what they are about.
constexpr MetadataRule kRules[] = {
    // What the file is. Names, authors, licences, sources and so on describe it.
    must("general.architecture", std::string_view("llama")),
    must("general.type", std::string_view("model")),
    used("general.alignment"),
    must("general.quantization_version", std::size_t{2}),  // q8_0 was another format before
    harmless("general.file_type"),                         // each tensor says its own type
    harmless("general.*"),
    used("split.no"),  // see require_whole
    used("split.count"),
    harmless("split.tensors.count"),  // of all shards: there is one
    refused("split.*"),
    refused("adapter.*", "an adapter of a model, which is no model"),

    // Sizes.
    used("llama.block_count"),
    used("llama.context_length"),
    used("llama.embedding_length"),
    used("llama.feed_forward_length"),
    used("llama.vocab_size"),
    used("llama.attention.head_count"),
    used("llama.attention.head_count_kv"),
    used("llama.attention.key_length"),
    used("llama.attention.value_length"),
    must("llama.tensor_data_layout", std::string_view("Meta AI original pth")),  // pairs of positions are neighbours
    must("llama.tensor_data_layout", std::string_view("reference")),

    // What a layer computes.
    used("llama.attention.layer_norm_rms_epsilon"),
    must("llama.attention.causal", true),
    must("llama.attention.sliding_window", kNone, "a window"),
    must("llama.attention.scale", 0.0f, "another scale than 1 / sqrt(head size)"),
    must("llama.attention.max_alibi_bias", 0.0f, "ALiBi"),
    must("llama.attention.clamp_kqv", 0.0f, "clamped queries, keys and values"),
    must("llama.attn_logit_softcapping", 0.0f, "a soft cap"),
    must("llama.final_logit_softcapping", 0.0f, "a soft cap"),
    must("llama.expert_count", kNone, "a mixture of experts"),
    must("llama.expert_used_count", kNone, "a mixture of experts"),
    must("llama.use_parallel_residual", false),
    must("llama.residual_scale", 1.0f),
    must("llama.embedding_scale", 1.0f),
    must("llama.logit_scale", 1.0f),
    must("llama.pooling_type", kNone, "a model of embeddings"),

    // Rotary positions.
    used("llama.rope.dimension_count"),
    used("llama.rope.freq_base"),
    must("llama.rope.scaling.type", std::string_view("none")),
    must("llama.rope.scaling.type", std::string_view("linear")),
    used("llama.rope.scaling.factor"),
    used("llama.rope.scale_linear"),  // its old name
    must("llama.rope.scaling.attn_factor", 1.0f),
    harmless("llama.rope.scaling.finetuned"),                // how the weights came to be
    harmless("llama.rope.scaling.original_context_length"),  // for types that we refuse
    must("llama.rope.scaling.yarn_ext_factor", 0.0f, "YaRN"),
    must("llama.rope.scaling.yarn_attn_factor", 1.0f, "YaRN"),
    must("llama.rope.scaling.yarn_log_multiplier", 0.0f, "YaRN"),
    harmless("llama.rope.scaling.yarn_beta_fast"),  // without yarn_ext_factor they mean nothing
    harmless("llama.rope.scaling.yarn_beta_slow"),
    refused("llama.*"),

    // The tokenizer.
    must("tokenizer.ggml.model", std::string_view("llama")),
    used("tokenizer.ggml.tokens"),
    used("tokenizer.ggml.scores"),
    used("tokenizer.ggml.token_type"),
    harmless("tokenizer.ggml.merges"),  // for byte-pair encoding, as is the next: our pieces have scores
    harmless("tokenizer.ggml.pre"),
    used("tokenizer.ggml.bos_token_id"),
    used("tokenizer.ggml.eos_token_id"),
    used("tokenizer.ggml.eot_token_id"),
    used("tokenizer.ggml.eom_token_id"),
    used("tokenizer.ggml.unknown_token_id"),
    used("tokenizer.ggml.fim_pad_token_id"),
    used("tokenizer.ggml.fim_rep_token_id"),
    used("tokenizer.ggml.fim_sep_token_id"),
    used("tokenizer.ggml.add_bos_token"),
    used("tokenizer.ggml.add_eos_token"),
    used("tokenizer.ggml.add_space_prefix"),
    must("tokenizer.ggml.add_sep_token", false),
    must("tokenizer.ggml.remove_extra_whitespaces", false),
    harmless("tokenizer.ggml.padding_token_id"),    // texts are not padded,
    harmless("tokenizer.ggml.seperator_token_id"),  // not paired (so it is spelt),
    harmless("tokenizer.ggml.separator_token_id"),
    harmless("tokenizer.ggml.cls_token_id"),  // not classified,
    harmless("tokenizer.ggml.mask_token_id"),
    harmless("tokenizer.ggml.prefix_token_id"),  // and their middles not filled in
    harmless("tokenizer.ggml.suffix_token_id"),
    harmless("tokenizer.ggml.middle_token_id"),
    harmless("tokenizer.ggml.fim_pre_token_id"),
    harmless("tokenizer.ggml.fim_suf_token_id"),
    harmless("tokenizer.ggml.fim_mid_token_id"),
    harmless("tokenizer.chat_template*"),      // a prompt is taken as it is
    harmless("tokenizer.huggingface.json"),    // the same tokenizer once more
    refused("tokenizer.*"),

    // Of other programs, such as quantize.imatrix.file.
    harmless("*"),
};

bool is_family(const MetadataRule& rule) { return rule.key.back() == '*'; }

/// The rows of one key: those that name it, or else its family's.
std::vector<MetadataRule> rules_of(std::string_view key) {
  std::vector<MetadataRule> rules;
  std::optional<MetadataRule> family;
  for (const MetadataRule& rule : kRules) {
    if (rule.key == key) rules.push_back(rule);
    if (!family && is_family(rule) && key.starts_with(rule.key.substr(0, rule.key.size() - 1))) family = rule;
  }
  if (rules.empty()) rules.push_back(*family);
  return rules;
}

/// Throws when it is not of the type that a rule's value has.
bool has_value(const Gguf& file, const MetadataRule& rule) {
  if (const auto* flag = std::get_if<bool>(&rule.value)) return file.find_flag(rule.key) == *flag;
  if (const auto* count = std::get_if<std::size_t>(&rule.value)) return file.find_count(rule.key) == *count;
  if (const auto* number = std::get_if<float>(&rule.value)) return file.find_number(rule.key) == *number;
  return file.find_text(rule.key) == std::get<std::string_view>(rule.value);
}

std::string text_of(const MetadataRule& rule) {
  std::ostringstream text;
  text << std::boolalpha;
  std::visit([&](const auto& value) {
    if constexpr (!std::is_same_v<decltype(value), const std::monostate&>) text << value;
  }, rule.value);
  return text.str();
}

void require_supported(const Gguf& file, std::string_view key) {
  const std::vector<MetadataRule> rules = rules_of(key);
  std::string wanted;
  for (const MetadataRule& rule : rules) {
    if (rule.use == Use::kUsed || rule.use == Use::kHarmless) return;
    if (rule.use == Use::kMust && has_value(file, rule)) return;
    wanted += (wanted.empty() ? "" : " or ") + text_of(rule);
  }
  const MetadataRule& rule = rules.back();
  const std::string found = rule.meaning.empty() ? "" : " (" + std::string(rule.meaning) + ")";
  if (rule.use == Use::kRefused) {
    fail("gguf: key ", key, " is ", file.value_text(key), found, ", which is not supported");
  }
  fail("gguf: key ", key, " is ", file.value_text(key), found, ", but only ", wanted, " is supported");
}

/// Shards say nothing of the model but the first, and that one has not all tensors.
void require_whole(const Gguf& file) {
  const std::size_t number = file.find_count("split.no").value_or(0);
  const std::size_t count = file.find_count("split.count").value_or(0);
  if (number == 0 && count <= 1) return;
  fail("gguf: this is shard ", number + 1, " of ", count, " of a model (keys split.no and split.count), ",
       "but only a whole model is supported: join them, as llama-gguf-split --merge does");
}

}  // namespace

std::span<const MetadataRule> metadata_rules() { return kRules; }

void require_supported(const Gguf& file, MetadataOf part) {
  if (part == MetadataOf::kModel) require_whole(file);
  for (const std::string_view key : file.keys()) {
    if (key.starts_with("tokenizer.") == (part == MetadataOf::kTokenizer)) require_supported(file, key);
  }
}

}  // namespace engine
