// SPDX-License-Identifier: Apache-2.0
// A run is the same bits on any number of threads, and when it was stopped and went on, however it was stopped.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "generate/gguf.h"
#include "model_file.h"
#include "support/scratch_folder.h"
#include "trainer.h"

namespace train {
namespace {

using skim::test::error_of;
using skim::test::read_file;
using skim::test::ScratchFolder;
using skim::test::write_file;

std::string some_text() {
  std::string text;
  while (text.size() < 3 * Corpus::kMinBytes)
    text += "In the beginning " + std::to_string(text.size() % 977) + " was the word. ";
  return text;
}

Recipe small_recipe(const std::string& estimator) {
  Recipe recipe;
  recipe.shape = {.layers = 2,
                  .width = 32,
                  .heads = 4,
                  .kv_heads = 2,
                  .head_size = 8,
                  .hidden = 48,
                  .vocabulary = 260,
                  .context = 160};
  recipe.estimator = estimator;
  recipe.tasks = "text:2,recall:1,needles:1";
  recipe.curriculum = {{128, 3}, {160, 4}};
  recipe.tokens = 1400;  // 10 texts, then 8: more than sums, and as many
  recipe.warmup = 2;
  return recipe;
}

std::vector<double> losses_of(Trainer& trainer) {
  std::vector<double> losses;
  while (!trainer.is_done()) losses.push_back(trainer.step().loss);
  return losses;
}

class Runs : public testing::TestWithParam<const char*> {};

TEST_P(Runs, AreTheSameFromEveryCheckpoint) {
  const Corpus corpus({some_text()});
  const Recipe recipe = small_recipe(GetParam());
  Trainer whole(recipe, corpus, 1);
  const std::vector<double> losses = losses_of(whole);
  ASSERT_EQ(losses.size(), 7u);
  EXPECT_LT(losses.back(), losses.front());

  const ScratchFolder folder;
  for (std::size_t stop = 0; stop <= losses.size(); ++stop) {
    Trainer first(recipe, corpus, 1);
    for (std::size_t i = 0; i < stop; ++i) EXPECT_EQ(first.step().loss, losses[i]);
    save(first.state(), folder.path() / "checkpoint");
    Trainer second(recipe, corpus, 1);
    second.resume(load_checkpoint(folder.path() / "checkpoint"));
    EXPECT_EQ(second.state().loss_sum, first.state().loss_sum);
    EXPECT_EQ(losses_of(second),
              std::vector<double>(losses.begin() + static_cast<std::ptrdiff_t>(stop), losses.end()));
    EXPECT_EQ(second.state().weights, whole.state().weights) << "stopped after " << stop;
    EXPECT_EQ(second.state().second_moments, whole.state().second_moments);
  }
}

TEST_P(Runs, AreTheSameOnAnyNumberOfThreads) {
  const Corpus corpus({some_text()});
  Trainer one(small_recipe(GetParam()), corpus, 1), three(small_recipe(GetParam()), corpus, 3);
  EXPECT_EQ(losses_of(one), losses_of(three));
  EXPECT_EQ(one.state().weights, three.state().weights);
}

INSTANTIATE_TEST_SUITE_P(Of, Runs,
                         testing::Values("dense", "topk(16)", "sinks(2)+window(8)+priority(8)"),
                         [](const auto& of) { return "Estimator" + std::to_string(of.index); });

TEST(Runs, DifferBySeed) {
  const Corpus corpus({some_text()});
  Recipe recipe = small_recipe("dense");
  Trainer a(recipe, corpus, 1);
  recipe.seed = 2;
  Trainer b(recipe, corpus, 1);
  EXPECT_NE(a.state().weights, b.state().weights);
  EXPECT_NE(a.step().loss, b.step().loss);
}

TEST(Runs, RefuseACheckpointOfAnotherText) {
  const Corpus corpus({some_text()}), other({some_text() + "x"});
  const Trainer one(small_recipe("dense"), corpus, 1);
  Trainer two(small_recipe("dense"), other, 1);
  EXPECT_NE(error_of([&] { two.resume(one.state()); }).find(" text="), std::string::npos);
}

TEST(Runs, RefuseACheckpointOfAnother) {
  const Corpus corpus({some_text()});
  const Trainer dense(small_recipe("dense"), corpus, 1);
  Trainer sparse(small_recipe("topk(16)"), corpus, 1);
  const auto before = sparse.state().weights;
  const std::string error = error_of([&] { sparse.resume(dense.state()); });
  EXPECT_NE(error.find("estimator=dense"), std::string::npos) << error;
  EXPECT_NE(error.find("estimator=topk(16)"), std::string::npos) << error;
  EXPECT_EQ(sparse.state().weights, before);
}

TEST(Runs, StopAtALossThatIsNoNumber) {
  const Corpus corpus({some_text()});
  Trainer trainer(small_recipe("dense"), corpus, 1);
  trainer.step();
  Checkpoint poisoned = trainer.state();
  poisoned.weights[0] = INFINITY;
  trainer.resume(poisoned);
  EXPECT_NE(error_of([&] { trainer.step(); }).find("step 2 has a loss of"), std::string::npos);
  EXPECT_EQ(trainer.state().weights, poisoned.weights);
  EXPECT_EQ(trainer.steps_done(), 1u);
}

TEST(Runs, RefuseShapesThatDoNotFit) {
  const Corpus corpus({some_text()});
  Recipe recipe = small_recipe("dense");
  recipe.shape.kv_heads = 3;
  EXPECT_EQ(error_of([&] { Trainer(recipe, corpus, 1); }), "train: 3 KV heads do not divide 4 heads");
  recipe = small_recipe("dense");
  recipe.shape.head_size = 7;
  EXPECT_EQ(error_of([&] { Trainer(recipe, corpus, 1); }),
            "train: a head of 7 values has no pairs to rotate");
}

/// The program itself, in a folder: 40 steps of a small model, and what is asked of it besides.
class Program {
 public:
  explicit Program(const std::filesystem::path& folder, std::vector<const char*> more = {})
      : folder_(folder), more_(std::move(more)) {
    write_file(folder / "text", some_text());
  }

  pid_t start() const {
    std::vector<const char*> command{"train",
                                     "--threads",
                                     "1",
                                     "run",
                                     "--text",
                                     "text",
                                     "--tasks",
                                     "text",
                                     "--layers",
                                     "1",
                                     "--width",
                                     "32",
                                     "--heads",
                                     "2",
                                     "--kv-heads",
                                     "1",
                                     "--head-size",
                                     "16",
                                     "--hidden",
                                     "32",
                                     "--tokens",
                                     "256",
                                     "--checkpoint",
                                     "checkpoint",
                                     "--checkpoint-every",
                                     "2",
                                     "--report-every",
                                     "3",
                                     "--curve",
                                     "curve.csv"};
    const auto add = [&](const char* option, const char* value) {
      if (std::find_if(more_.begin(), more_.end(),
                       [&](const char* m) { return std::string(m) == option; }) != more_.end())
        return;
      command.insert(command.end(), {option, value});
    };
    add("--curriculum", "128:40");
    add("--warmup", "5");
    add("--out", "model.gguf");
    command.insert(command.end(), more_.begin(), more_.end());
    command.push_back(nullptr);
    const pid_t child = fork();
    if (child != 0) return child;
    if (chdir(folder_.c_str()) != 0 || freopen("log", "w", stderr) == nullptr) _exit(126);
    execv(SKIM_TRAIN_PROGRAM, const_cast<char* const*>(command.data()));
    _exit(127);
  }

  /// Its exit status, or the number of the signal that ended it, below 0.
  int run() const { return status(start()); }

  static int status(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

  std::string log() const { return read_file(folder_ / "log"); }
  std::string curve() const { return read_file(folder_ / "curve.csv"); }

 private:
  std::filesystem::path folder_;
  std::vector<const char*> more_;
};

/// Waits until a run has logged `lines` lines of its curve, or has ended: until then nothing depends on how fast it is.
/// Whether it still runs.
bool waited(const Program& program, pid_t child, std::size_t lines) {
  for (;;) {
    siginfo_t info{};
    if (waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == child)
      return false;
    const std::string curve = program.curve();
    if (static_cast<std::size_t>(std::count(curve.begin(), curve.end(), '\n')) > lines) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(Program, LeavesTheSameFilesHoweverOftenItIsKilled) {
  const ScratchFolder whole, killed;
  ASSERT_EQ(Program(whole.path()).run(), 0) << Program(whole.path()).log();

  const Program program(killed.path());
  std::size_t kills = 0;
  for (std::size_t lines = 1;; lines += 2) {
    const pid_t child = program.start();
    if (waited(program, child, lines)) kill(child, SIGKILL);
    const int status = Program::status(child);
    if (status == 0) break;
    ASSERT_EQ(status, -SIGKILL) << program.log();
    ++kills;
  }
  EXPECT_GT(kills, 1u);
  for (const char* file : {"model.gguf", "curve.csv", "checkpoint"}) {
    EXPECT_EQ(read_file(whole.path() / file), read_file(killed.path() / file)) << file;
  }
}

TEST(Program, StopsWhenAskedAndGoesOn) {
  const ScratchFolder whole, stopped;
  ASSERT_EQ(Program(whole.path()).run(), 0);
  const Program program(stopped.path());
  const pid_t child = program.start();
  ASSERT_TRUE(waited(program, child, 2));
  kill(child, SIGTERM);
  EXPECT_EQ(Program::status(child), 0) << "it saves a checkpoint and ends";
  EXPECT_NE(program.log().find("stopped after step"), std::string::npos) << program.log();
  EXPECT_EQ(program.run(), 0);
  for (const char* file : {"model.gguf", "curve.csv"}) {
    EXPECT_EQ(read_file(whole.path() / file), read_file(stopped.path() / file)) << file;
  }
}

TEST(Program, StopsAfterAStepAsOftenAsItIsCalled) {
  const ScratchFolder folder;
  const Program program(folder.path(), {"--stop-after", "7"});
  EXPECT_EQ(program.run(), 0);
  const std::string checkpoint = read_file(folder.path() / "checkpoint");
  EXPECT_EQ(load_checkpoint(folder.path() / "checkpoint").step, 7u);
  EXPECT_EQ(program.run(), 0);
  EXPECT_EQ(read_file(folder.path() / "checkpoint"), checkpoint);
}

TEST(Program, RefusesATruncatedCheckpointAndKeepsThePrevious) {
  const ScratchFolder folder;
  const Program program(folder.path());
  ASSERT_EQ(program.run(), 0);
  const auto path = folder.path() / "checkpoint";
  const std::string whole = read_file(path), previous = read_file(previous_of(path));
  EXPECT_NE(previous, whole);
  write_file(path, whole.substr(0, whole.size() / 2));
  EXPECT_EQ(program.run(), 1);
  EXPECT_NE(program.log().find("needed but"), std::string::npos) << program.log();
  EXPECT_NE(program.log().find("checkpoint.previous"), std::string::npos) << program.log();
  EXPECT_EQ(read_file(path), whole.substr(0, whole.size() / 2)) << "nothing was written over it";
  EXPECT_EQ(read_file(previous_of(path)), previous);

  std::filesystem::rename(previous_of(path), path);  // what the message says
  EXPECT_EQ(program.run(), 0);
  EXPECT_EQ(read_file(path), whole);
}

TEST(Program, GoesOnFromAModel) {
  const ScratchFolder folder;
  ASSERT_EQ(Program(folder.path()).run(), 0);
  std::filesystem::remove(folder.path() / "checkpoint");
  // At a rate of next to nothing the model stays what it was, but for the rounding of its file.
  const Program program(folder.path(),
                        {"--from", "model.gguf", "--out", "second.gguf", "--rate", "1e-30"});
  ASSERT_EQ(program.run(), 0) << program.log();
  EXPECT_NE(program.log().find(" from="), std::string::npos);
  const engine::Gguf first = engine::Gguf::read(folder.path() / "model.gguf");
  const engine::Gguf second = engine::Gguf::read(folder.path() / "second.gguf");
  const engine::Shape shape = engine::Llama(first).shape();
  EXPECT_EQ(load_weights(first, shape), load_weights(second, shape));
}

TEST(Program, RefusesWhatItWouldFindWrongOnlyInTheEnd) {
  const ScratchFolder folder;
  const auto error_with = [&](const std::vector<const char*>& more) {
    const Program program(folder.path(), more);
    EXPECT_EQ(program.run(), 1);
    return program.log();
  };
  EXPECT_NE(error_with({"--out", "no/such/model.gguf"}).find("no/such/model.gguf"), std::string::npos);
  EXPECT_NE(error_with({"--curriculum", "128:10,100:1"}).find("a context of 100 is shorter"),
            std::string::npos);
  EXPECT_NE(error_with({"--curriculum", "128:10,65536:1"}).find("a context of 65536 is longer"),
            std::string::npos);
  EXPECT_NE(
      error_with({"--warmup", "40"}).find("a warm-up of 40 steps is not shorter than the run, 40"),
      std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "checkpoint"));
}

}  // namespace
}  // namespace train
