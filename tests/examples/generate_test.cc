// SPDX-License-Identifier: Apache-2.0
// The program as its user sees it: what stands on stdout, on stderr, and the exit code.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
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

Result run(const std::string& arguments) {
  const Folder folder;
  const std::string command = std::string(SKIM_GENERATE_PROGRAM) + " " + arguments + " >" +
                              folder.path("out").string() + " 2>" + folder.path("err").string();
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(folder.path("out")),
          read_text(folder.path("err"))};
}

std::string tiny_model_text() {
  const Bytes bytes = tiny_model().bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

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
  EXPECT_NE(result.err.find("KV head: keys 32, values 32, 1-bit sketch 3.25\n"), std::string::npos)
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
