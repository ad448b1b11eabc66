// SPDX-License-Identifier: Apache-2.0
#include "entropy_command.h"

#include <cmath>
#include <cstdio>

#include "entropy.h"
#include "generate/error.h"
#include "streams/streams.h"

namespace train {

void entropy(const MeasuredTexts& on, std::size_t threads) {
  const LoadedModel loaded(on.model, on.context);
  const Corpus corpus = Corpus::read(on.texts);
  const engine::Shape& shape = loaded.model.shape();

  std::printf("%-16s %5s %4s %8s %8s\n", "task", "layer", "head", "entropy", "keys");
  for (const std::string& name : on.tasks) {
    const Task task = make_task(name, corpus, on.part());
    const HeadEntropies entropies =
        head_entropies(loaded.model, loaded.weights, task, loaded.context, on.count, on.seed, threads);
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      for (std::size_t head = 0; head < shape.heads; ++head) {
        const double mean = entropies.mean(layer, head);
        if (!std::isfinite(mean)) engine::fail("train: head ", head, " of layer ", layer, " has an entropy of ", mean);
        std::printf("%-16s %5zu %4zu %8.4f %8.2f\n", name.c_str(), layer, head, mean, std::exp(mean));
      }
    }
    streams::require_written();
  }
}

}  // namespace train
