// SPDX-License-Identifier: Apache-2.0
// A method of attention at any cost.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <skim/core/position.h>
#include <skim/estimator/text.h>

namespace compare {

/// skim's text form with a letter B where a number of keys stands:
///
///   topk(B)   topk(B/2)+priority(B/2)   sinks(4)+window(B/4)+topk(3B/4)   topk(power(B,0.5))
///
/// B is the key budget: a share of the visible positions, less what sinks(4) and window(64) take by
/// themselves. power(B,C) is the power budget that costs as much in a whole causal pass as B does.
/// Without a B the method has one cost only.
class Method {
 public:
  /// Throws std::invalid_argument that shows where the text is wrong.
  explicit Method(std::string spec);

  const std::string& spec() const { return spec_; }
  bool has_budget() const { return has_budget_; }
  /// Whether it draws random numbers.
  bool is_random() const { return is_random_; }

  /// The estimator that attends to `share` of `n` visible positions, in a text of `longest` positions.
  /// Empty when its sinks and windows alone are more than that.
  std::optional<skim::StageList> at(double share, skim::Position n, skim::Position longest) const;

 private:
  std::string spec_;
  bool has_budget_ = false;
  bool is_random_ = false;
};

/// What the table shows when nobody asks for anything else.
std::vector<Method> default_methods();

}  // namespace compare
