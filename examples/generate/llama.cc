// SPDX-License-Identifier: Apache-2.0
#include "llama.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "error.h"
#include "metadata.h"
#include "rope.h"

namespace engine {
namespace {

constexpr float kDefaultEpsilon = 1e-5f;
constexpr std::string_view kEmbedding = "token_embd.weight";

/// Hands out tensors by name in f32 and knows which were never asked for.
class Weights {
 public:
  explicit Weights(const Gguf& file) : file_(file) {}

  /// Row r gives output r of a product. The file keeps rows together and writes the shape columns first.
  Matrix matrix(const std::string& name, std::size_t rows, std::size_t columns) {
    const Tensor& tensor = get(name);
    if (tensor.rank != 2 || tensor.dims[0] != columns || tensor.dims[1] != rows) {
      fail("gguf: tensor ", name, " is ", shape_text(tensor), " but should be ", columns, " x ", rows);
    }
    Matrix matrix(rows, columns);
    to_floats(tensor, {matrix.data(), rows * columns});
    return matrix;
  }

  Vector vector(const std::string& name, std::size_t size) {
    const Tensor& tensor = get(name);
    if (tensor.rank != 1 || tensor.dims[0] != size) {
      fail("gguf: tensor ", name, " is ", shape_text(tensor), " but should be ", size);
    }
    Vector vector(size);
    to_floats(tensor, {vector.data(), size});
    return vector;
  }

  /// For a tensor that is read elsewhere.
  void mark_used(std::string_view name) { used_.emplace(name); }

  /// A tensor we would ignore (a bias, an expert) means another model than the one we compute.
  void require_all_used() const {
    for (const Tensor& tensor : file_.tensors()) {
      if (!used_.contains(tensor.name)) fail("gguf: tensor ", tensor.name, " is not supported");
    }
  }

 private:
  const Tensor& get(const std::string& name) {
    const Tensor* tensor = file_.find_tensor(name);
    if (!tensor) fail("gguf: tensor ", name, " is missing");
    used_.insert(name);
    return *tensor;
  }

  const Gguf& file_;
  std::set<std::string, std::less<>> used_;
};

/// A size from the metadata, at least 1. A key with a `fallback` may be missing.
std::size_t positive(const Gguf& file, std::string_view key, std::optional<std::size_t> fallback = {}) {
  const auto found = fallback ? file.find_count(key) : file.count(key);
  if (found == 0) fail("gguf: key ", key, " is 0");
  return found ? *found : *fallback;
}

void require_divides(std::string_view part_key, std::size_t part, std::string_view whole_key,
                     std::size_t whole) {
  if (whole % part != 0) {
    fail("gguf: key ", part_key, " is ", part, ", which does not divide ", whole_key, " ", whole);
  }
}

Shape read_shape(const Gguf& file) {
  require_supported(file, MetadataOf::kModel);
  file.text("general.architecture");  // the contract says which
  constexpr std::string_view kWidth = "llama.embedding_length";
  constexpr std::string_view kHeads = "llama.attention.head_count";
  constexpr std::string_view kKvHeads = "llama.attention.head_count_kv";
  constexpr std::string_view kKeyLength = "llama.attention.key_length";
  constexpr std::string_view kValueLength = "llama.attention.value_length";

  Shape shape;
  shape.layers = positive(file, "llama.block_count");
  shape.context = positive(file, "llama.context_length");
  shape.hidden = positive(file, "llama.feed_forward_length");
  shape.width = positive(file, kWidth);
  shape.heads = positive(file, kHeads);
  shape.kv_heads = positive(file, kKvHeads, shape.heads);
  require_divides(kKvHeads, shape.kv_heads, kHeads, shape.heads);
  if (!file.find_count(kKeyLength)) require_divides(kHeads, shape.heads, kWidth, shape.width);
  shape.head_size = positive(file, kKeyLength, shape.width / shape.heads);
  const std::size_t value_size = positive(file, kValueLength, shape.head_size);
  if (value_size != shape.head_size) {
    fail("gguf: key ", kValueLength, " is ", value_size, " but keys have ", shape.head_size);
  }

  const Tensor* embedding = file.find_tensor(kEmbedding);
  if (!embedding) fail("gguf: tensor ", kEmbedding, " is missing");
  shape.vocabulary = embedding->dims[1];
  const auto tokens = file.find_texts("tokenizer.ggml.tokens");
  if (tokens && tokens->size() != shape.vocabulary) {
    fail("gguf: tensor ", kEmbedding, " has ", shape.vocabulary, " rows but key ",
         "tokenizer.ggml.tokens has ", tokens->size(), " elements");
  }
  constexpr std::string_view kVocabulary = "llama.vocab_size";
  const std::size_t told = file.find_count(kVocabulary).value_or(shape.vocabulary);
  if (told != shape.vocabulary) {
    fail("gguf: tensor ", kEmbedding, " has ", shape.vocabulary, " rows but key ", kVocabulary, " is ", told);
  }
  return shape;
}

float read_epsilon(const Gguf& file) {
  constexpr std::string_view kEpsilon = "llama.attention.layer_norm_rms_epsilon";
  const float epsilon = file.find_number(kEpsilon).value_or(kDefaultEpsilon);
  if (!(epsilon >= 0) || !std::isfinite(epsilon)) {
    fail("gguf: key ", kEpsilon, " is ", epsilon, ", not a number from 0");
  }
  return epsilon;
}

float silu(float x) { return x / (1.0f + std::exp(-x)); }

/// Weights that are broken, or too large for float, would have us take the first token for the likeliest.
void require_finite(const Vector& logits, Token token, std::size_t position) {
  if (logits.allFinite()) return;
  const auto is_finite = [](float x) { return std::isfinite(x); };
  const auto bad = std::find_if_not(logits.begin(), logits.end(), is_finite);
  fail("llama: at position ", position, " (token ", token, ") ",
       logits.size() - std::count_if(logits.begin(), logits.end(), is_finite), " of ", logits.size(),
       " logits are not finite: that of token ", bad - logits.begin(), " is ", *bad);
}

}  // namespace

Llama::Llama(const Gguf& file) : shape_(read_shape(file)), epsilon_(read_epsilon(file)) {
  const std::size_t width = shape_.width;
  const std::size_t q_width = shape_.heads * shape_.head_size;
  const std::size_t kv_width = shape_.kv_heads * shape_.head_size;

  Weights weights(file);
  embedding_ = weights.matrix(std::string(kEmbedding), shape_.vocabulary, width);
  for (std::size_t i = 0; i < shape_.layers; ++i) {
    const std::string prefix = "blk." + std::to_string(i) + ".";
    layers_.push_back({
        .attention_norm = weights.vector(prefix + "attn_norm.weight", width),
        .query = weights.matrix(prefix + "attn_q.weight", q_width, width),
        .key = weights.matrix(prefix + "attn_k.weight", kv_width, width),
        .value = weights.matrix(prefix + "attn_v.weight", kv_width, width),
        .output = weights.matrix(prefix + "attn_output.weight", width, q_width),
        .feed_forward_norm = weights.vector(prefix + "ffn_norm.weight", width),
        .gate = weights.matrix(prefix + "ffn_gate.weight", shape_.hidden, width),
        .up = weights.matrix(prefix + "ffn_up.weight", shape_.hidden, width),
        .down = weights.matrix(prefix + "ffn_down.weight", width, shape_.hidden),
    });
  }
  norm_ = weights.vector("output_norm.weight", width);
  if (file.find_tensor("output.weight")) {
    head_ = weights.matrix("output.weight", shape_.vocabulary, width);
  }
  weights.mark_used(kRopeDivisors);
  weights.require_all_used();
  frequencies_ = rope_frequencies(file, shape_.head_size);  // head_size is now as large as a tensor
}

Vector Llama::decode(Token token, std::size_t position, Attention& attention) const {
  if (token < 0 || static_cast<std::size_t>(token) >= shape_.vocabulary) {
    fail("llama: token ", token, " is not one of ", shape_.vocabulary);
  }
  Vector x = embedding_.row(token);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];

    Vector h = normalize(x, layer.attention_norm);
    Vector q = layer.query * h;
    Vector k = layer.key * h;
    const Vector v = layer.value * h;
    rotate(q, position);
    rotate(k, position);
    x += layer.output * attention.attend(i, q, k, v);

    h = normalize(x, layer.feed_forward_norm);
    const Vector gate = (layer.gate * h).unaryExpr(&silu);
    x += layer.down * gate.cwiseProduct(layer.up * h);
  }
  const Vector logits = (head_.size() ? head_ : embedding_) * normalize(x, norm_);
  require_finite(logits, token, position);
  return logits;
}

/// RMSNorm: x / rms(x) * gain.
Vector Llama::normalize(const Vector& x, const Vector& gain) const {
  const float scale = 1.0f / std::sqrt(x.squaredNorm() / static_cast<float>(x.size()) + epsilon_);
  return scale * x.cwiseProduct(gain);
}

/// Turns the pairs (0, 1), (2, 3), ... of every head by an angle that grows with the position. GGUF
/// files of this architecture order the rows of query and key for neighbouring pairs.
void Llama::rotate(Vector& heads, std::size_t position) const {
  const auto head_size = static_cast<Eigen::Index>(shape_.head_size);
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = static_cast<double>(position) * frequencies_[i];
    const auto cosine = static_cast<float>(std::cos(angle));
    const auto sine = static_cast<float>(std::sin(angle));
    for (Eigen::Index at = 2 * static_cast<Eigen::Index>(i); at < heads.size(); at += head_size) {
      const float a = heads[at];
      const float b = heads[at + 1];
      heads[at] = a * cosine - b * sine;
      heads[at + 1] = a * sine + b * cosine;
    }
  }
}

}  // namespace engine
