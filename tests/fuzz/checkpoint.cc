// SPDX-License-Identifier: Apache-2.0
// A checkpoint is what `save` wrote, bit for bit, or it is refused. Half of the inputs are files, and those that load
// must be what saving them again writes; the others are fields, which must come back, and be refused once the file is
// changed anywhere.
#include "train/checkpoint.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "fuzz/input.h"
#include "support/scratch_folder.h"

namespace {

using skim::fuzz::expect;
using skim::fuzz::Input;
using skim::test::read_file;
using skim::test::write_file;

/// What `load` complains about, or "". Anything but a std::runtime_error is a fault.
std::string refusal(const std::filesystem::path& path, train::Checkpoint& loaded) {
  return skim::test::error_of([&] { loaded = train::load_checkpoint(path); });
}

std::string saved(const train::Checkpoint& checkpoint, const std::filesystem::path& path) {
  std::filesystem::remove(path);
  train::save(checkpoint, path);
  return read_file(path);
}

/// Nobody guesses a checksum: the one that the message asks for.
std::string with_right_checksum(std::string file, const std::string& message) {
  constexpr const char* kBefore = ": checksum 0x";
  const std::size_t at = message.find(kBefore);
  if (at == std::string::npos) return {};
  const std::uint64_t sum = std::stoull(message.substr(at + std::strlen(kBefore), 16), nullptr, 16);
  std::memcpy(file.data() + file.size() - sizeof(sum), &sum, sizeof(sum));
  return file;
}

void try_file(std::string file, const std::filesystem::path& path) {
  write_file(path, file);
  train::Checkpoint loaded;
  const std::string message = refusal(path, loaded);
  if (!message.empty()) {
    expect(message.find(path.string()) != std::string::npos, "an error that does not name the file: " + message);
    file = with_right_checksum(file, message);
    if (file.empty()) return;
    write_file(path, file);
    const std::string again = refusal(path, loaded);
    if (again.ends_with("padding is not zeros")) return;
    expect(again.empty(), "all but the checksum was right, but: " + again);
  }
  expect(saved(loaded, path) == file, "what was loaded is not what save writes");
}

std::vector<float> floats(Input& in, std::size_t count) {
  std::vector<float> values(count);
  for (float& x : values) x = in.bits<float>();
  return values;
}

void try_fields(Input& in, const std::filesystem::path& path) {
  train::Checkpoint one;
  one.recipe = in.text();
  one.step = in.bits<std::uint64_t>();
  one.losses = in.bits<std::uint64_t>();
  one.loss_sum = in.bits<double>();
  const std::size_t count = in.between(0, 40);
  for (auto* array : {&one.weights, &one.first_moments, &one.second_moments}) *array = floats(in, count);
  const std::string file = saved(one, path);
  train::Checkpoint two;
  const std::string message = refusal(path, two);
  expect(message.empty(), message);
  expect(saved(two, path) == file, "other bits after loading");

  std::string changed = file;
  const std::size_t at = in.between(0, file.size() - 1);
  switch (in.between(0, 2)) {
    case 0: changed[at] = static_cast<char>(changed[at] ^ static_cast<char>(in.between(1, 255))); break;
    case 1: changed.resize(at); break;
    case 2: changed.insert(at, in.between(1, 32), static_cast<char>(in.byte())); break;
  }
  write_file(path, changed);
  expect(!refusal(path, two).empty(), "a changed file is taken for a checkpoint");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const skim::test::ScratchFolder folder;
  const std::filesystem::path path = folder.path() / "run.checkpoint";
  Input in(data, size);
  if (in.flag()) {
    try_fields(in, path);
  } else if (size > 1) {
    try_file(std::string(reinterpret_cast<const char*>(data + 1), size - 1), path);
  }
  return 0;
}
