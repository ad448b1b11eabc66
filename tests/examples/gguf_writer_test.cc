// SPDX-License-Identifier: Apache-2.0
// What is written reads back; what no reader would accept is not written.
#include "gguf_writer.h"

#include <bit>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "gguf.h"
#include "gguf_parts.h"
#include "skim/core/storage.h"
#include "support/scratch_folder.h"
#include "whole_file.h"

namespace engine {
namespace {

using skim::test::error_of;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<std::uint32_t> bits(const Floats& values) {
  std::vector<std::uint32_t> out;
  for (const float value : values) out.push_back(std::bit_cast<std::uint32_t>(value));
  return out;
}

/// One of everything.
GgufWriter written_sample() {
  GgufWriter file;
  file.text("general.name", "a sample");
  file.text("some.empty", "");
  file.count("some.count", std::numeric_limits<std::int32_t>::max());
  file.number("some.number", -0.0f);
  file.flag("some.true", true);
  file.flag("some.false", false);
  file.texts("some.texts", std::vector<std::string>{"a", "", "\xE2\x96\x81 and a\n"});
  file.texts("no.texts", {});
  file.numbers("some.numbers", Floats{1, kInfinity, 0x1p-149f});
  file.numbers("no.numbers", {});
  file.integers("some.integers",
                std::vector<std::int32_t>{-1, 0, std::numeric_limits<std::int32_t>::min()});
  file.integers("no.integers", {});
  file.tensor("matrix", TensorType::kF32, {3, 2}, Floats{1, 2, 3, 4, 5, 6});
  file.tensor("half", TensorType::kF16, {3}, Floats{0.5f, -2, 65504});
  file.tensor("cube", TensorType::kF16, {1, 2, 3, 1}, Floats{1, 2, 3, 4, 5, 6});
  file.tensor("one", TensorType::kF32, {1}, Floats{7});
  return file;
}

TEST(GgufWriter, WritesWhatReadsBack) {
  const Gguf file(written_sample().bytes());
  EXPECT_EQ(file.text("general.name"), "a sample");
  EXPECT_EQ(file.text("some.empty"), "");
  EXPECT_EQ(file.count("some.count"), std::size_t{0x7FFFFFFF});
  EXPECT_EQ(bits({*file.find_number("some.number")}), bits({-0.0f}));
  EXPECT_EQ(file.find_flag("some.true"), true);
  EXPECT_EQ(file.find_flag("some.false"), false);
  EXPECT_EQ(file.texts("some.texts"), (std::vector<std::string_view>{"a", "", "\xE2\x96\x81 and a\n"}));
  EXPECT_EQ(file.texts("no.texts"), std::vector<std::string_view>{});
  EXPECT_EQ(file.numbers("some.numbers"), (Floats{1, kInfinity, 0x1p-149f}));
  EXPECT_EQ(file.numbers("no.numbers"), Floats{});
  EXPECT_EQ(file.find_integers("some.integers"),
            (std::vector<std::int32_t>{-1, 0, std::numeric_limits<std::int32_t>::min()}));
  EXPECT_EQ(file.find_integers("no.integers"), std::vector<std::int32_t>{});

  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.tensors()[0].name, "matrix");
  EXPECT_EQ(file.tensors()[3].name, "one");
  EXPECT_EQ(shape_text(*file.find_tensor("matrix")), "3 x 2");
  EXPECT_EQ(shape_text(*file.find_tensor("cube")), "1 x 2 x 3 x 1");
  EXPECT_EQ(file.find_tensor("half")->type, TensorType::kF16);
  EXPECT_EQ(floats(*file.find_tensor("matrix")), (Floats{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(floats(*file.find_tensor("half")), (Floats{0.5f, -2, 65504}));
  EXPECT_EQ(floats(*file.find_tensor("cube")), (Floats{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(floats(*file.find_tensor("one")), (Floats{7}));
}

// The tests' writer is an account of the format of its own.
TEST(GgufWriter, WritesTheBytesOfTheFormat) {
  GgufWriter file;
  file.text("t", "text");
  file.count("c", 7);
  file.number("n", 0.5f);
  file.flag("f", true);
  file.texts("ts", std::vector<std::string>{"a", ""});
  file.numbers("ns", Floats{1, 2});
  file.integers("is", std::vector<std::int32_t>{-1});
  file.tensor("w", TensorType::kF32, {3, 1}, Floats{1, 2, 3});
  file.tensor("v", TensorType::kF32, {8}, Floats(8, 4.0f));

  GgufParts parts;
  parts.text("t", "text");
  parts.u32("c", 7);
  parts.f32("n", 0.5f);
  parts.flag("f", true);
  parts.texts("ts", {"a", ""});
  parts.numbers<float>("ns", 6, {1, 2});
  parts.numbers<std::int32_t>("is", 5, {-1});
  parts.f32_tensor("w", {3, 1}, {1, 2, 3});
  parts.f32_tensor("v", {8}, Floats(8, 4.0f));
  EXPECT_EQ(file.bytes(), parts.bytes());
}

TEST(GgufWriter, PutsEveryTensorAtAMultipleOf32Bytes) {
  for (std::size_t key_length = 1; key_length <= 33; ++key_length) {
    GgufWriter file;
    file.flag(std::string(key_length, 'k'), true);
    for (std::size_t size = 1; size <= 40; ++size) {
      const auto type = size % 2 ? TensorType::kF16 : TensorType::kF32;
      file.tensor("w" + std::to_string(size), type, {size}, Floats(size, static_cast<float>(size)));
    }
    const Bytes bytes = file.bytes();
    EXPECT_EQ(bytes.size() % 32, 0u);
    const Gguf read{Bytes(bytes)};
    const std::byte* data = read.tensors()[0].bytes.data();
    for (const Tensor& tensor : read.tensors()) {
      EXPECT_EQ(tensor.offset % 32, 0u);
      EXPECT_EQ(tensor.bytes.data(), data + tensor.offset);
      EXPECT_EQ(floats(tensor), Floats(tensor.dims[0], static_cast<float>(tensor.dims[0])));
    }
    const Tensor& last = read.tensors().back();
    const std::size_t begin = bytes.size() - (last.offset + (last.bytes.size() + 31) / 32 * 32);
    EXPECT_EQ(begin % 32, 0u) << "the first tensor in the file";
  }
}

TEST(GgufWriter, WritesFilesWithoutTensorsOrKeys) {
  EXPECT_TRUE(Gguf(GgufWriter().bytes()).tensors().empty());
  GgufWriter keys;
  keys.count("k", 3);
  EXPECT_EQ(Gguf(keys.bytes()).count("k"), 3u);
  GgufWriter tensors;
  tensors.tensor("w", TensorType::kF32, {1}, Floats{3});
  EXPECT_EQ(floats(*Gguf(tensors.bytes()).find_tensor("w")), Floats{3});
}

TEST(GgufWriter, RoundsHalvesToNearestTiesToEven) {
  const Floats exact{1 + 0x1p-11f,
                     1 + 0x3p-11f,
                     1 + 0x1.2p-11f,
                     1 + 0x1.8p-12f,
                     -(1 + 0x3p-11f),
                     0x1p-25f,
                     0x1.000002p-25f,
                     0x3p-25f,
                     -0x1p-26f,
                     0x1.ffcp-15f,
                     65519.996f,
                     65520,
                     -65520,
                     1e30f,
                     kInfinity,
                     -kInfinity,
                     0,
                     -0.0f};
  const Floats rounded{1,          1 + 0x1p-9f, 1 + 0x1p-10f, 1,         -(1 + 0x1p-9f),
                       0,          0x1p-24f,    0x1p-23f,     -0.0f,     0x1p-14f,
                       65504,      kInfinity,   -kInfinity,   kInfinity, kInfinity,
                       -kInfinity, 0,           -0.0f};
  GgufWriter file;
  file.tensor("w", TensorType::kF16, {exact.size()}, exact);
  EXPECT_EQ(bits(floats(*Gguf(file.bytes()).find_tensor("w"))), bits(rounded));
}

TEST(GgufWriter, KeepsEveryHalfAndEveryBitOfAFloat) {
  Floats halves;
  for (std::uint32_t half = 0; half <= 0xFFFF; ++half) {
    const float value = skim::to_float(skim::F16{static_cast<std::uint16_t>(half)});
    if (value == value) halves.push_back(value);
  }
  const Floats odd{std::bit_cast<float>(0x7FC12345u), std::bit_cast<float>(0xFF800001u), -0.0f,
                   0x1p-149f};
  GgufWriter file;
  file.tensor("halves", TensorType::kF16, {halves.size()}, halves);
  file.tensor("odd", TensorType::kF32, {odd.size()}, odd);
  file.tensor("nan", TensorType::kF16, {2}, std::span(odd).first(2));
  const Gguf read(file.bytes());
  EXPECT_EQ(bits(floats(*read.find_tensor("halves"))), bits(halves));
  EXPECT_EQ(bits(floats(*read.find_tensor("odd"))), bits(odd));
  for (const float value : floats(*read.find_tensor("nan"))) EXPECT_NE(value, value);
}

// After each of them the writer is as if it had not been asked.
TEST(GgufWriter, RefusesWhatNoReaderAccepts) {
  GgufWriter file = written_sample();
  const auto refused = [&](auto&& call) { return error_of([&] { call(file); }); };

  const std::string twice = "gguf: key general.name appears twice";
  EXPECT_EQ(refused([](auto& f) { f.text("general.name", "x"); }), twice);
  EXPECT_EQ(refused([](auto& f) { f.count("general.name", 1); }), twice);
  EXPECT_EQ(refused([](auto& f) { f.number("general.name", 1); }), twice);
  EXPECT_EQ(refused([](auto& f) { f.flag("general.name", true); }), twice);
  EXPECT_EQ(refused([](auto& f) { f.texts("general.name", {}); }), twice);
  EXPECT_EQ(refused([](auto& f) { f.numbers("general.name", {}); }), twice);
  EXPECT_EQ(refused([](auto& f) { f.integers("general.name", {}); }), twice);
  EXPECT_EQ(refused([](auto& f) { f.count("general.alignment", 64); }),
            "gguf: key general.alignment is the writer's own: it is always 32");
  EXPECT_EQ(refused([](auto& f) { f.flag("", true); }), "gguf: the name of a key is empty");
  EXPECT_EQ(refused([](auto& f) { f.flag("\x1b[2J", true); }),
            "gguf: the name of a key is not printable ASCII");
  EXPECT_EQ(
      refused([](auto& f) { f.flag(std::string(65536, 'k'), true); }),
      "gguf: the name of key " + std::string(64, 'k') + "... has 65536 bytes but 65535 is the most");

  const auto tensor = [&](const std::string& name, const std::vector<std::uint64_t>& dims,
                          std::size_t values, TensorType type = TensorType::kF32) {
    return refused([&](auto& f) { f.tensor(name, type, dims, Floats(values)); });
  };
  EXPECT_EQ(tensor("one", {1}, 1), "gguf: tensor one appears twice");
  EXPECT_EQ(tensor("", {1}, 1), "gguf: the name of a tensor is empty");
  EXPECT_EQ(tensor("a\nb", {1}, 1), "gguf: the name of a tensor is not printable ASCII");
  EXPECT_EQ(tensor(std::string(65, 'w'), {1}, 1),
            "gguf: the name of tensor " + std::string(64, 'w') + "... has 65 bytes but 64 is the most");
  EXPECT_EQ(tensor("w", {3, 2}, 7), "gguf: tensor w: 3 x 2 is 6 values but there are 7");
  EXPECT_EQ(tensor("w", {3, 2}, 5), "gguf: tensor w: 3 x 2 is 6 values but there are 5");
  EXPECT_EQ(tensor("w", {1}, 0), "gguf: tensor w: 1 is 1 values but there are 0");
  EXPECT_EQ(tensor("w", {std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0),
            "gguf: tensor w: 4294967296 x 4294967296 is over 2^64 values but there are 0");
  EXPECT_EQ(tensor("w", {}, 1), "gguf: tensor w: rank 0 is not 1 to 4");
  EXPECT_EQ(tensor("w", {1, 1, 1, 1, 1}, 1), "gguf: tensor w: rank 5 is not 1 to 4");
  EXPECT_EQ(tensor("w", {2, 0}, 0), "gguf: tensor w: dimension 1 is 0");
  EXPECT_EQ(tensor("w", {32}, 32, TensorType::kQ8_0),
            "gguf: tensor w: type 8 is not written, only f32 (0) and f16 (1) are");

  EXPECT_EQ(file.bytes(), written_sample().bytes());
}

TEST(GgufWriter, WritesNamesAsLongAsTheyMayBe) {
  GgufWriter file;
  file.flag(std::string(65535, 'k'), true);
  file.tensor(std::string(64, 'w'), TensorType::kF32, {1}, Floats{3});
  const Gguf read(file.bytes());
  EXPECT_EQ(read.find_flag(std::string(65535, 'k')), true);
  EXPECT_NE(read.find_tensor(std::string(64, 'w')), nullptr);
}

TEST(GgufWriter, WritesAFileWholeOrLeavesTheOneBefore) {
  const skim::test::ScratchFolder folder;
  const auto path = folder.path() / "model.gguf";
  GgufWriter().write(path);
  EXPECT_TRUE(Gguf::read(path).tensors().empty());
  written_sample().write(path);
  EXPECT_EQ(Gguf::read(path).tensors().size(), 4u);
  EXPECT_EQ(read_whole(path, "test"), written_sample().bytes());
  EXPECT_EQ(folder.names(), std::vector<std::string>{"model.gguf"});

  const auto nowhere = folder.path() / "none" / "model.gguf";
  EXPECT_EQ(error_of([&] { written_sample().write(nowhere); }),
            "cannot write \"" + nowhere.string() + "\": No such file or directory");
}

}  // namespace
}  // namespace engine
