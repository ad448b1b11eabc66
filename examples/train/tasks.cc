// SPDX-License-Identifier: Apache-2.0
#include "tasks.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "chance.h"
#include "draft.h"
#include "fresh.h"
#include "generate/error.h"

namespace train {
namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/// The first place from `at` on where a word of `text` ends; its end at the latest.
std::size_t word_end(std::string_view text, std::size_t at) {
  const auto is_end = [&](std::size_t i) {
    return is_space(text[i]) && (i == 0 || !is_space(text[i - 1]));
  };
  while (at < text.size() && !is_end(at)) ++at;
  return at;
}

/// Where `bytes` of `text` may begin.
std::size_t somewhere(std::string_view text, std::size_t bytes, Random& random) {
  if (bytes > text.size()) {
    engine::fail("task: a context of ", bytes, " is longer than this part of the text, ", text.size(),
                 " bytes");
  }
  return below(text.size() - bytes + 1, random);
}

/// `bytes` of `text`, to the end of a word.
std::string_view passage(std::string_view text, std::size_t bytes, Random& random) {
  const std::size_t end = word_end(text, somewhere(text, bytes, random) + bytes);
  return text.substr(end - bytes, bytes);
}

/// The end of `passage`, with `needles` in it in this order and `question` behind it.
Sample hide(std::string_view passage, const std::vector<Sentence>& needles, const Sentence& question,
            Random& random) {
  std::size_t bytes = passage.size() - bytes_in(question);
  for (const Sentence& needle : needles) bytes -= bytes_in(needle);
  const std::string_view hay = passage.substr(passage.size() - bytes);

  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < needles.size(); ++i) {
    places.push_back(word_end(hay, below(hay.size() + 1, random)));
  }
  std::sort(places.begin(), places.end());

  Draft draft;
  std::size_t done = 0;
  for (std::size_t i = 0; i < needles.size(); ++i) {
    draft.add(hay.substr(done, places[i] - done));
    draft.add(needles[i]);
    done = places[i];
  }
  draft.add(hay.substr(done));
  draft.add(question);
  return draft.take();
}

Sample text(std::string_view text, std::size_t context, Random& random) {
  Draft draft;
  draft.add(text.substr(somewhere(text, context, random), context));
  return draft.take();
}

/// A needle; or, when `value` is the answer, the question for it.
Sentence number_of(const std::string& key, const std::string& value, Role role) {
  return {{" The number of "}, {key, Role::kRandom}, {" is "}, {value, role}, {"."}};
}

/// Hides as many numbers as `hidden` and asks for `asked` of them.
Sample find_numbers(std::string_view text, std::size_t context, std::size_t hidden, std::size_t asked,
                    Random& random) {
  const std::string_view hay = passage(text, context, random);
  Fresh fresh(hay);
  std::vector<Sentence> needles, questions;
  for (std::size_t i = 0; i < hidden; ++i) {
    const std::string key = fresh.word(random);
    const std::string value = fresh.number(random);
    needles.push_back(number_of(key, value, Role::kRandom));
    questions.push_back(number_of(key, value, Role::kAnswer));
  }
  shuffle(questions, random);
  Sentence question;
  for (std::size_t i = 0; i < asked; ++i) {
    question.insert(question.end(), questions[i].begin(), questions[i].end());
  }
  return hide(hay, needles, question, random);
}

Sample needle(std::string_view text, std::size_t context, Random& random) {
  return find_numbers(text, context, 1, 1, random);
}

Sample needles(std::string_view text, std::size_t context, Random& random) {
  const std::size_t hidden = std::clamp<std::size_t>(context / 128, 2, 24);
  return find_numbers(text, context, hidden, std::min<std::size_t>(hidden, 8), random);
}

/// A context full of facts, of which about half, the last too, have been said before.
Sample recall(std::string_view, std::size_t context, Random& random) {
  const auto fact = [](const std::string& key, const std::string& value, Role role) {
    return Sentence{{" "}, {key, Role::kRandom}, {" is "}, {value, role}, {"."}};
  };
  Fresh fresh("");
  std::vector<std::pair<std::string, std::string>> facts;
  const auto add_new = [&] { facts.emplace_back(fresh.word(random), fresh.number(random)); };

  // Whole facts seldom fill the context: like a passage, it begins within one.
  std::string cut;
  for (const Phrase& phrase : fact(fresh.word(random), fresh.number(random), Role::kRandom))
    cut += phrase.text;
  const std::size_t bytes = cut.size();
  Draft draft;
  draft.add(std::string_view(cut).substr(bytes - context % bytes), Role::kRandom);
  for (std::size_t left = context / bytes; left > 0; --left) {
    const bool is_known = !facts.empty() && (below(2, random) == 0 || left == 1);
    if (!is_known) add_new();
    const auto& [key, value] = is_known ? facts[below(facts.size(), random)] : facts.back();
    draft.add(fact(key, value, is_known ? Role::kAnswer : Role::kRandom));
  }
  return draft.take();
}

Sample variables(std::string_view text, std::size_t context, Random& random) {
  constexpr std::size_t kLinks = 3;
  const std::string_view hay = passage(text, context, random);
  Fresh fresh(hay);

  // Who is asked for is chain 0; it comes first or last by the order of links, not by its number.
  std::vector<std::size_t> order(kLinks, 0);
  if (context >= 256) order.resize(2 * kLinks, 1);
  shuffle(order, random);
  const std::array<std::string, 2> values{fresh.number(random), fresh.number(random)};
  std::array<std::vector<std::string>, 2> names;
  std::vector<Sentence> assignments;
  for (const std::size_t chain : order) {
    std::vector<std::string>& chain_names = names[chain];
    // Only a number comes out of nothing: the name of a variable has been seen before.
    const Phrase source =
        chain_names.empty() ? Phrase{values[chain], Role::kRandom} : Phrase{chain_names.back()};
    chain_names.push_back(fresh.word(random));
    assignments.push_back({{" VAR "}, {chain_names.back(), Role::kRandom}, {" = "}, source, {"."}});
  }

  Sentence question{{" The variables that hold "}, {values[0], Role::kRandom}, {" are "}};
  for (std::size_t i = 0; i < kLinks; ++i) {
    question.push_back({names[0][i], Role::kAnswer});
    question.push_back({i + 1 < kLinks ? ", " : "."});
  }
  return hide(hay, assignments, question, random);
}

/// How many words a list has room for in front of `question`.
std::size_t words_before(const Sentence& question, std::size_t context) {
  return (context - bytes_in(question)) / (Fresh::kWordBytes + 1);
}

/// Each words[i] counts[i] times, well mixed, and then `question`.
Sample list(const std::vector<std::string>& words, const std::vector<std::size_t>& counts,
            const Sentence& question, std::size_t context, Fresh& fresh, Random& random) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < words.size(); ++i) order.insert(order.end(), counts[i], i);
  shuffle(order, random);
  std::string text;
  for (const std::size_t i : order) text += ' ' + words[i];

  // Whole words seldom fill the context: like a passage, the list begins within a word.
  const std::string first = fresh.word(random);
  const std::size_t missing = context - bytes_in(question) - text.size();
  Draft draft;
  draft.add(first.substr(first.size() - missing), Role::kRandom);
  draft.add(text, Role::kRandom);
  draft.add(question);
  return draft.take();
}

Sample common_words(std::string_view, std::size_t context, Random& random) {
  Fresh fresh("");
  std::vector<std::string> words{fresh.word(random)};
  const Sentence question{{". The most common word is "}, {words[0], Role::kAnswer}, {"."}};

  const std::size_t most = std::max<std::size_t>(context / 40, 5);
  std::vector<std::size_t> counts{most};
  for (std::size_t left = words_before(question, context) - most; left > 0; left -= counts.back()) {
    words.push_back(fresh.word(random));
    counts.push_back(std::min(left, 1 + below(most / 5, random)));
  }
  return list(words, counts, question, context, fresh, random);
}

/// Splits `total` by Zipf's law, 1 : 1/2 : 1/3 ..., each at least 1. However short the list, the first
/// three are apart from what follows them by more than a fifth.
std::vector<std::size_t> zipf_counts(std::size_t total, std::size_t words) {
  constexpr std::uint64_t kUnit = 232792560;  // whole shares for up to 20 words: no rounding anywhere
  std::uint64_t shares = 0;
  for (std::size_t i = 0; i < words; ++i) shares += kUnit / (i + 1);

  std::vector<std::size_t> counts(words);
  for (std::size_t i = words; i-- > 1;) {
    const std::size_t least = i < 3 ? counts[i + 1] + counts[i + 1] / 5 + 1 : 1;
    counts[i] = std::max(least, static_cast<std::size_t>(total * (kUnit / (i + 1)) / shares));
    counts[0] += counts[i];
  }
  counts[0] = total - counts[0];  // about twice the second, so what little the others gained is there
  return counts;
}

Sample frequent_words(std::string_view, std::size_t context, Random& random) {
  Fresh fresh("");
  std::vector<std::string> words;
  for (std::size_t i = 0; i < 3; ++i) words.push_back(fresh.word(random));
  const Sentence question{{". The three most frequent words are "},
                          {words[0], Role::kAnswer},
                          {", "},
                          {words[1], Role::kAnswer},
                          {", "},
                          {words[2], Role::kAnswer},
                          {"."}};

  const std::size_t total = words_before(question, context);
  const std::size_t different = std::min(10 + below(11, random), total / 3);
  while (words.size() < different) words.push_back(fresh.word(random));
  return list(words, zipf_counts(total, different), question, context, fresh, random);
}

struct NamedTask {
  std::string_view name;
  Sample (*make)(std::string_view text, std::size_t context, Random& random);
};
constexpr std::array<NamedTask, 7> kTasks{{{"text", text},
                                           {"recall", recall},
                                           {"needle", needle},
                                           {"needles", needles},
                                           {"common_words", common_words},
                                           {"frequent_words", frequent_words},
                                           {"variables", variables}}};

std::string all_names() {
  std::string names;
  for (const NamedTask& task : kTasks) names += (names.empty() ? "" : ", ") + std::string(task.name);
  return names;
}

}  // namespace

Task make_task(std::string_view name, const Corpus& corpus, Part part) {
  const auto task =
      std::find_if(kTasks.begin(), kTasks.end(), [&](const auto& t) { return t.name == name; });
  if (task == kTasks.end()) {
    engine::fail("task: no ", engine::printable(name), ", there are ", all_names());
  }
  const std::string_view text = part == Part::kTraining ? corpus.training() : corpus.held_out();
  return [task = *task, text](std::size_t context, Random& random) {
    if (context < kMinContext) {
      engine::fail("task: ", task.name, " needs a context of ", kMinContext, ", not ", context);
    }
    return task.make(text, context, random);
  };
}

Task make_mixture(std::string_view text_form, const Corpus& corpus, Part part) {
  struct Share {
    std::size_t share;
    Task task;
  };
  std::vector<Share> shares;
  std::size_t total = 0;
  for (std::size_t at = 0; at <= text_form.size();) {
    const std::size_t end = std::min(text_form.find(',', at), text_form.size());
    const std::string_view item = text_form.substr(at, end - at);
    const std::size_t colon = std::min(item.find(':'), item.size());
    std::uint32_t share = 1;
    if (colon < item.size()) {
      const auto [rest, error] =
          std::from_chars(item.data() + colon + 1, item.data() + item.size(), share);
      if (error != std::errc() || rest != item.data() + item.size() || share == 0) {
        engine::fail("mixture: ", engine::printable(item), " has no share such as in text:4");
      }
    }
    shares.push_back({share, make_task(item.substr(0, colon), corpus, part)});
    total += share;
    at = end + 1;
  }
  return [shares = std::move(shares), total](std::size_t context, Random& random) {
    std::size_t drawn = below(total, random);
    auto chosen = shares.begin();
    while (drawn >= chosen->share) drawn -= (chosen++)->share;
    return chosen->task(context, random);
  };
}

}  // namespace train
