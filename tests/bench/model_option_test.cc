// SPDX-License-Identifier: Apache-2.0
// Do the exact answers know every option, and does a call without it fail?
#include "bench/model_option.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bench/layer_call.h"

namespace skim_bench {
namespace {

using Call = LayerCall<skim::Dense, skim::ContiguousKv<float>>;

const std::vector<ModelOption> kOptions = {
    {.what = "scale", .scale = 0.01},
    {.what = "softcap", .soft_cap = 3},
    {.what = "alibi", .alibi = true},
    {.what = "sinklogit", .sink_logits = true},
    {.what = "window", .window = 100},
    {.what = "noncausal", .causal = false},
    {.what = "all", .scale = 0.1, .soft_cap = 4, .alibi = true, .sink_logits = true, .window = 150},
};

DataSpec spec_of(std::size_t rows) {
  DataSpec spec{{8, 2, 300, 32}};
  spec.rows = rows;
  return spec;
}

TEST(ModelOption, ExactAnswersKnowEveryOption) {
  Pool pool(1);
  for (const std::size_t rows : {1u, 40u, 300u}) {
    const Dataset<float> data(spec_of(rows));
    for (const ModelOption& option : kOptions) {
      if (rows == 1 && !option.causal) continue;  // the newest row sees all anyway
      SCOPED_TRACE(testing::Message() << option.what << ", rows " << rows);
      const AskedOption asked(option, data.spec());
      Call call({}, data, data.heads(), skim::Grouping::kPerGroup, pool);
      asked.ask(call.query());
      call();
      const std::vector<double> errors = asked.errors(data, call.out());
      EXPECT_EQ(errors.size(), data.answers().size() / 32);
      EXPECT_LT(*std::max_element(errors.begin(), errors.end()), 1e-5);
    }
  }
}

TEST(ModelOption, ACallWithoutItFails) {
  const Dataset<float> data(spec_of(300));
  Pool pool(1);
  Call plain({}, data, data.heads(), skim::Grouping::kPerGroup, pool);
  plain();
  for (const ModelOption& option : kOptions) {
    const AskedOption asked(option, data.spec());
    EXPECT_THROW(asked.errors(data, plain.out()), std::logic_error) << option.what;
  }
  // A window as long as the data changes nothing, so no error against it says anything.
  const AskedOption idle(ModelOption{.what = "window", .window = 300}, data.spec());
  EXPECT_THROW(idle.errors(data, plain.out()), std::logic_error);
  const AskedOption none(ModelOption{}, data.spec());
  EXPECT_EQ(none.errors(data, plain.out()), data.errors(plain.out()));
}

TEST(ModelOption, CountsWhatIsSeen) {
  const auto pairs = [](const ModelOption& option, std::size_t rows) {
    return AskedOption(option, spec_of(rows)).pairs();
  };
  EXPECT_EQ(pairs({}, 1), 300);
  EXPECT_EQ(pairs({}, 300), 300 * 301 / 2);
  EXPECT_EQ(pairs({}, 100), 300 * 301 / 2 - 200 * 201 / 2);
  EXPECT_EQ(pairs({.causal = false}, 100), 30000);
  EXPECT_EQ(pairs({.window = 10}, 300), 45 + 291 * 10);
}

}  // namespace
}  // namespace skim_bench
