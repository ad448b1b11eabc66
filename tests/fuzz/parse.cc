// SPDX-License-Identifier: Apache-2.0
// Any text as an estimator: std::invalid_argument, or an estimator whose text says the same again. The input is the
// text.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "fuzz/input.h"
#include "skim/estimator/text.h"

namespace {

using skim::fuzz::expect;

void check(const skim::StageList& list, const std::string& text) {
  list.validate();
  expect(!list.stages.empty(), "an estimator of no stages from " + text);
  const std::string written = skim::to_text(list);
  const skim::StageList again = skim::parse(written);
  expect(skim::to_text(again) == written, written + " is read and written as " + skim::to_text(again));
  expect(again.stages.size() == list.stages.size(), written + " has other stages than " + text);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{1000}, std::size_t{1} << 40}) {
    const std::size_t picks = list.max_picks(n);
    expect(picks == again.max_picks(n), written + " selects another number than " + text);
    expect(picks <= n, text + " selects more than there are");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  skim::StageList list;
  try {
    list = skim::parse(text);
  } catch (const std::invalid_argument& error) {
    expect(std::string_view(error.what()).starts_with("skim::parse: "), "an error of another kind: " + text);
    return 0;
  }
  check(list, text);  // what is thrown from here on is a fault
  return 0;
}
