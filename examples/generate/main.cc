// SPDX-License-Identifier: Apache-2.0
// Runs a Llama model from a GGUF file with any of skim's methods of attention: writes text, or
// measures how much worse than with exact attention the model predicts a text.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "error.h"
#include "model.h"
#include "perplexity.h"
#include "progress.h"
#include "sample.h"
#include "skim_attention.h"

namespace engine {
namespace {

struct Arguments {
  std::string model;
  std::string prompt;
  std::string perplexity;  // a file
  std::size_t tokens = 512;
  float temperature = 0;
  std::string kv = "f32";
  AttentionOptions attention;
};

const std::map<std::string, CacheType> kCacheTypes{{"f32", CacheType::kF32},
                                                   {"f16", CacheType::kF16},
                                                   {"bf16", CacheType::kBF16},
                                                   {"int8", CacheType::kInt8}};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void report_speed(std::size_t tokens, double seconds) {
  std::fprintf(stderr, "%zu tokens in %.2f s, %.0f tokens/s\n", tokens, seconds,
               static_cast<double>(tokens) / seconds);
}

/// Writes what follows the prompt to stdout, token by token, until the model ends it.
void generate(const Model& model, const Arguments& arguments) {
  const auto attention = make_attention(model.llama.shape(), arguments.attention);
  const std::vector<Token> prompt = model.tokenizer.encode(arguments.prompt);
  std::mt19937_64 random(arguments.attention.seed);
  const auto start = std::chrono::steady_clock::now();

  std::size_t position = 0;
  Progress progress("reading the prompt, token", prompt.size());
  for (; position + 1 < prompt.size(); ++position) {
    model.llama.decode(prompt[position], position, *attention);
    progress.at(position);
  }
  progress.clear();

  Token last = prompt.back();
  for (std::size_t i = 0; i < arguments.tokens; ++i, ++position) {
    const Vector logits = model.llama.decode(last, position, *attention);
    const Token next = sample(logits, arguments.temperature, random);
    if (model.tokenizer.is_end(next)) break;
    const std::string text = model.tokenizer.decode(last, next);
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
    last = next;
  }
  std::fputc('\n', stdout);

  report_speed(position, seconds_since(start));
  if (position > model.llama.shape().context) {
    std::fprintf(stderr, "note: the model was trained on texts of up to %zu tokens\n",
                 model.llama.shape().context);
  }
  const Density density = attention->density();
  std::fprintf(stderr, "distinct positions read by a KV head: %.4f of its keys, %.4f of its values\n",
               density.keys(), density.values());
}

void print_scores(const std::string& name, const Score& score, const Density& density) {
  std::printf("%8s %9zu %9.5f %9.5f %9.4f %9.4f %9.4f\n", name.c_str(), score.predictions, score.nll(),
              score.kl(), score.changed_share(), density.keys(), density.values());
  std::fflush(stdout);
}

/// Prints one line for each document of a file and one for all of them.
void measure(const Model& model, const Arguments& arguments) {
  std::ifstream in(arguments.perplexity, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto documents = split_documents(text);
  if (documents.empty()) fail("no text in ", arguments.perplexity);
  make_attention(model.llama.shape(), arguments.attention);  // a bad estimator is no half a table

  std::printf("%8s %9s %9s %9s %9s %9s %9s\n", "document", "tokens", "nll", "kl", "changed", "keys",
              "values");
  Score total_score;
  Density total_density;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < documents.size(); ++i) {
    AttentionOptions options = arguments.attention;
    options.sequence = i;
    const auto tested = make_attention(model.llama.shape(), options);
    const auto exact = make_attention(model.llama.shape(), {});  // dense, on a cache of f32
    const std::vector<Token> tokens = model.tokenizer.encode(documents[i]);

    Progress progress("document " + std::to_string(i) + ", token", tokens.size());
    const Score scored = score(model.llama, tokens, *tested, *exact,
                               [&progress](std::size_t done) { progress.at(done); });
    progress.clear();
    print_scores(std::to_string(i), scored, tested->density());
    total_score += scored;
    total_density += tested->density();
  }
  print_scores("total", total_score, total_density);
  report_speed(2 * total_score.predictions, seconds_since(start));
}

void add_options(CLI::App& app, Arguments& arguments) {
  app.add_option("--model", arguments.model, "GGUF file of a Llama model")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--prompt", arguments.prompt, "Text to continue");
  app.add_option("--estimator", arguments.attention.estimator,
                 "Which positions attention reads, such as sinks(4)+window(64)+topk(power(2,0.5))")
      ->capture_default_str();
  app.add_option("--tokens", arguments.tokens, "Most tokens to write")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--temperature", arguments.temperature, "0: always the likeliest token")
      ->capture_default_str();
  app.add_option("--seed", arguments.attention.seed, "Of the text and of estimators that draw")
      ->capture_default_str();
  app.add_option("--kv", arguments.kv, "What keys and values are stored as")
      ->check(CLI::IsMember(kCacheTypes))
      ->capture_default_str();
  app.add_option("--perplexity", arguments.perplexity,
                 "File with documents between <|endoftext|>: instead of writing, print for each\n"
                 "  nll      mean negative log likelihood of its tokens\n"
                 "  kl       mean divergence of the predictions from those of exact attention\n"
                 "  changed  share of predictions whose likeliest token is another than with it\n"
                 "  keys     mean share of the keys a KV head held that were read\n"
                 "  values   the same of the values")
      ->check(CLI::ExistingFile)
      ->excludes("--prompt", "--tokens", "--temperature");
}

}  // namespace
}  // namespace engine

int main(int argc, char** argv) {
  engine::Arguments arguments;
  CLI::App app{"Runs a Llama model with any of skim's methods of attention."};
  engine::add_options(app, arguments);
  CLI11_PARSE(app, argc, argv);
  try {
    if (!(arguments.temperature >= 0)) engine::fail("--temperature must be 0 or more");
    arguments.attention.cache = engine::kCacheTypes.at(arguments.kv);
    const auto model = engine::Model::load(arguments.model);
    if (arguments.perplexity.empty()) {
      engine::generate(model, arguments);
    } else {
      engine::measure(model, arguments);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "generate: %s\n", error.what());
    return 1;
  }
}
