// SPDX-License-Identifier: Apache-2.0
// A model file from a stranger: std::runtime_error, or a model that runs. Nobody finds a right file by chance, so an
// input is what to change in one: its sizes, pieces, keys and tensors, then its bytes. Some inputs are whole files.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz/input.h"
#include "gguf.h"
#include "llama.h"
#include "plain_attention.h"
#include "tiny_model.h"
#include "tokenizer.h"

namespace {

using namespace engine;
using skim::fuzz::expect;
using skim::fuzz::Input;

/// Keys that mean something to some reader of such files.
constexpr const char* kKeys[] = {
    "general.architecture", "general.alignment", "general.type", "llama.block_count", "llama.context_length",
    "llama.embedding_length", "llama.feed_forward_length", "llama.attention.head_count", "llama.attention.head_count_kv",
    "llama.attention.key_length", "llama.attention.value_length", "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.causal", "llama.attention.sliding_window", "llama.rope.freq_base", "llama.rope.dimension_count",
    "llama.rope.scaling.type", "llama.rope.scaling.factor", "llama.rope.scale_linear", "llama.expert_count",
    "llama.vocab_size", "split.count", "tokenizer.ggml.model", "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_space_prefix"};

/// One more key, of any type.
void add_key(Input& in, GgufParts& file) {
  const std::string name = in.rarely(8) ? in.text() : in.one_of(kKeys);
  switch (in.between(0, 6)) {
    case 0: file.u32(name, in.byte()); break;
    case 1: file.u32(name, in.bits<std::uint32_t>()); break;
    case 2: file.f32(name, in.bits<float>()); break;
    case 3: file.flag(name, in.flag()); break;
    case 4: file.text(name, in.text()); break;
    case 5: file.key(name, 10).number(in.bits<std::uint64_t>()); break;
    case 6: file.array(name, in.byte(), in.bits<std::uint16_t>()).number(in.bits<std::uint64_t>()); break;
  }
}

void change_tensor(Input& in, GgufParts& file) {
  if (file.tensors.empty()) return;
  auto& tensor = file.tensors[in.between(0, file.tensors.size() - 1)];
  switch (in.between(0, 5)) {
    case 0: tensor.name = in.text(); break;
    case 1: tensor.dims.at(0) = in.flag() ? in.byte() : in.bits<std::uint64_t>(); break;
    case 2: tensor.type = in.byte(); break;
    case 3: tensor.offset = in.flag() ? in.bits<std::uint16_t>() : in.bits<std::uint64_t>(); break;
    case 4: tensor.rank = in.byte(); break;
    case 5: tensor.dims.push_back(in.byte()); break;
  }
}

/// Any bits as weights: infinities and NaN come from somewhere.
void change_weights(Input& in, GgufParts& file) {
  Bytes bytes = file.data.bytes();
  for (std::size_t i = in.between(1, 4); i > 0 && bytes.size() >= 4; --i) {
    const auto value = in.bits<std::uint32_t>();
    std::memcpy(bytes.data() + in.between(0, bytes.size() / 4 - 1) * 4, &value, 4);
  }
  file.data = ByteWriter();
  file.data.append(bytes);
}

void change_bytes(Input& in, Bytes& bytes) {
  // Before the weights, where every byte means something, more often than anywhere.
  const std::size_t at = in.between(0, in.flag() ? 400 : 65535) % bytes.size();
  switch (in.between(0, 3)) {
    case 0: bytes[at] = std::byte{in.byte()}; break;
    case 1: bytes.resize(at + 1); break;
    case 2: bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at)); break;
    case 3: bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), std::byte{in.byte()}); break;
  }
}

/// What must become of a file.
struct Fate {
  bool right = false;    // nothing is wrong with it
  bool refused = false;  // it says something of its computation that nobody knows
};

Bytes file_from(Input& in, Fate& fate) {
  TinyShape shape;
  shape.layers = static_cast<std::uint32_t>(in.between(1, 2));
  shape.kv_heads = static_cast<std::uint32_t>(in.between(1, 2));
  shape.heads = shape.kv_heads * static_cast<std::uint32_t>(in.between(1, 3));
  shape.head_size = 2 * static_cast<std::uint32_t>(in.between(1, 3));
  shape.width = shape.heads * shape.head_size;
  std::vector<std::pair<std::string, float>> pieces{{"\xE2\x96\x81", 0.0f}};
  for (std::size_t i = in.between(0, 6); i > 0; --i) {
    std::string text = in.text();
    pieces.emplace_back(std::move(text), static_cast<float>(in.byte()));
  }
  shape.vocabulary = static_cast<std::uint32_t>(3 + 256 + pieces.size());

  GgufParts file;
  write_shape(file, shape);
  write_tokenizer(file, pieces);
  write_weights(file, shape, in.one_of({TinyType::kF32, TinyType::kF16, TinyType::kBF16}));
  const std::size_t changes = in.between(0, 5);
  fate.right = changes == 0;
  bool bytes_too = false;
  for (std::size_t i = 0; i < changes; ++i) {
    switch (in.between(0, 5)) {
      case 0:
      case 1: add_key(in, file); break;
      case 5:
        file.u32("llama.fuzz." + in.text(), in.byte());
        fate.refused = changes == 1;  // another change may hide it
        break;
      case 2: change_tensor(in, file); break;
      case 3: change_weights(in, file); break;
      case 4: bytes_too = true; break;
    }
  }
  Bytes bytes = file.bytes();
  for (std::size_t i = bytes_too ? in.between(1, 3) : 0; i > 0 && !bytes.empty(); --i) change_bytes(in, bytes);
  return bytes;
}

/// A text becomes tokens and those become the text.
void try_tokenizer(const Tokenizer& tokenizer, const std::string& text, bool right) {
  const std::vector<Token> tokens = tokenizer.encode(text);
  std::string again;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    expect(tokens[i] >= 0 && static_cast<std::size_t>(tokens[i]) < tokenizer.size(), "a token that is none");
    if (i > 0) again += tokenizer.decode(tokens[i - 1], tokens[i]);
  }
  if (right && text.find("\xE2\x96\x81") == std::string::npos) {
    expect(again == text, "\"" + text + "\" comes back as \"" + again + "\"");
  }
}

void run(Input& in, const std::string& whole) {
  const bool is_whole = in.rarely(8);
  const std::string text = "Hello \xFF w\xC3\xB6rld" + in.text();
  Fate fate;
  const Bytes bytes = is_whole ? Bytes(reinterpret_cast<const std::byte*>(whole.data()),
                                       reinterpret_cast<const std::byte*>(whole.data() + whole.size()))
                               : file_from(in, fate);
  try {
    const Gguf file{Bytes(bytes)};
    const Tokenizer tokenizer(file);
    try_tokenizer(tokenizer, text, fate.right);
    const Llama model(file);
    expect(!fate.refused, "a key that nobody knows is ignored");
    PlainAttention attention(model.shape());
    const std::vector<Token> tokens = tokenizer.encode(text);
    for (std::size_t i = 0; i < tokens.size() && i < 4; ++i) {
      const Vector logits = model.decode(tokens[i], i, attention);
      expect(static_cast<std::size_t>(logits.size()) == model.shape().vocabulary, "logits of another vocabulary");
      expect(logits.allFinite(), "logits that are no numbers");
    }
  } catch (const std::runtime_error&) {
    expect(!fate.right, "a right file is refused");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input in(data, size);
  // Of a whole file the first two bytes are the choice and the length of a text.
  const std::string whole(reinterpret_cast<const char*>(data) + (size < 2 ? size : 2), size < 2 ? 0 : size - 2);
  run(in, whole);
  return 0;
}
