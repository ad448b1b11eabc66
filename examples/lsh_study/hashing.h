// SPDX-License-Identifier: Apache-2.0
// LSH sampling by the book, one key after the other: what the study measures the library's tables against, and what it
// needs that they do not offer, such as keys that are not centred.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <skim/index/lsh_planes.h>

namespace lsh {

/// What the source publishes: bits of a code, tables, and the share of the keys that they retrieve.
struct Budget {
  std::size_t bits = 0;
  std::size_t tables = 0;
  double published = 0;

  std::string name() const { return "(" + std::to_string(bits) + "," + std::to_string(tables) + ")"; }
};

/// MagicPIG, arXiv 2410.16179, table 9.
inline constexpr Budget kPublished[] = {{7, 300, .66}, {8, 75, .05}, {9, 120, .04}, {10, 150, .02}, {11, 300, .02}};

/// Codes of rows, [rows, tables].
struct Codes {
  std::size_t tables = 0;
  std::vector<std::uint16_t> all;

  const std::uint16_t* row(std::size_t i) const { return all.data() + i * tables; }
};

/// rows: [n, d]. centre: [d], what is subtracted from each, or empty.
Codes hash(std::span<const float> rows, std::span<const float> centre, const skim::LshPlanes& planes);

/// In how many of the tables [first, last) each key has the query's code, [n].
std::vector<std::uint16_t> meetings(const Codes& keys, const std::uint16_t* query, std::size_t first, std::size_t last);

/// The probability of at least two meetings in `tables` tables of `bits` bits.
double inclusion(double cosine, std::size_t bits, std::size_t tables);

/// Cosines of `query` and the rows less `centre`, [n]; 0 where one has no length.
std::vector<double> cosines(std::span<const float> rows, std::span<const float> centre, std::span<const float> query);

/// The mean of the rows from `first` on, [d].
std::vector<float> mean_row(std::span<const float> rows, std::size_t d, std::size_t first = 0);

double dot(std::span<const float> a, std::span<const float> b);

}  // namespace lsh
