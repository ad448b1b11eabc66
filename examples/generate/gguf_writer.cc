// SPDX-License-Identifier: Apache-2.0
#include "gguf_writer.h"

#include <limits>
#include <optional>

#include "byte_reader.h"
#include "error.h"
#include "skim/core/storage.h"
#include "whole_file.h"

namespace engine {
namespace {

// The value types of the format that we write.
constexpr std::uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kText = 8, kArray = 9;

constexpr std::uint32_t kVersion = 3;
constexpr std::size_t kAlignment = 32;  // the format's default, so no key need say it
constexpr std::size_t kMaxKeyLength = 65535;
constexpr std::size_t kMaxTensorNameLength = 64;
constexpr std::size_t kMaxRank = 4;

/// Refuses what a reader would, and a name that is there already.
void require_new_name(const std::set<std::string, std::less<>>& names, std::string_view name,
                      std::size_t max_length, std::string_view what) {
  if (name.empty()) fail("gguf: the name of a ", what, " is empty");
  if (!is_printable(name)) fail("gguf: the name of a ", what, " is not printable ASCII");
  if (name.size() > max_length) {
    fail("gguf: the name of ", what, " ", printable(name), "... has ", name.size(), " bytes but ",
         max_length, " is the most");
  }
  if (names.contains(name)) fail("gguf: ", what, " ", name, " appears twice");
}

void require_values(std::string_view name, const std::vector<std::uint64_t>& dims, std::size_t values) {
  if (dims.empty() || dims.size() > kMaxRank) {
    fail("gguf: tensor ", name, ": rank ", dims.size(), " is not 1 to ", kMaxRank);
  }
  std::optional<std::uint64_t> product = 1;
  std::string shape;
  for (std::size_t axis = 0; axis < dims.size(); ++axis) {
    if (dims[axis] == 0) fail("gguf: tensor ", name, ": dimension ", axis, " is 0");
    if (product) product = multiply(*product, dims[axis]);
    shape += (axis ? " x " : "") + std::to_string(dims[axis]);
  }
  if (product != values) {
    fail("gguf: tensor ", name, ": ", shape, " is ", product ? std::to_string(*product) : "over 2^64",
         " values but there are ", values);
  }
}

}  // namespace

ByteWriter& GgufWriter::add_key(std::string_view key, std::uint32_t type) {
  if (key == "general.alignment")
    fail("gguf: key ", key, " is the writer's own: it is always ", kAlignment);
  require_new_name(keys_, key, kMaxKeyLength, "key");
  keys_.emplace(key);
  return metadata_.text(key).number(type);
}

ByteWriter& GgufWriter::add_array(std::string_view key, std::uint32_t type, std::size_t count) {
  return add_key(key, kArray).number(type).number<std::uint64_t>(count);
}

void GgufWriter::text(std::string_view key, std::string_view value) { add_key(key, kText).text(value); }

void GgufWriter::count(std::string_view key, std::uint32_t value) { add_key(key, kU32).number(value); }

void GgufWriter::number(std::string_view key, float value) { add_key(key, kF32).number(value); }

void GgufWriter::flag(std::string_view key, bool value) { add_key(key, kBool).number(value); }

void GgufWriter::texts(std::string_view key, std::span<const std::string> values) {
  ByteWriter& out = add_array(key, kText, values.size());
  for (const std::string& value : values) out.text(value);
}

void GgufWriter::numbers(std::string_view key, std::span<const float> values) {
  add_array(key, kF32, values.size()).numbers(values);
}

void GgufWriter::integers(std::string_view key, std::span<const std::int32_t> values) {
  add_array(key, kI32, values.size()).numbers(values);
}

void GgufWriter::tensor(std::string_view name, TensorType type, const std::vector<std::uint64_t>& dims,
                        std::span<const float> values) {
  require_new_name(names_, name, kMaxTensorNameLength, "tensor");
  require_values(name, dims, values.size());
  if (type != TensorType::kF32 && type != TensorType::kF16) {
    fail("gguf: tensor ", name, ": type ", static_cast<std::uint32_t>(type),
         " is not written, only f32 (0) and f16 (1) are");
  }
  names_.emplace(name);

  table_.text(name).number(static_cast<std::uint32_t>(dims.size()));
  table_.numbers(std::span<const std::uint64_t>(dims));
  table_.number(static_cast<std::uint32_t>(type)).number<std::uint64_t>(data_.bytes().size());
  if (type == TensorType::kF32) {
    data_.numbers(values);
  } else {
    std::vector<skim::F16> halves(values.size());
    skim::from_floats(values.data(), values.size(), halves.data());
    data_.numbers(std::span<const skim::F16>(halves));
  }
  data_.pad(kAlignment);  // after the last one too: some readers take whole multiples
}

Bytes GgufWriter::bytes() const {
  ByteWriter out;
  out.raw("GGUF").number(kVersion);
  out.number<std::uint64_t>(names_.size()).number<std::uint64_t>(keys_.size());
  out.append(metadata_.bytes()).append(table_.bytes()).pad(kAlignment).append(data_.bytes());
  return out.bytes();
}

void GgufWriter::write(const std::filesystem::path& path) const {
  WholeFile file(path);
  file.write(bytes());
  file.commit();
}

}  // namespace engine
