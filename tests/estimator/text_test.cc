// SPDX-License-Identifier: Apache-2.0
#include "skim/estimator/text.h"

#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace {

using skim::parse;
using skim::to_text;

// ---- what is understood ----

TEST(Text, EveryStageAndBudgetSurvivesTheRoundTrip) {
  for (const char* text : {
           "dense",
           "sinks(4)",
           "sinks(0)",
           "window(64)",
           "topk(64)",
           "topk(0)",
           "topk(fraction(0.05))",
           "topk(fraction(0.05,16))",
           "topk(fraction(0))",
           "topk(power(2,0.5))",
           "topk(power(2,0.5,64))",
           "topk(power(2,0.5,0))",
           "topk(power(0.1,0.001))",
           "topp(0.95)",
           "topp(1)",
           "quest(256)",
           "quest(fraction(0.05,64))",
           "uniform(128)",
           "uniform(fraction(0.1,8))",
           "priority(128)",
           "priority(power(1.5,0.75))",
           "multinomial(64)",
           "systematic(fraction(0.02))",
           "poisson(power(3,0.25,32))",
           "sinks(4)+window(64)+topk(128)+priority(256)",
           "sinks(4)+window(64)+topk(power(2,0.5))+priority(128)",
           "topk(1)+topk(2)+topp(0.5)+dense",
           "topk(9007199254740992)",
           "topk(9223372036854775807)",
           "sinks(9223372036854775807)",
           "topk(fraction(1e-09))",
           "topk(fraction(0.3333333333333333))",
           "topk(128,by=sketch1)",
           "topk(128,by=sketch4,candidates=640)",
           "topk(fraction(0.01),by=sketch8,candidates=fraction(0.05,64))",
           "topk(128,by=external,candidates=power(2,0.5))",
           "topk(128,by=sketch8,exact)",
           "topk(128,by=boxes,exact)",
           "topk(128,exact)",
           "priority(128,by=sketch4)",
           "multinomial(64,by=external)",
           "systematic(fraction(0.02),by=sketch1)",
           "poisson(power(3,0.25,32),by=sketch8)",
           "sinks(4)+window(64)+topk(128,by=sketch4)+priority(128,by=sketch4)",
       }) {
    EXPECT_EQ(to_text(parse(text)), text);
  }
}

TEST(Text, StagesAreThoseOfTheCode) {
  const skim::StageList list =
      parse("sinks(4)+window(64)+topk(power(2,0.5,8))+uniform(fraction(0.25))");
  ASSERT_EQ(list.stages.size(), 4u);
  EXPECT_EQ(std::get<skim::Sinks>(list.stages[0]).count, 4);
  EXPECT_EQ(std::get<skim::Window>(list.stages[1]).width, 64);
  EXPECT_EQ(std::get<skim::TopK>(list.stages[2]).budget, skim::power(2, 0.5, 8));
  EXPECT_EQ(std::get<skim::UniformTail>(list.stages[3]).budget, skim::fraction(0.25));
  EXPECT_EQ(std::get<skim::TopK>(parse("topk(64)").stages[0]).budget, skim::Budget(64));
  EXPECT_EQ(std::get<skim::TopP>(parse("topp(0.75)").stages[0]).mass, 0.75);
  EXPECT_EQ(std::get<skim::Quest>(parse("quest(256)").stages[0]).budget, skim::Budget(256));
  EXPECT_TRUE(std::holds_alternative<skim::Dense>(parse("dense").stages[0]));
  EXPECT_TRUE(std::holds_alternative<skim::PriorityTail>(parse("priority(1)").stages[0]));
  EXPECT_TRUE(std::holds_alternative<skim::MultinomialTail>(parse("multinomial(1)").stages[0]));
  EXPECT_TRUE(std::holds_alternative<skim::SystematicTail>(parse("systematic(1)").stages[0]));
  EXPECT_TRUE(std::holds_alternative<skim::PoissonTail>(parse("poisson(1)").stages[0]));
}

TEST(Text, SourcesAreThoseOfTheCode) {
  const auto topk = [](const char* text) { return std::get<skim::TopK>(parse(text).stages[0]); };
  EXPECT_EQ(topk("topk(5)").by, skim::Source::kKeys);
  EXPECT_EQ(topk("topk(5,by=keys)").by, skim::Source::kKeys);
  EXPECT_EQ(topk("topk(5,by=sketch1)").by, skim::Source::kSketch1);
  EXPECT_EQ(topk("topk(5,by=sketch4)").by, skim::Source::kSketch4);
  EXPECT_EQ(topk("topk(5,by=sketch8)").by, skim::Source::kSketch8);
  EXPECT_EQ(topk("topk(5,by=boxes)").by, skim::Source::kBoxes);
  EXPECT_EQ(topk("topk(5,by=external)").by, skim::Source::kExternal);
  EXPECT_EQ(topk("topk(5,by=sketch1,candidates=40)").candidates, skim::Budget(40));
  EXPECT_EQ(topk("topk(5,by=sketch1)").candidates, skim::Budget(0));
  EXPECT_FALSE(topk("topk(5,by=sketch8)").exact);
  EXPECT_TRUE(topk("topk(5,by=sketch8,exact)").exact);
  EXPECT_EQ(std::get<skim::PriorityTail>(parse("priority(5,by=sketch4)").stages[0]).by, skim::Source::kSketch4);
  EXPECT_EQ(std::get<skim::PoissonTail>(parse("poisson(5)").stages[0]).by, skim::Source::kKeys);
}

TEST(Text, ArgumentsOfTopKInAnyOrder) {
  EXPECT_EQ(to_text(parse("topk(5,exact,by=sketch8)")), "topk(5,by=sketch8,exact)");
  EXPECT_EQ(to_text(parse("topk(5,candidates=40,by=sketch1)")), "topk(5,by=sketch1,candidates=40)");
  EXPECT_EQ(to_text(parse("topk ( 5 , by = sketch1 , candidates = fraction( 0.5 ) )")),
            "topk(5,by=sketch1,candidates=fraction(0.5))");
  EXPECT_EQ(to_text(parse("priority( 5 ,by =external )")), "priority(5,by=external)");
}

// The minimum is 1 for a power and 0 for a fraction, when it is not written.
TEST(Text, MinimumDefaults) {
  EXPECT_EQ(std::get<skim::TopK>(parse("topk(power(2,0.5))").stages[0]).budget.minimum(), 1u);
  EXPECT_EQ(std::get<skim::TopK>(parse("topk(fraction(0.5))").stages[0]).budget.minimum(), 0u);
  EXPECT_EQ(to_text(parse("topk(power(2,0.5,1))")), "topk(power(2,0.5))");
  EXPECT_EQ(to_text(parse("topk(fraction(0.5,0))")), "topk(fraction(0.5))");
}

TEST(Text, SpacesMayStandBetweenAnyTwoWords) {
  EXPECT_EQ(
      to_text(parse("  sinks ( 4 )  + topk ( power ( 2 , 0.5 , 3 ) )+ priority( fraction(0.5 ) ) ")),
      "sinks(4)+topk(power(2,0.5,3))+priority(fraction(0.5))");
}

TEST(Text, NumbersInAnyNotation) {
  EXPECT_EQ(to_text(parse("topk(power(2e1,5e-1))")), "topk(power(20,0.5))");
  EXPECT_EQ(to_text(parse("topk(power(.5,0.50))")), "topk(power(0.5,0.5))");
  EXPECT_EQ(to_text(parse("topk(007)")), "topk(7)");
}

TEST(Text, OfStagesAndStacks) {
  EXPECT_EQ(to_text(skim::TopK{64}), "topk(64)");
  EXPECT_EQ(to_text(skim::stack(skim::Sinks{4}, skim::Window{64}, skim::TopK{skim::power(2.0, 0.5)},
                                skim::PriorityTail{9})),
            "sinks(4)+window(64)+topk(power(2,0.5))+priority(9)");
}

TEST(Text, BehavesAsTheStackItNames) {
  const auto stack = skim::stack(skim::Sinks{4}, skim::Window{64}, skim::TopK{skim::fraction(0.1)});
  const auto list = parse(to_text(stack));
  for (const std::size_t n : {0u, 1u, 50u, 1000u, 100000u})
    EXPECT_EQ(list.max_picks(n), stack.max_picks(n)) << n;
  EXPECT_EQ(list.max_picks(1000), 168u);
  EXPECT_NO_THROW(list.validate());
}

// ---- what is not ----

struct Wrong {
  const char* text;
  std::size_t column;  // of the wrong character, from 1
  const char* why;
};

TEST(Text, ErrorsPointAtTheWrongCharacter) {
  const std::string digits = "topk(99999999999999999999)";
  for (const Wrong& wrong : std::vector<Wrong>{
           {"", 1, "expected dense"},
           {"   ", 4, "expected dense"},
           {"top(4)", 1, "expected dense"},
           {"Topk(4)", 1, "expected dense"},
           {"sinks(4)+", 10, "expected dense"},
           {"sinks(4)++topk(1)", 10, "expected dense"},
           {"+topk(1)", 1, "expected dense"},
           {"sinks(4)+bogus(3)", 10, "expected dense"},
           {"sinks", 6, "'('"},
           {"sinks 4", 7, "'('"},
           {"topk2(4)", 5, "'('"},
           {"dense(4)", 6, "expected '+' or the end"},
           {"sinks(4)topk(1)", 9, "expected '+' or the end"},
           {"sinks(4) topk(1)", 10, "expected '+' or the end"},
           {"sinks(4)\ttopk(1)", 9, "expected '+' or the end"},
           {"sinks(4))", 9, "expected '+' or the end"},
           {"sinks()", 7, "whole number"},
           {"sinks(four)", 7, "whole number"},
           {"sinks(+4)", 7, "whole number"},
           {"sinks(-4)", 7, "not negative"},
           {"sinks(  -4)", 9, "not negative"},
           {"sinks(4.5)", 8, "')'"},
           {"sinks(4", 8, "')'"},
           {"topk(0.1)", 7, "')'"},
           {"topk(64,1)", 9, "by, candidates or exact"},
           {"topk(64,)", 9, "by, candidates or exact"},
           {"topk(64,from=sketch1)", 9, "by, candidates or exact"},
           {"topk(64,by)", 11, "'='"},
           {"topk(64,by sketch1)", 12, "'='"},
           {"topk(64,by=)", 12, "expected keys, sketch1, sketch4"},
           {"topk(64,by=sketch)", 12, "expected keys, sketch1, sketch4"},
           {"topk(64,by=sketch2)", 12, "expected keys, sketch1, sketch4"},
           {"topk(64,by=sketch10)", 12, "expected keys, sketch1, sketch4"},
           {"topk(64,by= Keys)", 13, "expected keys, sketch1, sketch4"},
           {"topk(64,by=sketch1,candidates)", 30, "'='"},
           {"topk(64,by=sketch1,candidates=)", 31, "whole number"},
           {"topk(64,by=sketch1,candidates=-4)", 31, "not negative"},
           {"topk(64,by=sketch8,exact=1)", 25, "')'"},
           {"topk(64,by=sketch8 exact)", 20, "')'"},
           {"topp(0.5,by=sketch1)", 9, "')'"},
           {"uniform(5,by=sketch1)", 10, "')'"},
           {"priority(5,exact)", 12, "expected by"},
           {"priority(5,by=sketch4,candidates=4)", 22, "')'"},
           {"systematic(5,by=sketch44)", 17, "expected keys, sketch1, sketch4"},
           {"topk()", 6, "whole number"},
           {"topk(-1)", 6, "not negative"},
           {"topk(power)", 11, "'('"},
           {"topk(power(2))", 13, "','"},
           {"topk(power(2,))", 14, "a number"},
           {"topk(power(x,0.5))", 12, "a number"},
           {"topk(power(2,0.5,))", 18, "whole number"},
           {"topk(power(2,0.5,-1))", 18, "not negative"},
           {"topk(power(2,0.5,1.5))", 19, "')'"},
           {"topk(power(2,0.5)", 18, "')'"},
           {"topk(share(0.5))", 6, "fraction or power"},
           {"topk(fraction(0.5,1,2))", 20, "')'"},
           {"topp(half)", 6, "a number"},
           {"quest()", 7, "whole number"},
           {"quest(256,by=boxes)", 10, "')'"},
           {digits.c_str(), 6, "out of range"},
           {"topk(power(1e999,0.5))", 12, "out of range"},
       }) {
    try {
      parse(wrong.text);
      ADD_FAILURE() << "accepted: " << wrong.text;
    } catch (const std::invalid_argument& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(wrong.why), std::string::npos) << wrong.text << "\n" << message;
      EXPECT_NE(message.find("at character " + std::to_string(wrong.column) + "\n"), std::string::npos)
          << message;
      // Third line: a mark under that character of the second.
      const std::size_t mark = message.rfind('\n');
      EXPECT_EQ(message.substr(mark), "\n  " + std::string(wrong.column - 1, ' ') + "^") << message;
      EXPECT_NE(message.find(std::string("\n  ") + wrong.text + "\n"), std::string::npos) << message;
    }
  }
}

TEST(Text, ParametersOutOfRangePointAtTheirStage) {
  for (const Wrong& wrong : std::vector<Wrong>{
           {"topk(fraction(1.5))", 1, "1.5"},
           {"sinks(4)+topk(fraction(1.5))", 10, "1.5"},
           {"sinks(4) + topk(fraction(-0.5))", 12, "-0.5"},
           {"topk(power(2,1.5))", 1, "1.5"},
           {"topk(power(-2,0.5))", 1, "-2"},
           {"topk(power(inf,0.5))", 1, "inf"},
           {"topk(fraction(nan))", 1, "nan"},
           {"topp(1.01)", 1, "1.01"},
           {"topp(nan)", 1, "nan"},
           {"sinks(1)+priority(fraction(2))", 10, "2"},
           {"topk(5,by=sketch1,candidates=fraction(1.5))", 1, "1.5"},
           {"topk(5,candidates=40)", 1, "candidates are named by an index"},
           {"sinks(1)+topk(5,by=sketch1,exact)", 10, "by is sketch1"},
           {"topk(5,by=sketch8,exact,candidates=9)", 1, "exact finds its own candidates"},
       }) {
    try {
      parse(wrong.text);
      ADD_FAILURE() << "accepted: " << wrong.text;
    } catch (const std::invalid_argument& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(wrong.why), std::string::npos) << message;
      EXPECT_NE(message.find("at character " + std::to_string(wrong.column) + "\n"), std::string::npos)
          << message;
    }
  }
}

// Law 3: what stands for everything that is left can only be last. The mark is under that stage.
TEST(Text, NothingFollowsATail) {
  for (const Wrong& wrong : std::vector<Wrong>{
           {"dense+topk(4)", 1, ""},
           {"sinks(4)+uniform(3)+topk(4)", 10, ""},
           {"sinks(4) + priority(3)+ window(4)", 12, ""},
           {"multinomial(3)+sinks(4)", 1, ""},
           {"systematic(3)+sinks(4)", 1, ""},
           {"poisson(3)+sinks(4)", 1, ""},
           {"dense+dense", 1, ""},
       }) {
    try {
      parse(wrong.text);
      ADD_FAILURE() << "accepted: " << wrong.text;
    } catch (const std::invalid_argument& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("stands for every position left"), std::string::npos) << message;
      EXPECT_NE(message.find("at character " + std::to_string(wrong.column) + "\n"), std::string::npos)
          << message;
    }
  }
}

// No prefix of a good text is anything but accepted or refused: nothing reads beyond the end.
TEST(Text, TruncatedAnywhere) {
  const std::string whole = "sinks(4) + window(64)+topk(power(2,0.5,8))+systematic(fraction(0.1,2))";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const std::vector<char> exact(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    try {
      EXPECT_FALSE(parse(std::string_view(exact.data(), length)).stages.empty());
      EXPECT_TRUE(length > 0 && (exact.back() == ')' || exact.back() == ' ')) << length;
    } catch (const std::invalid_argument&) {
    }
  }
  EXPECT_EQ(parse(whole).stages.size(), 4u);
}

}  // namespace
