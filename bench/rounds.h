// SPDX-License-Identifier: Apache-2.0
// How everything here is timed: contestants run in turn, round after round, and a figure is the median of
// what each round says. On a shared machine everything slows down together for seconds at a time; the ratio
// of two calls of one round does not notice.
#pragma once

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace skim_bench {

/// The middle value, or the mean of the two in the middle. Not empty.
inline double median(std::vector<double> x) {
  if (x.empty()) throw std::invalid_argument("median of nothing");
  const std::size_t middle = x.size() / 2;
  std::sort(x.begin(), x.end());
  return x.size() % 2 != 0 ? x[middle] : (x[middle - 1] + x[middle]) / 2;
}

struct Contestant {
  std::string name;
  std::function<void()> run;  ///< what is timed
  double pause = 0;           ///< seconds to let the machine settle afterwards
};

/// How many rounds there are.
struct Patience {
  std::size_t rounds = 0;  ///< 0: as many as `seconds` allow, between 5 and 41, or 3 if one takes long
  double seconds = 2;

  std::size_t count(double seconds_of_one) const {
    if (rounds != 0) return rounds;
    if (seconds_of_one > seconds) return 3;
    return static_cast<std::size_t>(std::clamp(seconds / std::max(seconds_of_one, 1e-9), 5.0, 41.0));
  }
};

class Rounds {
 public:
  using Prepare = std::function<void(const Contestant&)>;

  /// One round to warm up, then those that count. `prepare` comes before each call, outside of the clock.
  Rounds(std::vector<Contestant> field, const Prepare& prepare, const Patience& patience,
         std::size_t threads = 1)
      : field_(std::move(field)),
        seconds_(field_.size()),
        wall_(field_.size()),
        cpu_(field_.size()),
        threads_(static_cast<double>(threads)) {
    const auto start = Clock::now();
    for (std::size_t i = 0; i < field_.size(); ++i) time(i, prepare);
    rounds_ = patience.count(since(start));
    for (std::size_t round = 0; round < rounds_; ++round) {
      for (std::size_t i = 0; i < field_.size(); ++i) {
        // Every other round the other way, so that nobody always follows the same neighbour.
        const std::size_t who = round % 2 == 0 ? i : field_.size() - 1 - i;
        seconds_[who].push_back(time(who, prepare));
      }
    }
  }

  std::size_t count() const { return rounds_; }

  /// The share of the timed seconds in which threads did not run, because others did or because they had
  /// nothing to do: of the contestant that suffered most. Where it is not near 0 the figures are those of a
  /// loaded machine, on which short calls come off better than long ones.
  double off_cpu() const {
    double worst = 0;
    for (std::size_t i = 0; i < field_.size(); ++i) {
      worst = std::max(worst, 1 - cpu_[i] / (wall_[i] * threads_));
    }
    return worst;
  }

  bool has(const std::string& name) const { return find(name) != field_.size(); }

  /// Processor time of `name` / processor time of `over`, of all calls: for a machine so loaded that `ratio` is chance.
  double cpu_ratio(const std::string& name, const std::string& over) const { return cpu_[at(name)] / cpu_[at(over)]; }

  /// Median time of one call.
  double seconds(const std::string& name) const { return median(seconds_[at(name)]); }

  /// Median over rounds of time of `name` / time of `over`.
  double ratio(const std::string& name, const std::string& over) const { return ratio_of(name, nullptr, over); }

  /// Median over rounds of (time of `name` - time of `part`) / time of `over`.
  double ratio_without(const std::string& name, const std::string& part, const std::string& over) const {
    return ratio_of(name, &seconds_[at(part)], over);
  }

 private:
  using Clock = std::chrono::steady_clock;

  double ratio_of(const std::string& name, const std::vector<double>* part, const std::string& over) const {
    const auto &a = seconds_[at(name)], &b = seconds_[at(over)];
    std::vector<double> ratios;
    for (std::size_t r = 0; r < a.size(); ++r) ratios.push_back((a[r] - (part ? (*part)[r] : 0)) / b[r]);
    return median(std::move(ratios));
  }

  static double cpu_seconds() {  // of all our threads
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  static double since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  double time(std::size_t i, const Prepare& prepare) {
    prepare(field_[i]);
    const double cpu = cpu_seconds();
    const auto start = Clock::now();
    field_[i].run();
    const double seconds = since(start);
    wall_[i] += seconds;
    cpu_[i] += cpu_seconds() - cpu;
    if (field_[i].pause > 0)
      std::this_thread::sleep_for(std::chrono::duration<double>(field_[i].pause));
    return seconds;
  }

  std::size_t find(const std::string& name) const {
    std::size_t i = 0;
    while (i < field_.size() && field_[i].name != name) ++i;
    return i;
  }
  std::size_t at(const std::string& name) const {
    if (!has(name)) throw std::invalid_argument("rounds: nobody is called " + name);
    return find(name);
  }

  std::vector<Contestant> field_;
  std::vector<std::vector<double>> seconds_;  // [contestant][round]
  std::vector<double> wall_, cpu_;            // [contestant], seconds of all calls
  double threads_;
  std::size_t rounds_ = 0;
};

}  // namespace skim_bench
