// SPDX-License-Identifier: Apache-2.0
// The call on Eigen matrices is the call on views: same bits, same checks.
#include "skim/eigen.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "core/expect_error.h"

namespace {

using skim::RowMatrix;
using skim::test::expect_error;

RowMatrix random_matrix(Eigen::Index rows, Eigen::Index cols, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  RowMatrix m(rows, cols);
  for (Eigen::Index i = 0; i < m.size(); ++i) m.data()[i] = normal(random);
  return m;
}

bool same_bits(const RowMatrix& a, const RowMatrix& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

/// Row by row through the call on views: row r of m is at position n - m + r.
template <class E>
RowMatrix by_views(const E& estimator, const RowMatrix& q, const RowMatrix& k, const RowMatrix& v,
                   skim::Query how = {}) {
  const auto rows = [](const RowMatrix& m) {
    return skim::Rows<const float>{m.data(), static_cast<std::size_t>(m.rows()),
                                   static_cast<std::size_t>(m.cols())};
  };
  const skim::ContiguousKv<float> kv{rows(k), rows(v)};
  RowMatrix out(q.rows(), v.cols());
  for (Eigen::Index r = 0; r < q.rows(); ++r) {
    skim::Query one = how;
    one.rows = {q.data() + r * q.cols(), 1, static_cast<std::size_t>(q.cols())};
    one.position = k.rows() - q.rows() + r;
    const skim::State state = skim::attend(estimator, one, kv);
    std::copy_n(state.out(), v.cols(), out.data() + r * v.cols());
  }
  return out;
}

const auto kStack = skim::stack(skim::Sinks{2}, skim::Window{8}, skim::TopK{skim::power(1.0, 0.5)},
                                skim::PriorityTail{16});

TEST(Eigen, IsTheCallOnViews) {
  for (const Eigen::Index m : {1, 3, 20}) {
    const RowMatrix q = random_matrix(m, 24, 1), k = random_matrix(150, 24, 2),
                    v = random_matrix(150, 10, 3);
    EXPECT_TRUE(same_bits(skim::attend(skim::TopK{9}, q, k, v), by_views(skim::TopK{9}, q, k, v)));
    EXPECT_TRUE(same_bits(skim::attend(kStack, q, k, v), by_views(kStack, q, k, v)));
    EXPECT_TRUE(
        same_bits(skim::attend(skim::parse(to_text(kStack)), q, k, v), by_views(kStack, q, k, v)));
    // One row: the same kernel. Dense chunks have a kernel of their own, whose results differ by rounding:
    // logits here are below 5, so an error of 5e-7 in them and of twice that in the output.
    const RowMatrix dense = skim::attend(skim::Dense{}, q, k, v),
                    expected = by_views(skim::Dense{}, q, k, v);
    EXPECT_LE((dense - expected).norm(), m == 1 ? 0.0f : 1e-6f * expected.norm());
  }
}

TEST(Eigen, HowIsPassedOn) {
  const RowMatrix q = random_matrix(5, 16, 1), k = random_matrix(60, 16, 2),
                  v = random_matrix(60, 7, 3);
  const float slope = 0.125f, sink = 1.5f;
  const RowMatrix plain = skim::attend(kStack, q, k, v);
  skim::Query how;
  const auto expect_passed = [&](const char* what) {
    const RowMatrix out = skim::attend(kStack, q, k, v, how);
    EXPECT_TRUE(same_bits(out, by_views(kStack, q, k, v, how))) << what;
    EXPECT_FALSE(same_bits(out, plain)) << what << " makes a difference";
    how = {};
  };
  how.logit.scale = 1.0;
  expect_passed("scale");
  how.logit.soft_cap = 0.5;
  expect_passed("soft cap");
  how.logit.alibi_slopes = &slope;
  expect_passed("slopes");
  how.sink_logits = &sink;
  expect_passed("sink logits");
  how.stream.seed = 99;
  expect_passed("stream");
  how.causal = false;
  expect_passed("causality");
}

// Parts of a larger matrix are taken where they are: the rows keep the stride of the whole.
TEST(Eigen, BlocksAndMaps) {
  const RowMatrix all = random_matrix(80, 64, 4);
  const RowMatrix q = all.block(0, 0, 4, 16), k = all.block(8, 16, 60, 16),
                  v = all.block(8, 32, 60, 20);
  const RowMatrix expected = by_views(kStack, q, k, v);
  EXPECT_TRUE(same_bits(
      skim::attend(kStack, all.block(0, 0, 4, 16), all.block(8, 16, 60, 16), all.block(8, 32, 60, 20)),
      expected));
  const Eigen::Map<const RowMatrix> q_map(q.data(), 4, 16), k_map(k.data(), 60, 16),
      v_map(v.data(), 60, 20);
  EXPECT_TRUE(same_bits(skim::attend(kStack, q_map, k_map, v_map), expected));
  const Eigen::Ref<const RowMatrix> k_ref = all.block(8, 16, 60, 16);
  EXPECT_TRUE(same_bits(skim::attend(kStack, q, k_ref, v), expected));
  EXPECT_TRUE(
      same_bits(skim::attend(kStack, q.row(3), k, v), by_views(kStack, RowMatrix(q.row(3)), k, v)));
}

// The transpose of a column-major [d, n] matrix has its rows in one piece.
TEST(Eigen, TransposeOfColumnMajor) {
  const RowMatrix q = random_matrix(2, 8, 1), k = random_matrix(30, 8, 2), v = random_matrix(30, 6, 3);
  const Eigen::MatrixXf k_columns = k.transpose(), v_columns = v.transpose();
  EXPECT_TRUE(same_bits(skim::attend(kStack, q, k_columns.transpose(), v_columns.transpose()),
                        by_views(kStack, q, k, v)));
}

// A row of a column-major matrix is row-major to Eigen, but its numbers are far apart: refused, never wrong.
TEST(Eigen, RowsWithGapsBetweenNumbersAreRefused) {
  const Eigen::MatrixXf columns = Eigen::MatrixXf::Random(10, 8);
  const RowMatrix k = random_matrix(30, 8, 2), v = random_matrix(30, 6, 3);
  expect_error([&] { skim::attend(skim::Dense{}, columns.row(3), k, v); }, {"inner stride", "10", "1"});
  const Eigen::Map<const RowMatrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> spread(
      k.data(), 15, 4, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(16, 2));
  expect_error([&] { skim::attend(skim::Dense{}, k.leftCols(4), spread, v.topRows(15)); },
               {"inner stride", "2"});
}

TEST(Eigen, MismatchedShapesThrowWithBothNumbers) {
  const RowMatrix q = random_matrix(3, 64, 1), k = random_matrix(20, 128, 2),
                  v = random_matrix(20, 16, 3);
  expect_error([&] { skim::attend(skim::Dense{}, q, k, v); }, {"64", "128"});
  expect_error([&] { skim::attend(skim::Dense{}, q, k.leftCols(64), v.topRows(19)); }, {"20", "19"});
  expect_error([&] { skim::attend(skim::TopK{skim::fraction(1.5)}, q, k.leftCols(64), v); }, {"1.5"});
  expect_error([&] { skim::attend(skim::Dense{}, RowMatrix(3, 0), RowMatrix(20, 0), v); },
               {"0 columns", "1"});
}

TEST(Eigen, NothingInNothingOut) {
  const RowMatrix k = random_matrix(20, 8, 2), v = random_matrix(20, 5, 3);
  const RowMatrix none = skim::attend(skim::Dense{}, RowMatrix(0, 8), k, v);
  EXPECT_EQ(none.rows(), 0);
  EXPECT_EQ(none.cols(), 5);
  const RowMatrix zeros =
      skim::attend(skim::Dense{}, random_matrix(2, 8, 1), RowMatrix(0, 8), RowMatrix(0, 5));
  EXPECT_TRUE(same_bits(zeros, RowMatrix::Zero(2, 5)));
}

// More queries than keys: causal, the first ones would stand before the first position. (They saw nothing once.)
TEST(Eigen, MoreQueriesThanKeys) {
  const RowMatrix q = random_matrix(5, 8, 1), k = random_matrix(3, 8, 2), v = random_matrix(3, 4, 3);
  EXPECT_THROW(skim::attend(skim::TopK{3}, q, k, v), std::invalid_argument);
  const skim::Query all{.causal = false};
  const RowMatrix out = skim::attend(skim::TopK{3}, q, k, v, all);
  EXPECT_TRUE(same_bits(out.bottomRows(3), skim::attend(skim::TopK{3}, q.bottomRows(3), k, v, all)));
  EXPECT_TRUE(same_bits(out.row(4), skim::attend(skim::TopK{3}, q.bottomRows(1), k, v).row(0)));
}

}  // namespace
