// SPDX-License-Identifier: Apache-2.0
// Reader of GGUF model files, versions 2 and 3, little-endian:
//
//   "GGUF", version, tensor count, key count
//   key count    x { key, value type, value }                        the metadata
//   tensor count x { name, rank, dimensions, value type, offset }
//   the tensors' bytes, in that order, each at a multiple of `general.alignment`
//
// A model file comes from strangers. Every count, length, product, offset and type is compared with
// the bytes the file has before it is used, so a bad file is a std::runtime_error that names the
// field, and never a crash or an allocation beyond a small multiple of the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "byte_reader.h"
#include "file_bytes.h"
#include "tensor.h"

namespace engine {

class Gguf {
 public:
  /// Maps a file, once its magic is right. What this class returns points into it.
  static Gguf read(const std::filesystem::path& path);
  explicit Gguf(std::vector<std::byte> bytes) : Gguf(FileBytes(std::move(bytes))) {}

  Gguf(Gguf&&) = default;
  Gguf& operator=(Gguf&&) = default;
  Gguf(const Gguf&) = delete;  // a copy's views would point into the original
  Gguf& operator=(const Gguf&) = delete;

  /// Sorted.
  std::vector<std::string_view> keys() const;
  /// The value of a key that is there, as messages print it: "0.5", "true", "linear", "an array of 7 f32".
  std::string value_text(std::string_view key) const;

  // Metadata a file must have: an error when the key is missing or holds another type.
  std::string_view text(std::string_view key) const;
  std::size_t count(std::string_view key) const;  // an integer of any type, 0 to 2^31 - 1
  std::vector<std::string_view> texts(std::string_view key) const;
  std::vector<float> numbers(std::string_view key) const;

  // Metadata a file may have: empty when the key is missing.
  std::optional<std::string_view> find_text(std::string_view key) const;
  std::optional<std::size_t> find_count(std::string_view key) const;
  std::optional<float> find_number(std::string_view key) const;
  std::optional<bool> find_flag(std::string_view key) const;
  std::optional<std::vector<std::string_view>> find_texts(std::string_view key) const;
  std::optional<std::vector<float>> find_numbers(std::string_view key) const;
  std::optional<std::vector<std::int32_t>> find_integers(std::string_view key) const;

  /// In the order of the file.
  std::span<const Tensor> tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  const Tensor* find_tensor(std::string_view name) const;

 private:
  /// A scalar, or the elements of an array. Texts stay as the file has them: length, bytes.
  struct Value {
    std::uint32_t type = 0;
    bool is_array = false;
    std::size_t count = 1;
    std::span<const std::byte> bytes;
  };

  explicit Gguf(FileBytes bytes);

  static Value read_value(ByteReader& in, const std::string& field);
  void read_metadata(ByteReader& in, std::uint64_t count);
  void read_tensor_table(ByteReader& in, std::uint64_t count);
  void place_tensors(ByteReader& in);
  const Value* find(std::string_view key, std::string_view wanted, bool is_array,
                    std::initializer_list<std::uint32_t> types) const;

  FileBytes bytes_;
  std::map<std::string, Value, std::less<>> metadata_;
  std::vector<Tensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> tensor_index_;
};

}  // namespace engine
