// SPDX-License-Identifier: Apache-2.0
#include "recall.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <utility>

#include <skim/skim.h>

#include "indexed_head.h"
#include "table.h"

namespace compare {
namespace {

template <class Kv>
std::vector<skim::Position> ranked_first(double share, skim::Source by, const skim::Query& query, const Kv& kv) {
  const skim::Selection selection = skim::select(skim::TopK{skim::fraction(share), by}, query, kv);
  std::vector<skim::Position> positions;
  for (const skim::Pick& pick : selection.picks()) positions.push_back(pick.position);
  return positions;
}

/// The share of `sought` that is in `found`; both ascending.
double found_share(const std::vector<skim::Position>& sought, const std::vector<skim::Position>& found) {
  std::vector<skim::Position> both;
  std::set_intersection(sought.begin(), sought.end(), found.begin(), found.end(), std::back_inserter(both));
  return static_cast<double>(both.size()) / static_cast<double>(sought.size());
}

struct Mean {
  double sum = 0;
  std::size_t count = 0;

  void add(double x) {
    sum += x;
    ++count;
  }
  double value() const { return count > 0 ? sum / static_cast<double>(count) : 0; }
};

/// What is asked of an index.
std::vector<Recall> questions() {
  std::vector<Recall> all;
  for (const skim::Source by : kRanking) {
    for (const double sought : kSought) {
      all.push_back({.by = by, .sought = sought, .candidates = sought});
      for (const double candidates : kCandidates) {
        if (candidates > sought) all.push_back({.by = by, .sought = sought, .candidates = candidates});
      }
    }
  }
  return all;
}

}  // namespace

std::vector<Recall> measure_recall(const Problem& problem, const Settings& settings) {
  std::vector<Recall> recalls = questions();
  std::vector<Mean> all(recalls.size());
  std::vector<std::map<std::pair<std::uint32_t, std::uint32_t>, Mean>> of_head(recalls.size());  // by layer and head
  for (const KvHead& kv : problem.heads) {
    IndexedHead head(kv, settings.segment);
    for (const Ask& ask : kv.asks) {
      head.resize(static_cast<std::size_t>(ask.position) + 1);
      const std::size_t n = head.sketched();
      if (n == 0) continue;
      head.resize(n);
      skim::Query query = kv.query(ask, settings.seed, settings.grouping);
      query.position = static_cast<skim::Position>(n) - 1;
      for (std::size_t i = 0; i < recalls.size(); ++i) {
        const auto sought = ranked_first(recalls[i].sought, skim::Source::kKeys, query, head.kv());
        const double share = found_share(sought, ranked_first(recalls[i].candidates, recalls[i].by, query, head.kv()));
        all[i].add(share);
        of_head[i][{kv.layer, kv.head}].add(share);
      }
    }
  }
  for (std::size_t i = 0; i < recalls.size(); ++i) {
    recalls[i].mean = all[i].value();
    recalls[i].worst_head = 1;
    for (const auto& [name, mean] : of_head[i]) recalls[i].worst_head = std::min(recalls[i].worst_head, mean.value());
  }
  return recalls;
}

void print_recall(std::span<const RecallOn> all) {
  const auto percent = [](double share) { return table::plain_number(100 * share) + " %"; };
  std::vector<std::string> head = {"keys", "by"};
  for (const Recall& recall : questions()) {
    if (recall.by == kRanking[0]) head.push_back(percent(recall.sought) + " in " + percent(recall.candidates));
  }
  table::Table out(head);
  for (const RecallOn& on : all) {
    for (const skim::Source by : kRanking) {
      std::vector<std::string> row = {on.keys, std::string(skim::name_of(by))};
      for (const Recall& recall : on.recalls) {
        if (recall.by != by) continue;
        char cell[32];
        std::snprintf(cell, sizeof(cell), "%.3f (%.2f)", recall.mean, recall.worst_head);
        row.push_back(cell);
      }
      out.add(row);
    }
  }
  out.print(stdout);
}

}  // namespace compare
