// SPDX-License-Identifier: Apache-2.0
// Estimators as text, for the flags of engines, benchmarks and examples:
//
//   sinks(4)+window(64)+topk(power(2,0.5))+priority(128)
//
//   stage  = dense | sinks(count) | window(width) | topk(budget) | topp(mass) | quest(budget) | summaries
//          | lsh(bits,tables[,collisions=1])
//          | uniform(budget) | priority(budget) | multinomial(budget) | systematic(budget) | poisson(budget)
//   budget = k | fraction(share[,minimum]) | power(alpha,C[,minimum])
//
// topk and the samplers by probability also take what ranks the positions, topk who decides among them:
//
//   topk(128,by=sketch1)   topk(128,by=sketch1,candidates=640)   topk(128,by=sketch8,exact)   priority(128,by=sketch4)
//
//   by = keys | sketch1 | sketch4 | sketch8 | boxes | external | means
//
// Spaces may stand between any two words.
#ifndef SKIM_ESTIMATOR_TEXT_H_
#define SKIM_ESTIMATOR_TEXT_H_

#include <charconv>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>
#include <variant>

#include "skim/core/error.h"
#include "skim/core/source.h"
#include "skim/estimator/stack.h"
#include "skim/estimator/stage_list.h"

namespace skim::inline SKIM_ABI {

namespace text_detail {

/// Recursive descent over the grammar above. An error shows the text with a mark under the character.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  StageList parse() {
    StageList list;
    std::size_t tail_at = std::string_view::npos;
    do {
      skip_spaces();
      const std::size_t start = at_;
      if (tail_at != std::string_view::npos) {
        error(tail_at, "stands for every position left, so no stage can follow it");
      }
      list.stages.push_back(stage());
      if (StageList::is_tail(list.stages.back())) tail_at = start;
    } while (accept('+'));
    if (at_ != text_.size()) error(at_, "expected '+' or the end");
    return list;
  }

 private:
  Stage stage() {
    const std::size_t start = at_;
    const std::string_view name = word();
    if (name == "dense") return checked(start, Dense{});
    if (name == "summaries") return checked(start, Summaries{});
    if (name == "sinks") return checked(start, Sinks{integer_argument()});
    if (name == "window") return checked(start, Window{integer_argument()});
    if (name == "topk") return checked(start, topk());
    if (name == "topp") return checked(start, TopP{number_argument()});
    if (name == "lsh") return checked(start, lsh());
    if (name == "quest") return checked(start, Quest{budget_argument()});
    if (name == "multinomial") return checked(start, sampler<MultinomialTail>());
    if (name == "systematic") return checked(start, sampler<SystematicTail>());
    if (name == "poisson") return checked(start, sampler<PoissonTail>());
    if (name == "uniform") return checked(start, UniformTail{budget_argument()});
    if (name == "priority") return checked(start, sampler<PriorityTail>());
    error(start, "expected dense, sinks, window, topk, topp, quest, uniform, priority, multinomial, systematic, poisson, lsh or summaries");
  }

  template <class E>
  Stage checked(std::size_t start, const E& e) {
#if defined(__cpp_exceptions)
    try {
      e.validate();
    } catch (const std::invalid_argument& reason) {
      error(start, reason.what());
    }
#else
    (void)start;
    e.validate();
#endif
    return e;
  }

  Position integer_argument() {
    expect('(');
    const Position value = integer();
    expect(')');
    return value;
  }

  double number_argument() {
    expect('(');
    const double value = number();
    expect(')');
    return value;
  }

  Budget budget_argument() {
    expect('(');
    const Budget value = budget();
    expect(')');
    return value;
  }

  TopK topk() {
    expect('(');
    TopK e{budget()};
    while (accept(',')) {
      const std::size_t start = at_;
      const std::string_view name = word();
      if (name == "by") {
        e.by = source();
      } else if (name == "candidates") {
        expect('=');
        e.candidates = budget();
      } else if (name == "exact") {
        e.exact = true;
      } else {
        error(start, "expected by, candidates or exact");
      }
    }
    expect(')');
    return e;
  }

  LshTail lsh() {
    expect('(');
    LshTail e;
    e.bits = static_cast<std::size_t>(integer());
    expect(',');
    e.tables = static_cast<std::size_t>(integer());
    if (accept(',')) {
      const std::size_t start = at_;
      if (word() != "collisions") error(start, "expected collisions");
      expect('=');
      e.collisions = static_cast<std::size_t>(integer());
    }
    expect(')');
    return e;
  }

  template <class E>
  E sampler() {
    expect('(');
    E e{budget()};
    if (accept(',')) {
      const std::size_t start = at_;
      if (word() != "by") error(start, "expected by");
      e.by = source();
    }
    expect(')');
    return e;
  }

  Source source() {
    expect('=');
    skip_spaces();
    const std::size_t start = at_;
    std::string_view name = word();
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') name = text_.substr(start, ++at_ - start);
    for (std::size_t i = 0; i < static_cast<std::size_t>(Source::kSources); ++i) {
      if (name == kSourceNames[i] && ranks(static_cast<Source>(i))) return static_cast<Source>(i);
    }
    error(start, "expected keys, sketch1, sketch4, sketch8, boxes, external or means");
  }

  Budget budget() {
    skip_spaces();
    const std::size_t start = at_;
    Budget budget = 0;
    if (at_ < text_.size() && is_letter(text_[at_])) {
      const std::string_view name = word();
      if (name != "fraction" && name != "power") error(start, "expected a number, fraction or power");
      expect('(');
      const double first = number();
      double exponent = 0;
      if (name == "power") {
        expect(',');
        exponent = number();
      }
      const bool has_minimum = accept(',');
      const Position minimum = has_minimum ? integer() : name == "power" ? 1 : 0;
      expect(')');
      budget = name == "power" ? power(first, exponent, static_cast<std::size_t>(minimum))
                               : fraction(first, static_cast<std::size_t>(minimum));
    } else {
      budget = Budget(integer());
    }
    return budget;
  }

  template <class T>
  T read(const char* what) {
    skip_spaces();
    T value{};
    const char* begin = text_.data() + at_;
    const auto [end, code] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (code == std::errc::result_out_of_range) error(at_, "number out of range");
    if (code != std::errc{}) error(at_, what);
    at_ += static_cast<std::size_t>(end - begin);
    return value;
  }

  double number() { return read<double>("expected a number"); }

  Position integer() {
    skip_spaces();
    const std::size_t start = at_;
    const auto value = read<Position>("expected a whole number");
    if (value < 0) error(start, "expected a number that is not negative");
    return value;
  }

  std::string_view word() {
    skip_spaces();
    const std::size_t start = at_;
    while (at_ < text_.size() && is_letter(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }

  bool accept(char c) {
    skip_spaces();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    skip_spaces();
    return true;
  }

  void expect(char c) {
    skip_spaces();
    if (!accept(c)) error(at_, std::string("expected '") + c + "'");
  }

  void skip_spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  static bool is_letter(char c) { return c >= 'a' && c <= 'z'; }

  [[noreturn]] void error(std::size_t at, std::string_view what) const {
    fail("skim::parse: ", std::string(what), " at character ", at + 1, "\n  ", std::string(text_), "\n  ",
         std::string(at, ' '), "^");
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

inline std::string number_text(double x) {
  char digits[32];
  const auto [end, code] = std::to_chars(digits, digits + sizeof(digits), x);
  (void)code;  // 32 characters hold every double
  return {digits, end};
}

// name(argument). Appended piece by piece: g++ 12 at -O3 warns of `"text" + std::string`.
inline std::string call_text(const char* name, const std::string& argument) {
  std::string text(name);
  text += '(';
  text += argument;
  text += ')';
  return text;
}

inline std::string budget_text(const Budget& b) {
  if (b.kind() == Budget::Kind::kFixed) {
    // The largest positions have become 2^63 in the budget's double, which is no position.
    const bool fits = b.amount() < 0x1p63;
    return std::to_string(fits ? static_cast<Position>(b.amount()) : std::numeric_limits<Position>::max());
  }
  const bool is_power = b.kind() == Budget::Kind::kPower;
  std::string arguments = number_text(b.amount());
  if (is_power) (arguments += ',') += number_text(b.exponent());
  if (b.minimum() != (is_power ? 1u : 0u)) (arguments += ',') += std::to_string(b.minimum());
  return call_text(is_power ? "power" : "fraction", arguments);
}

inline std::string by_text(Source by) {
  std::string text;
  if (by != Source::kKeys) (text += ",by=") += name_of(by);
  return text;
}

template <class E>
std::string sampler_text(const char* name, const E& e) {
  return call_text(name, budget_text(e.budget) + by_text(e.by));
}

inline void append_stage(std::string& text, const std::string& stage) {
  if (!text.empty()) text += '+';
  text += stage;
}

}  // namespace text_detail

/// Reads the text form. Throws std::invalid_argument that shows where the text is wrong.
inline StageList parse(std::string_view text) { return text_detail::Parser(text).parse(); }

inline std::string to_text(const Dense&) { return "dense"; }
inline std::string to_text(const Summaries&) { return "summaries"; }
inline std::string to_text(const Sinks& e) { return text_detail::call_text("sinks", std::to_string(e.count)); }
inline std::string to_text(const Window& e) { return text_detail::call_text("window", std::to_string(e.width)); }
inline std::string to_text(const TopK& e) {
  std::string arguments = text_detail::budget_text(e.budget) + text_detail::by_text(e.by);
  if (e.candidates != Budget(0)) (arguments += ",candidates=") += text_detail::budget_text(e.candidates);
  if (e.exact) arguments += ",exact";
  return text_detail::call_text("topk", arguments);
}
inline std::string to_text(const TopP& e) { return text_detail::call_text("topp", text_detail::number_text(e.mass)); }
inline std::string to_text(const Quest& e) {
  return text_detail::call_text("quest", text_detail::budget_text(e.budget));
}
inline std::string to_text(const LshTail& e) {
  std::string arguments = std::to_string(e.bits);
  (arguments += ',') += std::to_string(e.tables);
  if (e.collisions != 2) (arguments += ",collisions=") += std::to_string(e.collisions);
  return text_detail::call_text("lsh", arguments);
}
inline std::string to_text(const UniformTail& e) {
  return text_detail::call_text("uniform", text_detail::budget_text(e.budget));
}
inline std::string to_text(const PriorityTail& e) {
  return text_detail::sampler_text("priority", e);
}
inline std::string to_text(const MultinomialTail& e) {
  return text_detail::sampler_text("multinomial", e);
}
inline std::string to_text(const SystematicTail& e) {
  return text_detail::sampler_text("systematic", e);
}
inline std::string to_text(const PoissonTail& e) {
  return text_detail::sampler_text("poisson", e);
}

/// The reverse of `parse`.
inline std::string to_text(const StageList& e) {
  std::string text;
  for (const Stage& any : e.stages) {
    text_detail::append_stage(text, std::visit([](const auto& stage) { return to_text(stage); }, any));
  }
  return text;
}

template <class... Stages>
std::string to_text(const Stack<Stages...>& e) {
  std::string text;
  std::apply([&text](const auto&... stage) { (text_detail::append_stage(text, to_text(stage)), ...); }, e.stages);
  return text;
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_TEXT_H_
