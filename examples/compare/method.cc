// SPDX-License-Identifier: Apache-2.0
#include "method.h"

#include <charconv>
#include <cmath>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace compare {
namespace {

std::string all_digits(double x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof(text), x).ptr};
}

/// The text of a B with the number before it and the divisor after it: "3B/4".
struct BudgetTerm {
  std::size_t begin = 0;
  std::size_t end = 0;
  double factor = 1;
  std::optional<double> exponent;  // C, when the term stands in power(B, C)
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

double number_at(std::string_view text, std::size_t at) {
  double value = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), value);
  return value;
}

std::optional<BudgetTerm> find_term(std::string_view spec, std::size_t from) {
  const std::size_t letter = spec.find('B', from);
  if (letter == std::string_view::npos) return {};
  BudgetTerm term{letter, letter + 1, 1, {}};
  while (term.begin > from && is_digit(spec[term.begin - 1])) --term.begin;
  if (term.begin < letter) term.factor = number_at(spec, term.begin);
  if (term.end + 1 < spec.size() && spec[term.end] == '/' && is_digit(spec[term.end + 1])) {
    term.factor /= number_at(spec, term.end + 1);
    while (++term.end < spec.size() && is_digit(spec[term.end])) {
    }
  }
  constexpr std::string_view kPower = "power(";
  if (term.begin >= kPower.size() && spec.substr(term.begin - kPower.size(), kPower.size()) == kPower &&
      term.end < spec.size() && spec[term.end] == ',') {
    term.exponent = number_at(spec, term.end + 1);
  }
  return term;
}

/// skim's parser sees numbers in place of the terms, so what is wrong with a term itself is said here.
void check_terms(std::string_view spec) {
  std::size_t at = 0;
  while (const auto term = find_term(spec, at)) {
    at = term->end;
    const char next = at < spec.size() ? spec[at] : ')';
    const bool is_whole = next == ')' || next == ',' || next == ' ';
    if (is_whole && std::isfinite(term->factor)) continue;
    throw std::invalid_argument("expected a budget like B, B/4 or 3B/4 at character " +
                                std::to_string(term->begin + 1) + "\n  " + std::string(spec) + "\n  " +
                                std::string(term->begin, ' ') + "^");
  }
}

/// The spec with text_of(term) for each B.
template <class TextOf>
std::string replace_terms(std::string_view spec, const TextOf& text_of) {
  std::string out;
  std::size_t at = 0;
  while (const auto term = find_term(spec, at)) {
    out += spec.substr(at, term->begin - at);
    out += text_of(*term);
    at = term->end;
  }
  return out += spec.substr(at);
}

bool draws(const skim::StageList& list) {
  return std::visit(
      [](const auto& stage) {
        using E = std::decay_t<decltype(stage)>;
        constexpr bool is_certain = std::is_same_v<E, skim::Dense> || std::is_same_v<E, skim::Summaries>;
        return skim::stands_for_rest<E>() && !is_certain;
      },
      list.stages.back());
}

/// What sinks and windows of a fixed width take.
double fixed_positions(std::string_view spec) {
  double sum = 0;
  const auto without_budget = skim::parse(replace_terms(spec, [](const BudgetTerm&) { return "0"; }));
  for (const skim::Stage& any : without_budget.stages) {
    if (const auto* sinks = std::get_if<skim::Sinks>(&any)) sum += static_cast<double>(sinks->count);
    if (const auto* window = std::get_if<skim::Window>(&any)) sum += static_cast<double>(window->width);
  }
  return sum;
}

}  // namespace

Method::Method(std::string spec)
    : spec_(std::move(spec)), has_budget_(find_term(spec_, 0).has_value()) {
  check_terms(spec_);
  // As long as what it replaces, so that an error's mark stands under the right character.
  const auto one = [](const BudgetTerm& term) {
    return "1" + std::string(term.end - term.begin - 1, ' ');
  };
  is_random_ = draws(skim::parse(replace_terms(spec_, one)));
}

std::optional<skim::StageList> Method::at(double share, skim::Position n,
                                          skim::Position longest) const {
  if (!has_budget_) return skim::parse(spec_);
  const double fixed = fixed_positions(spec_);
  const double left = std::round(share * static_cast<double>(n)) - fixed;
  if (left < 1) return {};
  // The mean over the rows of the pass, which see 1, 2, ..., `longest` positions.
  const double mean = std::max(1.0, share * static_cast<double>(longest + 1) / 2 - fixed);
  // Parts are rounded so that together they are what the whole is: of 3, B/2 and B/2 are 2 and 1.
  double parts = 0;
  return skim::parse(replace_terms(spec_, [&](const BudgetTerm& term) {
    if (term.exponent) {
      return all_digits(
          skim::power_matching_pass(term.factor * mean, longest, *term.exponent).amount());
    }
    const double before = std::round(left * parts);
    parts += term.factor;
    return std::to_string(std::llround(std::round(left * parts) - before));
  }));
}

std::vector<Method> default_methods() {
  std::vector<Method> methods;
  for (const char* spec :
       {"topk(B)", "topk(power(B,0.5))", "sinks(1)+window(B/4)+topk(3B/4)", "uniform(B)", "priority(B)",
        "topk(B/2)+uniform(B/2)", "topk(B/2)+priority(B/2)", "multinomial(B)", "systematic(B)",
        "poisson(B)"}) {
    methods.emplace_back(spec);
  }
  return methods;
}

}  // namespace compare
