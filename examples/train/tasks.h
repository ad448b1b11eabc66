// SPDX-License-Identifier: Apache-2.0
// What a model is taught beside plain text: to find, to count and to follow what stands far back. The
// tasks are those of RULER (arXiv 2404.06654), small enough for a model of bytes.
#pragma once

#include <cstddef>
#include <functional>
#include <random>
#include <string_view>

#include "corpus.h"
#include "sample.h"

namespace train {

/// Which part of a corpus a task takes its text from.
enum class Part { kTraining, kHeldOut };

/// Writes a sample of context + 1 tokens, BOS first. The same numbers make the same sample everywhere.
using Task = std::function<Sample(std::size_t context, std::mt19937_64& random)>;

constexpr std::size_t kMinContext = 128;

/// text            a passage
/// recall          facts, over and over: what was said of a word before? The densest lesson in looking back
/// needle          one number hidden in a passage under a word, and asked for at its end
/// needles         several; those not asked for differ in nothing but the word
/// common_words    a list of words: which one is most common?
/// frequent_words  a list of a few words, often repeated: which three are most frequent?
/// variables       assignments scattered in a passage: which variables have got a value in the end?
/// The corpus must outlive the task. Throws, naming all that exist, on another name.
Task make_task(std::string_view name, const Corpus& corpus, Part part);

/// "text:4,needles:2,variables" draws a task by its share, 1 where none is given, and then a sample.
Task make_mixture(std::string_view text_form, const Corpus& corpus, Part part);

}  // namespace train
