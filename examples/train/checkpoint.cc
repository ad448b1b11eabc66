// SPDX-License-Identifier: Apache-2.0
#include "checkpoint.h"

#include <cstddef>
#include <cstring>
#include <iomanip>
#include <ios>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "generate/byte_reader.h"
#include "generate/byte_writer.h"
#include "generate/error.h"
#include "generate/file_bytes.h"
#include "generate/whole_file.h"

namespace train {
namespace {

using engine::fail;

constexpr std::string_view kMagic = "skim run";
constexpr std::uint64_t kVersion = 1;
constexpr std::size_t kWord = sizeof(std::uint64_t);

/// FNV-1a over whole words, with a shift: a product alone moves bits upwards only, and two flipped signs of
/// the upper float of a word would cancel. Every step is one-to-one, so no change of a single word is missed.
std::uint64_t checksum(std::span<const std::byte> bytes) {
  std::uint64_t sum = 0xCBF29CE484222325u;
  for (; !bytes.empty(); bytes = bytes.subspan(kWord)) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data(), kWord);
    sum = (sum ^ word) * 0x100000001B3u;
    sum ^= sum >> 32;
  }
  return sum;
}

std::string hex(std::uint64_t word) {
  std::ostringstream text;
  text << "0x" << std::hex << std::setw(16) << std::setfill('0') << word;
  return text.str();
}

/// The next field and what fills its last word; `zeros` becomes false where that is not what `save` fills it with.
std::span<const std::byte> take_padded(engine::ByteReader& in, std::optional<std::uint64_t> bytes,
                                       std::string_view field, bool& zeros) {
  in.require(bytes, field);
  const auto taken = in.take(*bytes, field);
  for (const std::byte byte : in.take((kWord - *bytes % kWord) % kWord, field)) zeros = zeros && byte == std::byte{0};
  return taken;
}

std::vector<float> floats(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

void take_magic(engine::ByteReader& in, std::string_view what) {
  const auto magic = in.take(kMagic.size(), "magic");
  if (std::memcmp(magic.data(), kMagic.data(), kMagic.size()) != 0)
    fail(what, ": magic is not ", kMagic);
}

/// `what` begins every message.
Checkpoint parse(std::span<const std::byte> bytes, std::string_view what) {
  engine::ByteReader in(bytes, what);
  take_magic(in, what);
  const auto version = in.number<std::uint64_t>("version");
  if (version != kVersion) fail(what, ": version ", version, " is not ", kVersion);

  Checkpoint checkpoint;
  checkpoint.step = in.number<std::uint64_t>("step");
  checkpoint.losses = in.number<std::uint64_t>("losses");
  checkpoint.loss_sum = in.number<double>("sum of losses");
  const auto recipe_bytes = in.number<std::uint64_t>("bytes of the recipe");
  const auto weight_count = in.number<std::uint64_t>("number of weights");
  const auto array_bytes = engine::multiply(weight_count, sizeof(float));
  // All fields are found before one is copied: then they fit into the file together.
  bool zeros = true;
  const auto recipe = take_padded(in, recipe_bytes, "recipe", zeros);
  const auto weights = take_padded(in, array_bytes, "weights", zeros);
  const auto first_moments = take_padded(in, array_bytes, "first moments", zeros);
  const auto second_moments = take_padded(in, array_bytes, "second moments", zeros);
  const auto expected = checksum(bytes.first(in.offset()));
  const auto found = in.number<std::uint64_t>("checksum");
  if (in.remaining() != 0) {
    fail(what, ": ", in.offset(), " bytes needed but ", bytes.size(), " there: ", in.remaining(),
         " after the checksum");
  }
  if (found != expected) {
    fail(what, ": checksum ", hex(expected), " expected but ", hex(found), " found");
  }
  if (!zeros) fail(what, ": padding is not zeros");

  checkpoint.recipe.assign(reinterpret_cast<const char*>(recipe.data()), recipe.size());
  checkpoint.weights = floats(weights);
  checkpoint.first_moments = floats(first_moments);
  checkpoint.second_moments = floats(second_moments);
  return checkpoint;
}

}  // namespace

std::filesystem::path previous_of(std::filesystem::path path) {
  path += ".previous";
  return path;
}

void save(const Checkpoint& checkpoint, const std::filesystem::path& path) {
  const std::size_t count = checkpoint.weights.size();
  if (checkpoint.first_moments.size() != count || checkpoint.second_moments.size() != count) {
    fail("checkpoint ", path, ": ", count, " weights have ", checkpoint.first_moments.size(),
         " first and ", checkpoint.second_moments.size(), " second moments");
  }
  engine::ByteWriter out;
  out.raw(kMagic).number(kVersion).number(checkpoint.step);
  out.number(checkpoint.losses).number(checkpoint.loss_sum);
  out.number<std::uint64_t>(checkpoint.recipe.size()).number<std::uint64_t>(count);
  out.raw(checkpoint.recipe).pad(kWord);
  for (const auto* array :
       {&checkpoint.weights, &checkpoint.first_moments, &checkpoint.second_moments}) {
    out.numbers(std::span<const float>(*array)).pad(kWord);
  }
  out.number(checksum(out.bytes()));

  engine::WholeFile file(path);
  file.write(out.bytes());
  file.commit(previous_of(path));
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  try {
    std::ostringstream what;
    what << "checkpoint " << path;
    const std::string file = what.str();
    const auto head = engine::read_head(path, kMagic.size(), "checkpoint");
    engine::ByteReader in(head, file);
    take_magic(in, file);
    return parse(engine::FileBytes::map(path, "checkpoint").span(), file);
  } catch (const std::runtime_error& error) {
    const auto previous = previous_of(path);
    std::error_code ignored;
    if (!std::filesystem::exists(previous, ignored)) throw;
    fail(error.what(), "; the one before is ", previous, ", to resume from");
  }
}

}  // namespace train
