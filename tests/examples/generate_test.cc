// SPDX-License-Identifier: Apache-2.0
// The program as its user sees it: what stands on stdout, on stderr, and the exit code.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "test_data.h"
#include "tiny_model.h"

#if defined(SKIM_GENERATE_PROGRAM)

namespace engine {
namespace {

struct Result {
  int code = -1;
  std::string out;
  std::string err;
};

/// A folder that is gone when the test is over.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "skim_generate_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path path(const char* name) const { return path_ / name; }
  std::string write(const char* name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name).string();
  }

 private:
  std::filesystem::path path_;
};

/// `before` stands in front of the program; `behind` goes on with the command: a pipe, another place for stdout or stderr.
Result run(const std::string& arguments, const std::string& before = "", const std::string& behind = "") {
  const Folder folder;
  const std::string command = "(" + before + " " + SKIM_GENERATE_PROGRAM + " " + arguments + " " + behind + ") >" +
                              folder.path("out").string() + " 2>" + folder.path("err").string();
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(folder.path("out")),
          read_text(folder.path("err"))};
}

std::string text_of(const Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::string tiny_model_text() { return text_of(tiny_model().bytes()); }

TEST(Generate, RunsATinyModel) {
  const Folder folder;
  const std::string model = folder.write("model.gguf", tiny_model_text());
  const Result result = run("--model " + model + " --tokens 9 --prompt abc");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("tokens/s"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("1.0000 of its keys, 1.0000 of its values"), std::string::npos)
      << result.err;
}

TEST(Generate, DrawsEqualTextsForEqualSeeds) {
  const Folder folder;
  const std::string call = "--model " + folder.write("model.gguf", tiny_model_text()) +
                           " --tokens 30 --temperature 1 --seed ";
  EXPECT_EQ(run(call + "1").out, run(call + "1").out);
  EXPECT_NE(run(call + "1").out, run(call + "2").out);
}

TEST(Generate, SaysWhatIsWrongAndFails) {
  const Folder folder;
  const std::string whole = tiny_model_text();
  const std::string model = folder.write("model.gguf", whole);
  const auto expect_error = [](const std::string& arguments, const std::string& part) {
    const Result result = run(arguments);
    EXPECT_NE(result.code, 0) << arguments;
    EXPECT_EQ(result.out, "") << arguments;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  };
  expect_error("--model " + folder.write("cut.gguf", whole.substr(0, whole.size() / 2)), "gguf: ");
  expect_error("--model " + folder.write("empty.gguf", ""), "gguf: magic");
  expect_error("--model " + model + " --estimator 'topk(4)+tpok(3)'", "tpok");
  expect_error("--model " + model + " --estimator 'dense()' --perplexity " + folder.write("text", "a"),
               "dense()");
  expect_error("--model " + model + " --temperature -1", "--temperature");
  expect_error("--model " + model + " --temperature nan", "--temperature");
  expect_error("--model " + model + " --kv f8", "--kv");
  expect_error("--model " + model + " --perplexity " + folder.write("blank", " \n"), "no text in");
  expect_error("--model " + folder.path("absent").string(), "--model");
}

TEST(Generate, StopsAtLogitsThatAreNotFinite) {
  const Folder folder;
  const auto expect_error = [](const std::string& arguments, const std::string& part) {
    const Result result = run(arguments);
    EXPECT_EQ(result.code, 1) << arguments;
    EXPECT_EQ(result.out.find("nan"), std::string::npos) << result.out;
    EXPECT_EQ(result.out.find("inf"), std::string::npos) << result.out;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::string all = folder.write("all.gguf", text_of(with_value(tiny_model(), "output_norm.weight", 0, NAN)));
  const std::string one =
      folder.write("one.gguf", text_of(with_value(tiny_model(), "token_embd.weight", 200 * 8, NAN)));
  const std::string huge =
      folder.write("huge.gguf", text_of(with_value(tiny_model(), "token_embd.weight", 200 * 8, kInfinity)));
  const std::string text = folder.write("text", "abc");
  for (const std::string& what : {std::string(" --prompt abc --tokens 5"), " --perplexity " + text}) {
    expect_error("--model " + all + what,
                 "at position 0 (token 1) 259 of 259 logits are not finite: that of token 0 is nan");
    expect_error("--model " + one + what,
                 "at position 0 (token 1) 1 of 259 logits are not finite: that of token 200 is nan");
    expect_error("--model " + huge + what, "1 of 259 logits are not finite: that of token 200 is ");
  }
  expect_error("--model " + one + " --perplexity " + text, "generate: document 0: llama: at position 0");
}

TEST(Generate, RefusesWhatIsNoWholeModel) {
  const Folder folder;
  const auto expect_refused = [&](const std::function<void(GgufParts&)>& add, const std::string& part) {
    GgufParts file = tiny_model();
    add(file);
    const Result result = run("--model " + folder.write("model.gguf", text_of(file.bytes())));
    EXPECT_EQ(result.code, 1);
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  };
  expect_refused([](auto& f) { f.u32("split.count", 3); }, "this is shard 1 of 3");
  expect_refused([](auto& f) { f.text("general.type", "adapter"); }, "general.type is adapter");
  expect_refused([](auto& f) { f.u32("llama.expert_count", 8); }, "a mixture of experts");
  expect_refused([](auto& f) { f.flag("llama.attention.causal", false); }, "llama.attention.causal is false");
}

TEST(Generate, NeedsAPromptWhereTextsHaveNoBos) {
  const Folder folder;
  GgufParts file = tiny_model();
  file.flag("tokenizer.ggml.add_bos_token", false);
  const std::string model = folder.write("model.gguf", text_of(file.bytes()));
  EXPECT_EQ(run("--model " + model + " --tokens 5 --prompt a").code, 0);
  const Result empty = run("--model " + model + " --tokens 5");
  EXPECT_EQ(empty.code, 1);
  EXPECT_NE(empty.err.find("--prompt is empty"), std::string::npos) << empty.err;
}

// 3 GB that are no model, and less memory than that: the first four bytes say so.
TEST(Generate, ReadsNoMoreOfJunkThanItsMagic) {
  const Folder folder;
  const std::string junk = folder.write("junk.gguf", "JUNK");
  std::filesystem::resize_file(junk, std::uintmax_t{3} << 30);  // takes no room on disk
  const Result result = run("--model " + junk, "ulimit -v 1000000;");
  EXPECT_EQ(result.code, 1);
  EXPECT_EQ(result.err, "generate: gguf: magic is not GGUF\n");
}

TEST(Generate, FailsWhenNobodyGetsWhatItWrites) {
  const Folder folder;
  const std::string model = "--model " + folder.write("model.gguf", tiny_model_text());
  const std::string text = folder.write("text", "abc");
  for (const std::string& what :
       {model + " --tokens 20 --prompt abc", model + " --perplexity " + text, std::string("--help")}) {
    const Result full = run(what, "", ">/dev/full");
    EXPECT_EQ(full.code, 1) << what;
    EXPECT_NE(full.err.find("cannot write to stdout: No space left on device"), std::string::npos) << full.err;
    const Result closed = run(what, "", ">&-");
    EXPECT_EQ(closed.code, 1) << what;
    EXPECT_NE(closed.err.find("cannot write to stdout: Bad file descriptor"), std::string::npos) << closed.err;
  }
  // A reader that takes one byte of very long texts: the rest is not lost without a word.
  const std::string code = folder.path("code").string();
  const Result first =
      run(model + " --texts 1000000 --tokens 1000 --temperature 1", "{", "; echo $? >" + code + "; } | head -c 1");
  EXPECT_EQ(first.out.size(), 1u);
  EXPECT_EQ(read_text(code), "1\n");
  EXPECT_NE(first.err.find("generate: cannot write to stdout: Broken pipe"), std::string::npos) << first.err;
  EXPECT_EQ(first.err.find("tokens/s"), std::string::npos) << "it stops at once";
  // What goes to stderr counts too, though nobody can be told.
  EXPECT_EQ(run(model + " --tokens 5", "", "2>/dev/full").code, 1);
  EXPECT_EQ(run(model + " --tokens 5", "", "2>&-").code, 1);
}

// The first file that is opened would be descriptor 1, and text would go into it.
TEST(Generate, WritesIntoNoFileInPlaceOfStdout) {
  const Folder folder;
  const std::string model = folder.write("model.gguf", tiny_model_text());
  EXPECT_EQ(run("--model " + model + " --tokens 5", "", "<&- >&- 2>&-").code, 1);
  EXPECT_EQ(read_text(model), tiny_model_text());
}

class RealGenerate : public RealModel {};

TEST_F(RealGenerate, WritesTheKnownTextAloneOnStdout) {
  const Result result =
      run("--model " + model_path().string() + " --prompt '' --estimator dense --temperature 0");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out.rfind("Once upon a time, there was a little girl named Lily. She loved to "
                             "play outside in the park.",
                             0),
            0u)
      << result.out;
  EXPECT_NE(result.out.find("We can help you."), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("tokens/s"), std::string::npos) << result.out;
}

TEST_F(RealGenerate, PrintsALineForEachStoryAndATotal) {
  const Result result = run("--model " + model_path().string() + " --perplexity " +
                            text_path().string() + " --estimator 'topk(fraction(0.1))' --kv f16");
  EXPECT_EQ(result.code, 0) << result.err;
  std::istringstream lines(result.out);
  std::string line, document;
  std::getline(lines, line);
  EXPECT_NE(line.find("nll"), std::string::npos);
  std::size_t predictions = 0, tokens = 0, all = 0;
  double nll = 0, kl = 0, changed = 0, keys = 0, values = 0, index = 0, bytes = 0, sum = 0, total = 0;
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(lines >> document >> tokens >> nll >> kl >> changed >> keys >> values >> index >> bytes);
    EXPECT_EQ(document, std::to_string(i));
    EXPECT_GT(kl, 0);
    EXPECT_EQ(keys, 1);
    EXPECT_LT(values, 0.2);
    EXPECT_EQ(index, 0);
    EXPECT_NEAR(bytes, (keys + values) / 2, 1e-4);
    predictions += tokens;
    sum += nll * static_cast<double>(tokens);
  }
  ASSERT_TRUE(lines >> document >> all >> total >> kl >> changed >> keys >> values >> index >> bytes);
  EXPECT_EQ(document, "total");
  EXPECT_EQ(all, predictions);
  EXPECT_NEAR(total, sum / static_cast<double>(all), 1e-4);
  EXPECT_FALSE(lines >> document) << "more after the total: " << document;
}

TEST_F(RealGenerate, JoinsStoriesForAnIndexAndSaysWhatItKeeps) {
  const Result result = run("--model " + model_path().string() + " --perplexity " + text_path().string() +
                            " --estimator 'topk(fraction(0.1),by=sketch1)' --context 1024 --from 512 --segment 64");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("KV head: keys 32, values 32, 1-bit sketch 3.38\n"), std::string::npos)
      << result.err;
  std::istringstream lines(result.out.substr(result.out.find('\n') + 1));
  std::string document;
  std::size_t tokens = 0;
  double nll = 0, kl = 0, changed = 0, keys = 0, values = 0, index = 0, bytes = 0;
  for (const std::size_t expected : {512u, 273u, 785u}) {  // 1809 tokens in all
    ASSERT_TRUE(lines >> document >> tokens >> nll >> kl >> changed >> keys >> values >> index >> bytes);
    EXPECT_EQ(tokens, expected);
    EXPECT_LT(keys, 0.2);
    EXPECT_NEAR(values, 0.1, 0.002);
    EXPECT_GT(index, 0.03);
    EXPECT_LT(index, 3.25 / 64);
    EXPECT_NEAR(bytes, (keys + values) / 2 + index, 2e-4);
  }
}

TEST_F(RealGenerate, WritesTheSameTextTwiceWithoutReadingThePromptAgain) {
  const std::string call = "--model " + model_path().string() +
                           " --prompt 'Once upon a time' --texts 2 --tokens 300 --temperature 0 --estimator ";
  const Result result = run(call + "'topk(32,by=sketch8,exact)'");
  EXPECT_EQ(result.code, 0) << result.err;
  const std::size_t half = result.out.size() / 2;
  EXPECT_GT(half, 500u);
  EXPECT_EQ(result.out.substr(0, half), result.out.substr(half));
  EXPECT_EQ(result.out, run(call + "'topk(32)'").out);
}

}  // namespace
}  // namespace engine

#endif  // SKIM_GENERATE_PROGRAM
