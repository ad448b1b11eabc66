// SPDX-License-Identifier: Apache-2.0
// A training run on disk, so that it can be stopped at any moment and go on to the same bits. The file is
// words of 8 bytes, little-endian:
//
//   "skim run", version, step, losses, sum of them, bytes of the recipe, number of weights
//   recipe, weights, first moments, second moments      each padded with zeros to a whole word
//   checksum of all words before it
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace train {

/// All that a run needs to go on.
struct Checkpoint {
  std::string recipe;        // settings of the run, as text; a run resumes only its own
  std::uint64_t step = 0;    // steps that are done
  std::uint64_t losses = 0;  // steps since the last line of the loss curve ...
  double loss_sum = 0;       // ... and the sum of their losses
  std::vector<float> weights, first_moments, second_moments;  // of AdamW, equally long
};

/// Where `save` keeps what was at `path`.
std::filesystem::path previous_of(std::filesystem::path path);

/// Whole or not at all; what was at `path` becomes `path`.previous.
void save(const Checkpoint& checkpoint, const std::filesystem::path& path);

/// A file that is not exactly what `save` wrote is a std::runtime_error that names the path, the field and
/// what is wrong with it, and the previous file if there is one. That one is never loaded on the quiet:
/// steps that were done would be done again without anybody knowing.
Checkpoint load_checkpoint(const std::filesystem::path& path);

}  // namespace train
