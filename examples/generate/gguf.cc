// SPDX-License-Identifier: Apache-2.0
#include "gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <sstream>
#include <utility>

#include "error.h"

namespace engine {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian");

namespace {

// The value types of the format.
constexpr std::uint32_t kU8 = 0, kI8 = 1, kU16 = 2, kI16 = 3, kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7,
                        kText = 8, kArray = 9, kU64 = 10, kI64 = 11, kF64 = 12;
constexpr const char* kTypeNames[] = {"u8",   "i8",   "u16",   "i16", "u32", "i32", "f32",
                                      "bool", "text", "array", "u64", "i64", "f64"};
// For a text, the fewest it can take: its length.
constexpr std::uint64_t kTypeBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};

// The fewest bytes of an entry: an empty name and the smallest value, or one dimension.
constexpr std::uint64_t kMinKeyBytes = 8 + 4 + 1;
constexpr std::uint64_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;

constexpr std::size_t kMaxKeyLength = 65535;
constexpr std::size_t kMaxTensorNameLength = 64;
constexpr std::size_t kDefaultAlignment = 32;
constexpr std::int64_t kMaxCount = (std::int64_t{1} << 31) - 1;

template <class T>
T load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

template <class T>
std::vector<T> load_all(std::span<const std::byte> bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// A u64 that no i64 can hold comes out negative.
std::int64_t load_integer(std::uint32_t type, std::span<const std::byte> bytes) {
  switch (type) {
    case kU8:
      return load<std::uint8_t>(bytes);
    case kI8:
      return load<std::int8_t>(bytes);
    case kU16:
      return load<std::uint16_t>(bytes);
    case kI16:
      return load<std::int16_t>(bytes);
    case kU32:
      return load<std::uint32_t>(bytes);
    case kI32:
      return load<std::int32_t>(bytes);
    default:
      return load<std::int64_t>(bytes);
  }
}

std::uint64_t align_up(std::uint64_t x, std::uint64_t alignment) {
  return x + (alignment - x % alignment) % alignment;
}

void take_magic(ByteReader& in) {
  if (std::memcmp(in.take(4, "magic").data(), "GGUF", 4) != 0) fail("gguf: magic is not GGUF");
}

template <class T>
T required(std::optional<T> found, std::string_view key) {
  if (!found) fail("gguf: key ", key, " is missing");
  return *std::move(found);
}

}  // namespace

Gguf Gguf::read(const std::filesystem::path& path) {
  const auto head = read_head(path, 4, "gguf");
  ByteReader in(head);
  take_magic(in);
  return Gguf(FileBytes::map(path, "gguf"));
}

Gguf::Gguf(FileBytes bytes) : bytes_(std::move(bytes)) {
  ByteReader in(bytes_.span());
  take_magic(in);
  const auto version = in.number<std::uint32_t>("version");
  if (version != 2 && version != 3) {
    fail("gguf: version ", version, " is not supported, only little-endian 2 and 3 are");
  }
  const auto tensor_count = in.number<std::uint64_t>("tensor count");
  const auto key_count = in.number<std::uint64_t>("key count");
  read_metadata(in, key_count);
  read_tensor_table(in, tensor_count);
  place_tensors(in);
}

void Gguf::read_metadata(ByteReader& in, std::uint64_t count) {
  in.require(multiply(count, kMinKeyBytes), "key count " + std::to_string(count));
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string key = in.name(kMaxKeyLength, "name of key " + std::to_string(i));
    const auto [at, is_new] = metadata_.try_emplace(key);
    if (!is_new) fail("gguf: key ", key, " appears twice");
    at->second = read_value(in, "key " + key);
  }
}

Gguf::Value Gguf::read_value(ByteReader& in, const std::string& field) {
  Value value;
  value.type = in.number<std::uint32_t>(field);
  std::uint64_t count = 1;
  if (value.type == kArray) {
    value.is_array = true;
    value.type = in.number<std::uint32_t>(field);
    count = in.number<std::uint64_t>(field);
    if (value.type == kArray) fail("gguf: ", field, ": arrays of arrays are not supported");
  }
  if (value.type >= std::size(kTypeBytes)) {
    fail("gguf: ", field, " has unknown value type ", value.type);
  }
  const auto bytes = multiply(count, kTypeBytes[value.type]);
  in.require(bytes, field + ": " + std::to_string(count) + " of type " + kTypeNames[value.type]);
  value.count = static_cast<std::size_t>(count);
  if (value.type == kText) {
    ByteReader ahead = in;
    for (std::size_t i = 0; i < value.count; ++i) ahead.text(field);
    value.bytes = in.take(ahead.offset() - in.offset(), field);
  } else {
    value.bytes = in.take(*bytes, field);
  }
  return value;
}

void Gguf::read_tensor_table(ByteReader& in, std::uint64_t count) {
  in.require(multiply(count, kMinTensorBytes), "tensor count " + std::to_string(count));
  for (std::uint64_t i = 0; i < count; ++i) {
    Tensor tensor;
    tensor.name = in.name(kMaxTensorNameLength, "name of tensor " + std::to_string(i));
    const std::string field = "tensor " + tensor.name;
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      fail("gguf: ", field, " appears twice");
    }
    tensor.rank = in.number<std::uint32_t>(field + ": rank");
    if (tensor.rank == 0 || tensor.rank > tensor.dims.size()) {
      fail("gguf: ", field, ": rank ", tensor.rank, " is not 1 to ", tensor.dims.size());
    }
    for (std::size_t axis = 0; axis < tensor.rank; ++axis) {
      tensor.dims[axis] = in.number<std::uint64_t>(field + ": dimensions");
      if (tensor.dims[axis] == 0) fail("gguf: ", field, ": dimension ", axis, " is 0");
    }
    tensor.type = static_cast<TensorType>(in.number<std::uint32_t>(field + ": type"));
    const auto block = find_block(tensor.type);
    if (!block) {
      fail("gguf: ", field, ": type ", static_cast<std::uint32_t>(tensor.type),
           " is not supported, only f32 (0), f16 (1), q8_0 (8) and bf16 (30) are");
    }
    if (tensor.dims[0] % block->values != 0) {
      fail("gguf: ", field, ": ", tensor.dims[0], " columns are not whole blocks of ", block->values);
    }
    tensor.offset = in.number<std::uint64_t>(field + ": offset");
    tensors_.push_back(std::move(tensor));
  }
}

// The tensors' bytes begin at the first multiple of the alignment and follow each other likewise.
// Holding the file to that rules out overlaps, gaps and trailing bytes at once.
void Gguf::place_tensors(ByteReader& in) {
  const std::uint64_t alignment = find_count("general.alignment").value_or(kDefaultAlignment);
  if (alignment < 8 || !std::has_single_bit(alignment)) {
    fail("gguf: key general.alignment: ", alignment, " is not a power of two from 8");
  }
  const std::uint64_t data_begin = align_up(in.offset(), alignment);
  for (Tensor& tensor : tensors_) {
    const std::string field = "tensor " + tensor.name;
    const std::uint64_t begin = align_up(in.offset(), alignment);
    if (tensor.offset != begin - data_begin) {
      fail("gguf: ", field, ": offset ", tensor.offset, " should be ", begin - data_begin);
    }
    in.take(begin - in.offset(), field + ": padding");
    const auto bytes = bytes_needed(tensor);
    in.require(bytes, field + ": " + shape_text(tensor) + " values");
    tensor.bytes = in.take(*bytes, field);
  }
  const std::uint64_t padding = align_up(in.offset(), alignment) - in.offset();
  if (in.remaining() > padding) {
    fail("gguf: ", in.remaining() - padding, " bytes after the last tensor");
  }
}

std::vector<std::string_view> Gguf::keys() const {
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : metadata_) keys.push_back(key);
  return keys;
}

std::string Gguf::value_text(std::string_view key) const {
  const Value& value = metadata_.find(key)->second;
  std::ostringstream text;
  if (value.is_array) {
    text << "an array of " << value.count << ' ' << kTypeNames[value.type];
  } else if (value.type == kText) {
    text << printable(ByteReader(value.bytes).text(key));
  } else if (value.type == kF32) {
    text << load<float>(value.bytes);
  } else if (value.type == kF64) {
    text << load<double>(value.bytes);
  } else if (value.type == kBool) {
    text << (load<std::uint8_t>(value.bytes) ? "true" : "false");
  } else if (value.type == kU64) {
    text << load<std::uint64_t>(value.bytes);
  } else {
    text << load_integer(value.type, value.bytes);
  }
  return text.str();
}

/// Null when there is no such key, an error when its value is not one of `types`.
const Gguf::Value* Gguf::find(std::string_view key, std::string_view wanted, bool is_array,
                              std::initializer_list<std::uint32_t> types) const {
  const auto at = metadata_.find(key);
  if (at == metadata_.end()) return nullptr;
  const Value& value = at->second;
  if (value.is_array != is_array || std::find(types.begin(), types.end(), value.type) == types.end()) {
    fail("gguf: key ", key, " should be ", wanted, " but is ", value.is_array ? "an array of " : "",
         kTypeNames[value.type]);
  }
  return &value;
}

std::optional<std::string_view> Gguf::find_text(std::string_view key) const {
  const Value* value = find(key, "a text", false, {kText});
  if (!value) return std::nullopt;
  return ByteReader(value->bytes).text(key);
}

std::optional<std::size_t> Gguf::find_count(std::string_view key) const {
  const Value* value = find(key, "an integer", false, {kU8, kI8, kU16, kI16, kU32, kI32, kU64, kI64});
  if (!value) return std::nullopt;
  const std::int64_t count = load_integer(value->type, value->bytes);
  if (count < 0 || count > kMaxCount) fail("gguf: key ", key, " is not in 0 to ", kMaxCount);
  return static_cast<std::size_t>(count);
}

std::optional<float> Gguf::find_number(std::string_view key) const {
  const Value* value = find(key, "a floating-point number", false, {kF32, kF64});
  if (!value) return std::nullopt;
  if (value->type == kF32) return load<float>(value->bytes);
  return static_cast<float>(load<double>(value->bytes));
}

std::optional<bool> Gguf::find_flag(std::string_view key) const {
  const Value* value = find(key, "a bool", false, {kBool});
  if (!value) return std::nullopt;
  const auto flag = load<std::uint8_t>(value->bytes);
  if (flag > 1) fail("gguf: key ", key, ": bool is ", int{flag}, ", neither 0 nor 1");
  return flag == 1;
}

std::optional<std::vector<std::int32_t>> Gguf::find_integers(std::string_view key) const {
  const Value* value = find(key, "an array of i32", true, {kI32});
  if (!value) return std::nullopt;
  return load_all<std::int32_t>(value->bytes);
}

std::optional<std::vector<float>> Gguf::find_numbers(std::string_view key) const {
  const Value* value = find(key, "an array of f32", true, {kF32});
  if (!value) return std::nullopt;
  return load_all<float>(value->bytes);
}

std::optional<std::vector<std::string_view>> Gguf::find_texts(std::string_view key) const {
  const Value* value = find(key, "an array of text", true, {kText});
  if (!value) return std::nullopt;
  std::vector<std::string_view> texts;
  texts.reserve(value->count);
  for (ByteReader in(value->bytes); in.remaining() != 0;) texts.push_back(in.text(key));
  return texts;
}

std::string_view Gguf::text(std::string_view key) const { return required(find_text(key), key); }

std::size_t Gguf::count(std::string_view key) const { return required(find_count(key), key); }

std::vector<std::string_view> Gguf::texts(std::string_view key) const {
  return required(find_texts(key), key);
}

std::vector<float> Gguf::numbers(std::string_view key) const {
  return required(find_numbers(key), key);
}

const Tensor* Gguf::find_tensor(std::string_view name) const {
  const auto at = tensor_index_.find(name);
  return at == tensor_index_.end() ? nullptr : &tensors_[at->second];
}

}  // namespace engine
