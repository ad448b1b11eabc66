// SPDX-License-Identifier: Apache-2.0
// A right file reads back as it was written; every wrong one is an error that names the field.
#include "gguf.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <random>
#include <stdexcept>

#include <gtest/gtest.h>

#include "gguf_parts.h"
#include "test_data.h"

namespace engine {
namespace {

/// What reading `bytes` complains about, or "".
std::string gguf_error_of(const Bytes& bytes) {
  try {
    const Gguf file(bytes);
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << '"' << text << "\" does not contain \"" << part << '"';
}

/// One of everything, ending with the last byte of a tensor.
GgufParts sample_file() {
  GgufParts file;
  file.text("general.name", "a sample");
  file.u32("general.alignment", GgufParts::kAlignment);
  file.f32("some.number", 0.5f);
  file.flag("some.flag", true);
  file.texts("some.texts", {"a", "", "ccc"});
  file.numbers<float>("some.numbers", 6, {1, 2, 3});
  file.numbers<std::int32_t>("some.integers", 5, {-1, 7});
  file.f32_tensor("first", {3, 2}, {1, 2, 3, 4, 5, 6});
  file.f32_tensor("second", {1}, {7});
  return file;
}

/// The message when `dims`, with data for 64 x 8 f32 values, are written as a tensor's shape.
std::string error_of_dims(std::vector<std::uint64_t> dims) {
  GgufParts file;
  file.f32_tensor("w", std::move(dims), Floats(64 * 8));
  return gguf_error_of(file.bytes());
}

TEST(Gguf, ReadsWhatWasWritten) {
  for (const std::uint32_t version : {2u, 3u}) {
    GgufParts writer = sample_file();
    writer.version = version;
    const Gguf file(writer.bytes());
    EXPECT_EQ(file.text("general.name"), "a sample");
    EXPECT_EQ(file.count("general.alignment"), GgufParts::kAlignment);
    EXPECT_EQ(file.find_number("some.number"), 0.5f);
    EXPECT_EQ(file.find_flag("some.flag"), true);
    EXPECT_EQ(file.texts("some.texts"), (std::vector<std::string_view>{"a", "", "ccc"}));
    EXPECT_EQ(file.numbers("some.numbers"), (Floats{1, 2, 3}));
    EXPECT_EQ(file.find_integers("some.integers"), (std::vector<std::int32_t>{-1, 7}));
    ASSERT_EQ(file.tensors().size(), 2u);
    EXPECT_EQ(floats(*file.find_tensor("first")), (Floats{1, 2, 3, 4, 5, 6}));
    EXPECT_EQ(floats(*file.find_tensor("second")), (Floats{7}));
    EXPECT_EQ(shape_text(*file.find_tensor("first")), "3 x 2");
    EXPECT_EQ(file.find_tensor("third"), nullptr);
    EXPECT_EQ(file.find_text("no.such.key"), std::nullopt);
  }
}

TEST(Gguf, ReadsEveryIntegerTypeAsACount) {
  GgufParts writer;
  writer.key("u8", 0).number(std::uint8_t{200});
  writer.key("i8", 1).number(std::int8_t{100});
  writer.key("u16", 2).number(std::uint16_t{60000});
  writer.key("i16", 3).number(std::int16_t{30000});
  writer.key("u32", 4).number(std::uint32_t{2147483647});
  writer.key("i32", 5).number(std::int32_t{5});
  writer.key("u64", 10).number(std::uint64_t{10});
  writer.key("i64", 11).number(std::int64_t{11});
  writer.key("negative", 5).number(std::int32_t{-1});
  writer.key("large", 4).number(std::uint32_t{0x80000000u});
  writer.key("huge", 10).number(std::numeric_limits<std::uint64_t>::max());
  const Gguf file(writer.bytes());
  EXPECT_EQ(file.count("u8"), 200u);
  EXPECT_EQ(file.count("i8"), 100u);
  EXPECT_EQ(file.count("u16"), 60000u);
  EXPECT_EQ(file.count("i16"), 30000u);
  EXPECT_EQ(file.count("u32"), 2147483647u);
  EXPECT_EQ(file.count("i32"), 5u);
  EXPECT_EQ(file.count("u64"), 10u);
  EXPECT_EQ(file.count("i64"), 11u);
  EXPECT_THROW(file.count("negative"), std::runtime_error);
  EXPECT_THROW(file.count("large"), std::runtime_error);
  EXPECT_THROW(file.count("huge"), std::runtime_error);
}

TEST(Gguf, WidensEveryTensorType) {
  GgufParts writer;
  ByteWriter f16, bf16, q8_0;
  for (const int bits : {0x3C00, 0xC000, 0x0001}) {  // 1, -2, 2^-24
    f16.number(static_cast<std::uint16_t>(bits));
  }
  for (const int bits : {0x3F80, 0xC040, 0x7F80}) {  // 1, -3, inf
    bf16.number(static_cast<std::uint16_t>(bits));
  }
  for (int block = 0; block < 2; ++block) {
    q8_0.number(std::uint16_t{0x3800});  // 0.5
    for (int i = 0; i < 32; ++i) q8_0.number(static_cast<std::int8_t>(block ? -i : i));
  }
  writer.tensor("f16", {3}, 1, f16.bytes());
  writer.tensor("bf16", {3}, 30, bf16.bytes());
  writer.tensor("q8_0", {32, 2}, 8, q8_0.bytes());
  const Gguf file(writer.bytes());
  EXPECT_EQ(floats(*file.find_tensor("f16")), (Floats{1.0f, -2.0f, 0x1p-24f}));
  EXPECT_EQ(floats(*file.find_tensor("bf16")),
            (Floats{1.0f, -3.0f, std::numeric_limits<float>::infinity()}));
  const auto q8 = floats(*file.find_tensor("q8_0"));
  ASSERT_EQ(q8.size(), 64u);
  EXPECT_EQ(q8[31], 15.5f);
  EXPECT_EQ(q8[32 + 31], -15.5f);
}

TEST(Gguf, NamesTheKeyThatIsMissingOrOfAnotherType) {
  const Gguf file(sample_file().bytes());
  const auto message = [](auto&& call) -> std::string {
    try {
      call();
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message([&] { file.text("no.key"); }), "gguf: key no.key is missing");
  EXPECT_EQ(message([&] { file.text("some.number"); }),
            "gguf: key some.number should be a text but is f32");
  EXPECT_EQ(message([&] { file.count("some.texts"); }),
            "gguf: key some.texts should be an integer but is an array of text");
  EXPECT_EQ(message([&] { file.numbers("some.number"); }),
            "gguf: key some.number should be an array of f32 but is f32");
  EXPECT_EQ(message([&] { file.texts("some.numbers"); }),
            "gguf: key some.numbers should be an array of text but is an array of f32");
}

TEST(Gguf, RefusesAFileCutAtAnyByte) {
  const Bytes whole = sample_file().bytes();
  ASSERT_EQ(gguf_error_of(whole), "");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_TRUE(contains(gguf_error_of(cut), "gguf: ")) << "cut at " << size;
    EXPECT_TRUE(contains(gguf_error_of(cut), "remain")) << "cut at " << size;
  }
}

TEST(Gguf, SurvivesEveryFlippedBit) {
  const Bytes whole = sample_file().bytes();
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    gguf_error_of(flipped);  // an error or another valid file, never a crash
  }
}

TEST(Gguf, RefusesMagicAndVersionsItDoesNotKnow) {
  Bytes bytes = sample_file().bytes();
  bytes[0] = std::byte{'g'};
  EXPECT_EQ(gguf_error_of(bytes), "gguf: magic is not GGUF");
  for (const std::uint32_t version : {0u, 1u, 4u, 0x03000000u}) {
    GgufParts file = sample_file();
    file.version = version;
    EXPECT_TRUE(contains(gguf_error_of(file.bytes()), "version " + std::to_string(version)));
  }
}

TEST(Gguf, RefusesCountsBeyondTheFile) {
  for (const std::uint64_t count :
       {std::uint64_t{100}, std::uint64_t{1} << 40, std::numeric_limits<std::uint64_t>::max()}) {
    GgufParts keys = sample_file();
    keys.key_count = count;
    EXPECT_TRUE(contains(gguf_error_of(keys.bytes()), "key count " + std::to_string(count)));
    GgufParts tensors = sample_file();
    tensors.tensor_count = count;
    EXPECT_TRUE(contains(gguf_error_of(tensors.bytes()), "tensor count " + std::to_string(count)));
  }
}

TEST(Gguf, RefusesLengthsBeyondTheFile) {
  for (const std::uint64_t length :
       {std::uint64_t{1000}, std::uint64_t{1} << 62, std::numeric_limits<std::uint64_t>::max()}) {
    GgufParts name;
    name.key_count = 1;
    name.metadata.number(length).raw("abcdefgh");
    EXPECT_TRUE(contains(gguf_error_of(name.bytes()), "name of key 0"));
    GgufParts value;
    value.key("k", 8).number(length).raw("abcdefgh");
    EXPECT_TRUE(contains(gguf_error_of(value.bytes()), "key k: " + std::to_string(length)));
    for (const std::uint32_t type : {0u, 6u, 7u, 8u, 12u}) {
      GgufParts array;
      array.array("k", type, length).raw("abcdefgh");
      EXPECT_TRUE(contains(gguf_error_of(array.bytes()), "key k: " + std::to_string(length)));
    }
    GgufParts element;
    element.array("k", 8, 2).text("fine").number(length);
    EXPECT_TRUE(contains(gguf_error_of(element.bytes()), "key k: " + std::to_string(length)));
  }
}

TEST(Gguf, RefusesTypesItDoesNotKnow) {
  GgufParts value;
  value.key("k", 13).number(std::uint64_t{0});
  EXPECT_EQ(gguf_error_of(value.bytes()), "gguf: key k has unknown value type 13");
  GgufParts element;
  element.array("k", 99, 0);
  EXPECT_EQ(gguf_error_of(element.bytes()), "gguf: key k has unknown value type 99");
  GgufParts nested;
  nested.array("k", 9, 1).number(std::uint32_t{9}).number(std::uint64_t{1});
  EXPECT_EQ(gguf_error_of(nested.bytes()), "gguf: key k: arrays of arrays are not supported");
  for (const std::uint32_t type : {2u, 4u, 12u, 31u, 1u << 31}) {  // q4_0, removed, q4_k, ...
    GgufParts tensor = sample_file();
    tensor.tensors[0].type = type;
    EXPECT_TRUE(contains(gguf_error_of(tensor.bytes()),
                         "tensor first: type " + std::to_string(type) + " is not supported"));
  }
}

TEST(Gguf, RefusesFlagsThatAreNeitherTrueNorFalse) {
  GgufParts file;
  file.key("k", 7).number(std::uint8_t{2});
  EXPECT_THROW(Gguf(file.bytes()).find_flag("k"), std::runtime_error);
}

TEST(Gguf, RefusesDimensionsTheFileHasNoBytesFor) {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  constexpr std::uint64_t kWraps = (std::uint64_t{1} << 42) + 1;
  EXPECT_EQ(error_of_dims({64, 8}), "");
  EXPECT_EQ(error_of_dims({64, 9}), "gguf: tensor w: 64 x 9 values: 2304 bytes needed but 2048 remain");
  EXPECT_TRUE(contains(error_of_dims({kWraps, 4194304}), "tensor w: 4398046511105 x 4194304"));
  EXPECT_TRUE(contains(error_of_dims({kWraps, 64, 65536, 4}), "over 2^64 bytes needed"));
  EXPECT_TRUE(contains(error_of_dims({kLargest, 2}), "tensor w: 9223372036854775807 x 2"));
  EXPECT_TRUE(contains(error_of_dims({2, kLargest}), "over 2^64 bytes needed"));
  EXPECT_TRUE(contains(error_of_dims({~std::uint64_t{0}}), "over 2^64 bytes needed"));
  // 2^32 x 2^32 values wrap to none at all.
  EXPECT_TRUE(contains(error_of_dims({std::uint64_t{1} << 32, std::uint64_t{1} << 32}),
                       "over 2^64 bytes needed"));
  // Fewer values than there are bytes: what follows is not a tensor.
  EXPECT_TRUE(contains(error_of_dims({64, 7}), "256 bytes after the last tensor"));
}

TEST(Gguf, RefusesDimensionsOfZeroAndRanksOutOfRange) {
  EXPECT_EQ(error_of_dims({0}), "gguf: tensor w: dimension 0 is 0");
  EXPECT_EQ(error_of_dims({64, 0}), "gguf: tensor w: dimension 1 is 0");
  EXPECT_EQ(error_of_dims({}), "gguf: tensor w: rank 0 is not 1 to 4");
  EXPECT_EQ(error_of_dims({64, 8, 1, 1, 1}), "gguf: tensor w: rank 5 is not 1 to 4");
  GgufParts file = sample_file();
  file.tensors[0].rank = 0xFFFFFFFFu;
  EXPECT_EQ(gguf_error_of(file.bytes()), "gguf: tensor first: rank 4294967295 is not 1 to 4");
}

TEST(Gguf, RefusesRowsThatAreNotWholeBlocks) {
  GgufParts file;
  file.tensor("w", {33, 2}, 8, Bytes(4 * 34));
  EXPECT_EQ(gguf_error_of(file.bytes()), "gguf: tensor w: 33 columns are not whole blocks of 32");
}

TEST(Gguf, RefusesTensorsThatOverlapLeaveGapsOrEndEarly) {
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{16},
                                     std::uint64_t{64}, ~std::uint64_t{0}, ~std::uint64_t{31}}) {
    GgufParts file = sample_file();
    file.tensors[1].offset = offset;
    EXPECT_EQ(gguf_error_of(file.bytes()),
              "gguf: tensor second: offset " + std::to_string(offset) + " should be 32");
  }
  Bytes trailing = sample_file().bytes();
  trailing.resize(trailing.size() + 28);  // padding of the last tensor
  EXPECT_EQ(gguf_error_of(trailing), "");
  trailing.resize(trailing.size() + 1);
  EXPECT_EQ(gguf_error_of(trailing), "gguf: 1 bytes after the last tensor");
}

TEST(Gguf, RefusesNamesThatRepeatOrCannotBePrinted) {
  GgufParts keys;
  keys.u32("k", 1);
  keys.u32("k", 2);
  EXPECT_EQ(gguf_error_of(keys.bytes()), "gguf: key k appears twice");
  GgufParts tensors;
  tensors.f32_tensor("w", {1}, {1});
  tensors.f32_tensor("w", {1}, {2});
  EXPECT_EQ(gguf_error_of(tensors.bytes()), "gguf: tensor w appears twice");
  GgufParts escape;
  escape.u32("\x1b[2J", 1);
  EXPECT_EQ(gguf_error_of(escape.bytes()), "gguf: name of key 0 is not printable ASCII");
  GgufParts long_name;
  long_name.f32_tensor(std::string(65, 'w'), {1}, {1});
  EXPECT_EQ(gguf_error_of(long_name.bytes()), "gguf: name of tensor 0 has 65 bytes but 64 is the most");
}

TEST(Gguf, RefusesAlignmentsThatAreNone) {
  for (const std::uint32_t alignment : {0u, 1u, 4u, 24u}) {
    GgufParts file;
    file.u32("general.alignment", alignment);
    EXPECT_TRUE(contains(gguf_error_of(file.bytes()), "key general.alignment"));
  }
  GgufParts large;
  large.u32("general.alignment", 1u << 30);
  large.f32_tensor("w", {1}, {1});
  EXPECT_TRUE(contains(gguf_error_of(large.bytes()), "tensor w"));
  GgufParts text;
  text.text("general.alignment", "32");
  EXPECT_TRUE(contains(gguf_error_of(text.bytes()), "key general.alignment should be an integer"));
}

TEST(Gguf, RefusesWhatIsNotAFile) {
  EXPECT_THROW(Gguf::read("/"), std::runtime_error);
  EXPECT_THROW(Gguf::read("/no/such/file"), std::runtime_error);
  EXPECT_THROW(Gguf::read("/dev/zero"), std::runtime_error);
}

class RealGguf : public RealModel {
 protected:
  static Bytes read_bytes(const std::filesystem::path& path) {
    const std::string text = read_text(path);
    const auto* from = reinterpret_cast<const std::byte*>(text.data());
    return {from, from + text.size()};
  }
};

TEST_F(RealGguf, IsRefusedWhenCut) {
  const Bytes whole = read_bytes(model_path());
  ASSERT_EQ(gguf_error_of(whole), "");
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    // Half the cuts in the first 20 kB, where the metadata are.
    const std::size_t size = random() % (trial % 2 ? 20000 : whole.size());
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_TRUE(contains(gguf_error_of(cut), "remain")) << "cut at " << size;
  }
}

TEST_F(RealGguf, NeverCrashesOnFlippedBits) {
  const Bytes whole = read_bytes(model_path());
  std::mt19937 random(2);
  for (int trial = 0; trial < 500; ++trial) {
    Bytes flipped = whole;
    for (int flips = 1 + trial % 8; flips > 0; --flips) {
      flipped[random() % 15000] ^= static_cast<std::byte>(1 << random() % 8);
    }
    gguf_error_of(flipped);
  }
}

TEST_F(RealGguf, OfVersion1IsRefusedByName) {
  EXPECT_TRUE(contains(gguf_error_of(read_bytes(test_data() / "models/stories260K-gguf-v1.gguf")),
                       "version 1 is not supported"));
}

}  // namespace
}  // namespace engine
