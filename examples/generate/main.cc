// SPDX-License-Identifier: Apache-2.0
// Runs a Llama model from a GGUF file with any of skim's methods of attention: writes text, or
// measures how much worse than with exact attention the model predicts a text.
#include <algorithm>
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
#include "streams/streams.h"

namespace engine {
namespace {

struct Arguments {
  std::string model;
  std::string prompt;
  std::string perplexity;  // a file
  std::size_t tokens = 512;
  std::size_t texts = 1;
  std::size_t context = 0;  // 0: documents stay what they are
  std::size_t from = 1;
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

/// "bytes a token and KV head: keys 32, values 32, 1-bit sketch 3.06"
void print_memory(FILE* out, const SparseAttention& attention) {
  const char* before = "bytes a token and KV head: ";
  for (const Memory& memory : attention.memory()) {
    std::fprintf(out, "%s%s %.3g", before, memory.what.c_str(), memory.bytes);
    before = ", ";
  }
  std::fputc('\n', out);
}

/// Writes what follows the prompt to stdout, token by token, until the model ends it. The prompt is read once for all
/// texts.
void generate(const Model& model, const Arguments& arguments) {
  const auto attention = make_attention(model.llama.shape(), arguments.attention);
  const std::vector<Token> prompt = model.tokenizer.encode_beginning(arguments.prompt);
  if (prompt.empty()) fail("--prompt is empty, and texts of this model have no BOS to begin with");
  std::mt19937_64 random(arguments.attention.seed);
  const auto start = std::chrono::steady_clock::now();

  std::size_t position = 0;
  Progress progress("reading the prompt, token", prompt.size());
  for (; position + 1 < prompt.size(); ++position) {
    model.llama.decode(prompt[position], position, *attention);
    progress.at(position);
  }
  progress.clear();

  const std::size_t after_prompt = position;
  std::size_t decoded = position, longest = 0;
  for (std::size_t text = 0; text < arguments.texts; ++text) {
    attention->truncate(position = after_prompt);
    Token last = prompt.back();
    for (std::size_t i = 0; i < arguments.tokens; ++i, ++position, ++decoded) {
      const Vector logits = model.llama.decode(last, position, *attention);
      const Token next = sample(logits, arguments.temperature, random);
      if (model.tokenizer.is_end(next)) break;
      const std::string piece = model.tokenizer.decode(last, next);
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      streams::require_written();
      last = next;
    }
    std::fputc('\n', stdout);
    longest = std::max(longest, position);
  }

  report_speed(decoded, seconds_since(start));
  if (longest > model.llama.shape().context) {
    std::fprintf(stderr, "note: the model was trained on texts of up to %zu tokens\n",
                 model.llama.shape().context);
  }
  const Density density = attention->density();
  std::fprintf(stderr,
               "read by a KV head: %.4f of its keys, %.4f of its values,\n"
               "with indexes %.4f of the bytes of keys and values\n",
               density.keys(), density.values(), density.bytes());
  print_memory(stderr, *attention);
}

void print_scores(const std::string& name, const Score& score, const Density& density) {
  std::printf("%8s %9zu %9.5f %9.5f %9.4f %9.4f %9.4f %9.4f %9.4f\n", name.c_str(), score.predictions,
              score.nll(), score.kl(), score.changed_share(), density.keys(), density.values(),
              density.index(), density.bytes());
  streams::require_written();
}

/// The texts of the file of which something is scored.
std::vector<std::vector<Token>> read_texts(const Model& model, const Arguments& arguments) {
  std::ifstream in(arguments.perplexity, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (split_documents(text).empty()) fail("no text in ", arguments.perplexity);
  auto texts = tokenized(model.tokenizer, text, arguments.context);
  std::erase_if(texts, [&](const auto& tokens) { return tokens.size() <= arguments.from; });
  if (texts.empty()) fail("no text of more than ", arguments.from, " tokens in ", arguments.perplexity);
  return texts;
}

/// Prints one line for each document of a file and one for all of them.
void measure(const Model& model, const Arguments& arguments) {
  const auto texts = read_texts(model, arguments);
  make_attention(model.llama.shape(), arguments.attention);  // a bad estimator is no half a table

  std::printf("%8s %9s %9s %9s %9s %9s %9s %9s %9s\n", "document", "tokens", "nll", "kl", "changed", "keys",
              "values", "index", "bytes");
  Score total_score;
  Density total_density;
  std::size_t read = 0;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    AttentionOptions options = arguments.attention;
    options.sequence = i;
    const auto tested = make_attention(model.llama.shape(), options);
    const auto exact = make_attention(model.llama.shape(), {});  // dense, on a cache of f32
    const std::vector<Token>& tokens = texts[i];
    read += tokens.size() - 1;

    Progress progress("document " + std::to_string(i) + ", token", tokens.size());
    Density before;  // of what is not scored
    const auto hear = [&](std::size_t done) {
      progress.at(done);
      if (done + 1 == arguments.from) before = tested->density();
    };
    Score scored;
    try {
      scored = score(model.llama, tokens, *tested, *exact, hear, arguments.from);
    } catch (const std::exception& error) {
      fail("document ", i, ": ", error.what());
    }
    progress.clear();
    if (i == 0) print_memory(stderr, *tested);
    Density density = tested->density();
    density -= before;
    print_scores(std::to_string(i), scored, density);
    total_score += scored;
    total_density += density;
  }
  print_scores("total", total_score, total_density);
  report_speed(2 * read, seconds_since(start));
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
  app.add_option("--texts", arguments.texts, "So many texts from the same prompt")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--temperature", arguments.temperature, "0: always the likeliest token")
      ->capture_default_str();
  app.add_option("--seed", arguments.attention.seed, "Of the text and of estimators that draw")
      ->capture_default_str();
  app.add_option("--kv", arguments.kv, "What keys and values are stored as")
      ->check(CLI::IsMember(kCacheTypes))
      ->capture_default_str();
  app.add_option("--segment", arguments.attention.segment,
                 "Tokens that a sketch takes in at a time, a multiple of 64: the newest are scored exactly;\n"
                 "a page of means is a quarter of it")
      ->capture_default_str();
  app.add_option("--perplexity", arguments.perplexity,
                 "File with documents between <|endoftext|>: instead of writing, print for each\n"
                 "  nll      mean negative log likelihood of its tokens\n"
                 "  kl       mean divergence of the predictions from those of exact attention\n"
                 "  changed  share of predictions whose likeliest token is another than with it\n"
                 "  keys     mean share of the keys a KV head held that were read, to choose or to attend\n"
                 "  values   the same of the values\n"
                 "  index    bytes of indexes read, a share of those of the keys and values held\n"
                 "  bytes    all that was read, in the same measure")
      ->check(CLI::ExistingFile)
      ->excludes("--prompt", "--tokens", "--texts", "--temperature");
  app.add_option("--context", arguments.context,
                 "With --perplexity: join the documents and cut them in texts of so many tokens; 0: no")
      ->needs("--perplexity")
      ->capture_default_str();
  app.add_option("--from", arguments.from,
                 "With --perplexity: score, and count what is read, behind the first so many tokens")
      ->needs("--perplexity")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
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
