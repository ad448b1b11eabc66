// SPDX-License-Identifier: Apache-2.0
// The texts are read again by plain means, which know nothing of how they were made.
#include "tasks.h"

#include <algorithm>
#include <array>
#include <map>
#include <regex>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "draft.h"

namespace train {
namespace {

constexpr std::array kNames{"text",         "recall",         "needle",   "needles",
                            "common_words", "frequent_words", "variables"};
constexpr std::array<std::size_t, 6> kContexts{128, 129, 200, 256, 512, 2048};
constexpr std::uint64_t kSeeds = 40;

/// 200,000 bytes that share many words with the tasks' own. Only what is held out is of '#'.
Corpus made_corpus() {
  const std::array words{"some",  "time", "a",    "number", "12",    "1234",  "VAR",   "is",
                         "words", "The",  "of\n", "kabo",   "timu.", "are\n", "hold,", "."};
  std::mt19937_64 random(7);
  std::string text;
  while (text.size() < 190000) text += words[random() % words.size()] + std::string(" ");
  text.resize(190000);
  for (int i = 0; i < 10000; ++i) text += i % 7 == 0 ? ' ' : '#';
  return Corpus({text});
}

const Corpus& corpus() {
  static const Corpus made = made_corpus();
  return made;
}

Sample make(std::string_view name, std::size_t context, std::uint64_t seed,
            Part part = Part::kTraining) {
  std::mt19937_64 random(seed);
  return make_task(name, corpus(), part)(context, random);
}

/// The text behind BOS: byte i is token i + 1.
std::string text_of(const Sample& sample) { return decode(sample.tokens); }

std::vector<std::string> answers_of(const Sample& sample) {
  std::vector<std::string> answers;
  for (const auto [begin, end] : sample.answers) {
    answers.push_back(decode(std::span(sample.tokens).subspan(begin, end - begin)));
  }
  return answers;
}

/// Calls check(context, sample) for many samples of a task.
template <class Check>
void for_samples(std::string_view name, const Check& check) {
  for (const std::size_t context : kContexts) {
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      SCOPED_TRACE(std::string(name) + ", context " + std::to_string(context) + ", seed " +
                   std::to_string(seed));
      check(context, make(name, context, seed));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

std::vector<std::smatch> matches(const std::string& text, const std::regex& pattern) {
  return {std::sregex_iterator(text.begin(), text.end(), pattern), {}};
}

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// What weights should be: 1 but for BOS, until told otherwise.
class Expected {
 public:
  explicit Expected(const std::string& text) : weights_(text.size() + 1, 1.0f) { weights_[0] = 0; }
  void set(std::size_t at, std::size_t size, float weight) {
    std::fill_n(weights_.begin() + static_cast<std::ptrdiff_t>(at + 1), size, weight);
  }
  void set(const std::smatch& match, std::size_t group, float weight) {
    set(static_cast<std::size_t>(match.position(group)), static_cast<std::size_t>(match.length(group)),
        weight);
  }
  const std::vector<float>& weights() const { return weights_; }

 private:
  std::vector<float> weights_;
};

TEST(Tasks, FillTheContextBehindBos) {
  for (const auto* name : kNames) {
    for_samples(name, [&](std::size_t context, const Sample& sample) {
      ASSERT_EQ(sample.tokens.size(), context + 1);
      ASSERT_EQ(sample.weights.size(), context + 1);
      EXPECT_EQ(sample.tokens[0], kBos);
      EXPECT_EQ(text_of(sample).size(), context) << "no other control token";
      EXPECT_EQ(std::count(sample.tokens.begin(), sample.tokens.end(), 35), 0);
      EXPECT_EQ(sample.weights[0], 0);
    });
  }
}

TEST(Tasks, FitEveryContext) {
  for (std::size_t context = 128; context < 1500; ++context) {
    for (const auto* name : kNames) {
      ASSERT_EQ(make(name, context, context).tokens.size(), context + 1) << name << ' ' << context;
    }
  }
}

TEST(Tasks, WeighAnswersAndNothingElseMore) {
  for (const auto* name : kNames) {
    for_samples(name, [&](std::size_t, const Sample& sample) {
      std::vector<bool> is_answer(sample.tokens.size(), false);
      std::size_t last = 0;
      for (const auto [begin, end] : sample.answers) {
        ASSERT_LT(last, begin);
        ASSERT_LT(begin, end);
        ASSERT_LT(end, sample.tokens.size());
        last = end;
        std::fill(is_answer.begin() + static_cast<std::ptrdiff_t>(begin),
                  is_answer.begin() + static_cast<std::ptrdiff_t>(end), true);
      }
      if (last != 0) {
        EXPECT_EQ(last + 1, sample.tokens.size()) << "but for a full stop, the text ends in an answer";
      }
      for (std::size_t i = 0; i < is_answer.size(); ++i) {
        EXPECT_EQ(sample.weights[i] == kAnswerWeight, is_answer[i]) << i;
      }
    });
  }
}

TEST(Text, IsAPassage) {
  for_samples("text", [](std::size_t, const Sample& sample) {
    const std::string text = text_of(sample);
    EXPECT_NE(corpus().training().find(text), std::string_view::npos);
    EXPECT_TRUE(sample.answers.empty());
    EXPECT_EQ(sample.weights, Expected(text).weights());
  });
}

/// Reads needles and questions, `hidden` and `asked` of them, and checks all about them.
void expect_numbers(const Sample& sample, std::size_t hidden, std::size_t asked) {
  const std::string text = text_of(sample);
  const auto found = matches(text, std::regex(" The number of ([a-z]{4}) is ([0-9]{4})\\."));
  ASSERT_EQ(found.size(), hidden + asked) << text;

  Expected expected(text);
  std::map<std::string, std::string> values;
  for (std::size_t i = 0; i < hidden; ++i) {
    const std::string key = found[i][1];
    EXPECT_TRUE(values.emplace(key, found[i][2]).second) << key << " twice";
    expected.set(found[i], 1, 0);
    expected.set(found[i], 2, 0);
  }
  std::set<std::string> keys_asked;
  std::vector<std::string> answers;
  for (std::size_t i = hidden; i < found.size(); ++i) {
    const std::string key = found[i][1];
    EXPECT_TRUE(keys_asked.insert(key).second) << key << " asked twice";
    ASSERT_TRUE(values.contains(key)) << key;
    EXPECT_EQ(values[key], found[i][2]) << key;
    answers.push_back(values[key]);
    expected.set(found[i], 1, 0);
    expected.set(found[i], 2, kAnswerWeight);
  }
  EXPECT_EQ(answers_of(sample), answers);
  EXPECT_EQ(sample.weights, expected.weights());

  // No key stands anywhere else, in however short a part of a word; nor does a value.
  for (const auto& [key, value] : values) {
    const std::size_t times = 1 + keys_asked.count(key);
    EXPECT_EQ(count(text, key), times) << key;
    EXPECT_EQ(count(text, value), times) << value;
  }

  // What is left without needles and questions is a passage, and they stand behind whole words.
  std::string hay;
  std::size_t done = 0;
  for (const auto& match : found) {
    const auto at = static_cast<std::size_t>(match.position());
    hay += text.substr(done, at - done);
    done = at + static_cast<std::size_t>(match.length());
    EXPECT_TRUE(done == text.size() || text[done] == ' ' || text[done] == '\n') << text;
  }
  EXPECT_EQ(done, text.size()) << "questions end the text";
  EXPECT_FALSE(hay.empty());
  const std::string_view training = corpus().training();
  EXPECT_TRUE(training.find(hay + ' ') != training.npos || training.find(hay + '\n') != training.npos ||
              training.ends_with(hay))
      << hay;
}

TEST(Recall, AsksForWhatWasSaid) {
  const std::regex fact("([a-z]{4}) is ([0-9]{4})\\.");
  std::size_t known = 0, fresh = 0;
  for_samples("recall", [&](std::size_t context, const Sample& sample) {
    const std::string text = text_of(sample);
    Expected expected(text);
    expected.set(0, context % 14, 0);  // a fact that is cut
    std::map<std::string, std::string> facts;
    std::vector<std::string> answers;
    const std::string whole = text.substr(context % 14);
    const auto found = matches(whole, fact);
    ASSERT_EQ(found.size(), context / 14);
    for (const std::smatch& match : found) {
      const std::string key = match.str(1), value = match.str(2);
      const bool is_known = facts.contains(key);
      expected.set(context % 14 + static_cast<std::size_t>(match.position(1)), 4, 0);
      expected.set(context % 14 + static_cast<std::size_t>(match.position(2)), 4,
                   is_known ? kAnswerWeight : 0);
      if (is_known) answers.push_back(value);
      EXPECT_EQ(facts.try_emplace(key, value).first->second, value);
      ++(is_known ? known : fresh);
    }
    EXPECT_EQ(sample.weights, expected.weights());
    EXPECT_EQ(answers_of(sample), answers);
  });
  EXPECT_NEAR(static_cast<double>(known) / static_cast<double>(known + fresh), 0.5, 0.05);
}

TEST(Needle, IsFoundByItsKey) {
  for_samples("needle", [](std::size_t, const Sample& sample) { expect_numbers(sample, 1, 1); });
}

TEST(Needles, AreFoundByTheirKeys) {
  const std::map<std::size_t, std::array<std::size_t, 2>> hidden_asked{
      {128, {2, 2}}, {129, {2, 2}}, {200, {2, 2}}, {256, {2, 2}}, {512, {4, 4}}, {2048, {16, 8}}};
  for_samples("needles", [&](std::size_t context, const Sample& sample) {
    const auto [hidden, asked] = hidden_asked.at(context);
    expect_numbers(sample, hidden, asked);
  });
  expect_numbers(make("needles", 10000, 1), 24, 8);
}

TEST(Needles, AreAskedForInAnyOrder) {
  std::size_t first = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Sample sample = make("needles", 200, seed);
    const std::string text = text_of(sample);
    const auto answers = answers_of(sample);
    if (text.find(answers[0]) < text.find(answers[1])) ++first;
  }
  EXPECT_GT(first, 60u);
  EXPECT_LT(first, 140u);
}

TEST(Needle, MayBeAnywhere) {
  for (const char* name : {"needle", "needles", "variables"}) {
    constexpr std::size_t kContext = 2048;
    std::array<std::size_t, 4> quarters{};
    std::size_t all = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      const Sample sample = make(name, kContext, seed);
      const std::string text = text_of(sample);
      const bool has_values = std::string_view(name) != "variables";
      const std::size_t hay_end = kContext - (has_values ? 28 * sample.answers.size() : 51);
      for (const std::string& answer : answers_of(sample)) {
        const std::size_t at = text.find(answer);
        ASSERT_LT(at, hay_end) << name;
        ++quarters[4 * at / hay_end];
        ++all;
      }
    }
    for (const std::size_t quarter : quarters) {
      EXPECT_GT(quarter, all / 6) << name;
      EXPECT_LT(quarter, all / 3) << name;
    }
  }
}

TEST(Needle, IsUniqueAmongSentencesLikeIt) {
  std::string text;
  std::mt19937_64 random(3);
  const std::string consonants = "bdfghklmnprstvwz", vowels = "aeiou";
  while (text.size() < 50000) {
    text += " The number of ";
    for (int i = 0; i < 2; ++i) {
      text += consonants[random() % consonants.size()];
      text += vowels[random() % vowels.size()];
    }
    text += " is " + std::to_string(1000 + random() % 9000) + ".";
  }
  const Corpus similar({text});
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Sample sample = make_task("needle", similar, Part::kTraining)(40000, random);
    const std::string sample_text = text_of(sample);
    const auto found = matches(sample_text, std::regex(" The number of ([a-z]+) is ([0-9]+)\\."));
    const std::string key = found.back()[1];
    EXPECT_EQ(answers_of(sample), std::vector<std::string>{found.back()[2]});
    EXPECT_EQ(count(sample_text, key), 2u);
    EXPECT_EQ(count(sample_text, " The number of " + key + " is " + answers_of(sample)[0] + "."), 2u);
  }
}

TEST(Tasks, TakeATextThatHasEveryWord) {
  std::string text;
  for (const char a : std::string("bdfghklmnprstvwz")) {
    for (const char b : std::string("aeiou")) {
      for (const char c : std::string("bdfghklmnprstvwz")) {
        for (const char d : std::string("aeiou")) text += {' ', a, b, c, d};
      }
    }
  }
  for (int i = 0; i < 10000; ++i) text += ' ' + std::to_string(10000 + i);
  const Corpus full({text + std::string(text.size() / 19, '#')});
  std::mt19937_64 random(1);
  const std::size_t context = full.training().size();
  const Sample sample = make_task("needle", full, Part::kTraining)(context, random);
  EXPECT_EQ(sample.tokens.size(), context + 1);
  const std::string answer = answers_of(sample).at(0);
  EXPECT_EQ(answer.size(), 5u) << "longer, as there is no number of four digits left";
  EXPECT_EQ(count(text_of(sample), answer), 2u);
}

/// How often each word stands in front of `question`.
std::map<std::string, std::size_t> word_counts(const std::string& text, const std::string& question) {
  std::map<std::string, std::size_t> counts;
  std::string word;
  for (const char c : text.substr(0, text.find(question)) + ' ') {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      ++counts[word];
      word.clear();
    }
  }
  return counts;
}

/// The words by how often they are there, most frequent first.
std::vector<std::pair<std::size_t, std::string>> ranking(
    const std::map<std::string, std::size_t>& counts) {
  std::vector<std::pair<std::size_t, std::string>> ranking;
  for (const auto& [word, times] : counts) ranking.emplace_back(times, word);
  std::sort(ranking.rbegin(), ranking.rend());
  return ranking;
}

/// Of a list nothing is learnt; of the question all.
void expect_list_weights(const Sample& sample, const std::string& question) {
  const std::string text = text_of(sample);
  Expected expected(text);
  expected.set(0, text.find(question), 0);
  for (const auto [begin, end] : sample.answers) expected.set(begin - 1, end - begin, kAnswerWeight);
  EXPECT_EQ(sample.weights, expected.weights());
}

TEST(CommonWords, AskForTheMostCommon) {
  const std::string question = ". The most common word is ";
  for_samples("common_words", [&](std::size_t context, const Sample& sample) {
    const std::string text = text_of(sample);
    const auto ranked = ranking(word_counts(text, question));
    ASSERT_EQ(sample.answers.size(), 1u);
    EXPECT_EQ(answers_of(sample)[0], ranked[0].second);
    EXPECT_TRUE(text.ends_with(question + ranked[0].second + ".")) << text;
    EXPECT_EQ(ranked[0].first, std::max<std::size_t>(context / 40, 5));
    EXPECT_GE(ranked[0].first, 5 * ranked[1].first) << text;
    EXPECT_GE(ranked.size(), 10u) << text;
    expect_list_weights(sample, question);
  });
}

TEST(FrequentWords, AskForTheFirstThreeOfALaw) {
  const std::string question = ". The three most frequent words are ";
  const auto check = [&](std::size_t context, const Sample& sample) {
    const std::string text = text_of(sample);
    const auto ranked = ranking(word_counts(text, question));
    ASSERT_EQ(sample.answers.size(), 3u);
    ASSERT_GE(ranked.size(), 4u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(answers_of(sample)[i], ranked[i].second) << text;
      EXPECT_GT(5 * ranked[i].first, 6 * ranked[i + 1].first) << "a fifth apart: " << text;
    }
    EXPECT_TRUE(text.ends_with(question + ranked[0].second + ", " + ranked[1].second + ", " +
                               ranked[2].second + "."));
    EXPECT_LE(ranked.size(), 21u);  // 20, and the cut one
    EXPECT_GE(ranked.size(), context < 256 ? 5u : 10u);
    expect_list_weights(sample, question);
  };
  for_samples("frequent_words", check);
  for (std::size_t context = 128; context < 1500; ++context) {
    SCOPED_TRACE(context);
    check(context, make("frequent_words", context, context));
  }
}

TEST(Variables, HoldWhatTheirChainSays) {
  for_samples("variables", [](std::size_t context, const Sample& sample) {
    const std::string text = text_of(sample);
    Expected expected(text);
    std::map<std::string, std::string> values;  // of each variable
    std::vector<std::string> names;             // in order
    std::set<std::string> numbers;
    for (const auto& match : matches(text, std::regex(" VAR ([a-z]{4}) = ([a-z0-9]{4})\\."))) {
      const std::string name = match[1], source = match[2];
      const bool is_number = source[0] <= '9';
      ASSERT_TRUE(is_number || values.contains(source)) << source << " comes too late";
      ASSERT_FALSE(values.contains(name)) << name << " twice";
      values[name] = is_number ? source : values[source];
      names.push_back(name);
      expected.set(match, 1, 0);
      if (is_number) {
        EXPECT_TRUE(numbers.insert(source).second);
        expected.set(match, 2, 0);
      }
    }
    EXPECT_EQ(numbers.size(), context < 256 ? 1u : 2u);
    EXPECT_EQ(names.size(), 3 * numbers.size());

    const auto questions =
        matches(text, std::regex(" The variables that hold ([0-9]{4}) are (.*)\\.$"));
    ASSERT_EQ(questions.size(), 1u) << text;
    const std::string asked = questions[0][1];
    ASSERT_TRUE(numbers.contains(asked));
    expected.set(questions[0], 1, 0);
    std::vector<std::string> answers;
    std::string answer_list;
    for (const std::string& name : names) {
      if (values[name] != asked) continue;
      answers.push_back(name);
      answer_list += (answer_list.empty() ? "" : ", ") + name;
    }
    EXPECT_EQ(answers_of(sample), answers);
    EXPECT_EQ(questions[0][2], answer_list);
    for (const auto [begin, end] : sample.answers) expected.set(begin - 1, end - begin, kAnswerWeight);
    EXPECT_EQ(sample.weights, expected.weights());

    // Each name stands in its assignment, perhaps in the next one, and perhaps in the answer.
    for (const std::string& name : names) EXPECT_LE(count(text, name), 3u);
    EXPECT_EQ(count(text, asked), 2u);
  });
}

TEST(Variables, AskForEitherChain) {
  std::size_t first = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Sample sample = make("variables", 256, seed);
    const std::string text = text_of(sample);
    if (text.find(" VAR ") + 5 == text.find(answers_of(sample)[0])) ++first;
  }
  EXPECT_GT(first, 60u);
  EXPECT_LT(first, 140u);
}

TEST(Tasks, RepeatWithTheirSeed) {
  for (const auto* name : kNames) {
    const Sample a = make(name, 300, 5), b = make(name, 300, 5), other = make(name, 300, 6);
    EXPECT_EQ(a.tokens, b.tokens) << name;
    EXPECT_EQ(a.weights, b.weights) << name;
    EXPECT_NE(a.tokens, other.tokens) << name;
  }
}

/// On any machine, with any compiler.
TEST(Tasks, RepeatEverywhere) {
  EXPECT_EQ(text_of(make("common_words", 128, 1)),
            "zu gusi wufe pizo roki besi nire nire nire toda ritu fehi tubu nire zovu nomo nuha nire "
            "sezu lise. The most common word is nire.");
  EXPECT_EQ(text_of(make("frequent_words", 128, 1)),
            " nire nire gapu nuha bubo nire nire nire nuha nuha nire bubo rono nire nire."
            " The three most frequent words are nire, nuha, bubo.");
  EXPECT_EQ(text_of(make("needles", 128, 1, Part::kHeldOut)),
            "## The number of wawu is 9858. ###### The number of besi is 7039. ######"
            " The number of besi is 7039. The number of wawu is 9858.");
}

TEST(Tasks, KeepTheirPartsApart) {
  for (const auto* name : kNames) {
    const bool has_text = make(name, 512, 0, Part::kHeldOut).tokens != make(name, 512, 0).tokens;
    EXPECT_EQ(has_text,
              !std::string_view(name).ends_with("_words") && std::string_view(name) != "recall")
        << name;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      EXPECT_EQ(count(text_of(make(name, 512, seed)), "#"), 0u) << name;
      if (!has_text) continue;
      const std::string held_out = text_of(make(name, 512, seed, Part::kHeldOut));
      EXPECT_GT(count(held_out, "#"), 128u) << name;
      EXPECT_EQ(count(held_out, "kabo") + count(held_out, "\n"), 0u) << name;
    }
  }
}

TEST(Mixture, DrawsEachTaskByItsShare) {
  const Task task =
      make_mixture("text:4,needles:2,frequent_words:1,variables", corpus(), Part::kTraining);
  std::map<std::string, std::size_t> drawn;
  std::mt19937_64 random(1);
  for (int i = 0; i < 4000; ++i) {
    const std::string text = text_of(task(256, random));
    ++drawn[text.find(" The number of ") != text.npos   ? "needles"
            : text.find(" The three most") != text.npos ? "frequent_words"
            : text.find(" The variables ") != text.npos ? "variables"
                                                        : "text"];
  }
  EXPECT_NEAR(static_cast<double>(drawn["text"]), 2000, 150);
  EXPECT_NEAR(static_cast<double>(drawn["needles"]), 1000, 130);
  EXPECT_NEAR(static_cast<double>(drawn["frequent_words"]), 500, 100);
  EXPECT_NEAR(static_cast<double>(drawn["variables"]), 500, 100);
}

template <class Make>
std::string error_of(const Make& made) {
  try {
    made();
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

TEST(Tasks, SayWhatIsWrong) {
  const std::string names = "text, recall, needle, needles, common_words, frequent_words, variables";
  EXPECT_EQ(error_of([] { make_task("haystack", corpus(), Part::kTraining); }),
            "task: no haystack, there are " + names);
  for (const auto* name : kNames) {
    EXPECT_EQ(error_of([&] { make(name, 127, 1); }),
              std::string("task: ") + name + " needs a context of 128, not 127");
  }
  for (const auto* name : {"text", "needle", "needles", "variables"}) {
    EXPECT_EQ(error_of([&] { make(name, 10001, 1, Part::kHeldOut); }),
              "task: a context of 10001 is longer than this part of the text, 10000 bytes");
    EXPECT_EQ(error_of([&] { make(name, 10000, 1, Part::kHeldOut); }), "");
  }
  EXPECT_EQ(error_of([] { make("frequent_words", 10001, 1, Part::kHeldOut); }), "") << "needs no text";

  const auto mixture = [](std::string_view form) {
    return error_of([form] { make_mixture(form, corpus(), Part::kTraining); });
  };
  EXPECT_EQ(mixture("text,needle:12"), "");
  for (const char* form : {"text:0", "text:", "text:x", "text:-1", "text:1.5", "text:99999999999"}) {
    EXPECT_EQ(mixture(std::string("needle:2,") + form),
              std::string("mixture: ") + form + " has no share such as in text:4");
  }
  EXPECT_EQ(mixture("text:1,haystack:2"), "task: no haystack, there are " + names);
  EXPECT_EQ(mixture(""), "task: no , there are " + names);
  EXPECT_EQ(mixture("text:1,"), "task: no , there are " + names);
}

}  // namespace
}  // namespace train
