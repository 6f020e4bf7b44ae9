#include "assay/model/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "assay/base/error.h"
#include "assay/model/sampler.h"

namespace assay {
namespace {

constexpr std::size_t kPrefillTokens = 1024;  // of one pass
constexpr std::int64_t kShortestSharedPrefix = 8;

/// A sample in flight.
struct Active {
  std::size_t prompt = 0;
  std::int64_t index = 0, row = 0;
  std::int64_t position = 0;  ///< where the next token goes
  TokenId last = 0;           ///< the token to be fed next
  Sample sample;
};

void check(const LanguageModel& model, const std::vector<PromptRequest>& prompts, const SamplingOptions& options) {
  const ModelConfig& c = model.transformer.config;
  if (options.max_new < 1) throw Error("generate", "max_new is " + std::to_string(options.max_new) + ", must be 1 or more");
  if (options.max_rows < 1) throw Error("generate", "max_rows is " + std::to_string(options.max_rows) + ", must be 1 or more");
  if (!(options.temperature >= 0)) throw Error("generate", "temperature must be 0 or more");
  if (!(options.top_p > 0 && options.top_p <= 1)) throw Error("generate", "top_p must lie in (0, 1]");
  if (!(options.min_p >= 0 && options.min_p < 1)) throw Error("generate", "min_p must lie in [0, 1)");
  if (options.top_k < 0) throw Error("generate", "top_k must be 0 or more");
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto n = static_cast<std::int64_t>(prompts[p].ids.size());
    if (n == 0) throw Error("generate", "prompt " + std::to_string(p) + " has no tokens", "a raw prompt needs at least one token, such as the end-of-text token");
    if (n >= c.n_ctx) throw Error("generate", "prompt " + std::to_string(p) + " has " + std::to_string(n) + " tokens; the context of " + std::to_string(c.n_ctx) + " leaves no room for an answer", "shorten the prompt");
    if (prompts[p].n < 0) throw Error("generate", "prompt " + std::to_string(p) + " asks for a negative number of samples");
    for (const TokenId id : prompts[p].ids)
      if (id < 0 || id >= c.d_vocab) throw Error("generate", "prompt " + std::to_string(p) + " holds token id " + std::to_string(id) + ", outside the vocabulary of " + std::to_string(c.d_vocab));
  }
}

/// Tokens that all prompts begin with, less one at least of each.
std::int64_t shared_prefix(const std::vector<PromptRequest>& prompts) {
  if (prompts.size() < 2) return 0;
  std::size_t shared = prompts[0].ids.size() - 1;
  for (const PromptRequest& p : prompts) {
    shared = std::min(shared, p.ids.size() - 1);
    for (std::size_t i = 0; i < shared; ++i)
      if (p.ids[i] != prompts[0].ids[i]) shared = i;
  }
  return static_cast<std::int64_t>(shared) >= kShortestSharedPrefix ? static_cast<std::int64_t>(shared) : 0;
}

class Generation {
 public:
  Generation(const LanguageModel& model, Decoder& decoder, const std::vector<PromptRequest>& prompts, const SamplingOptions& options, Progress& progress,
             const std::function<void(const Sample&)>& on_sample)
      : model_(model), decoder_(decoder), prompts_(prompts), options_(options), progress_(progress), on_sample_(on_sample), stop_ids_(model.stop_ids()), rng_(Rng(options.seed).fork("samples")),
        sampler_({options.temperature, options.top_k, options.top_p, options.min_p}) {
    std::int64_t longest = 0;
    for (const PromptRequest& p : prompts) {
      first_.push_back(total_);
      total_ += p.n;
      if (p.n > 0) longest = std::max(longest, static_cast<std::int64_t>(p.ids.size()));
    }
    rows_ = std::min(options.max_rows, std::max<std::int64_t>(total_, 1));
    // Two further rows: the prefix that all prompts share, and the prompt some of whose samples still wait.
    cache_.emplace(model.transformer.config, rows_ + 2, std::min(model.transformer.config.n_ctx, longest + options.max_new));
    for (std::int64_t r = rows_ - 1; r >= 0; --r) free_.push_back(r);
    results_.resize(static_cast<std::size_t>(total_));
  }

  std::vector<Sample> run() {
    progress_.begin("sampling", total_, "samples");
    shared_ = shared_prefix(prompts_);
    if (shared_ > 0) {
      std::vector<DecodeToken> tokens;
      for (std::int64_t i = 0; i < shared_; ++i) tokens.push_back({prompts_[0].ids[static_cast<std::size_t>(i)], static_cast<std::int32_t>(rows_), static_cast<std::int32_t>(i)});
      decoder_.run(tokens, {}, *cache_);
    }
    const double start = wall_seconds();
    while (true) {
      admit();
      if (active_.empty()) break;
      step();
      if (progress_.stop_requested()) throw Interrupted("generate");
      progress_.update(done_, fmt::format("{:.0f} tokens/s", static_cast<double>(tokens_) / std::max(1e-9, wall_seconds() - start)));
    }
    progress_.end();
    return std::move(results_);
  }

 private:
  [[nodiscard]] std::int64_t home_row() const { return rows_ + 1; }

  /// Fills free rows with waiting samples: their prompts are run together, samples of one prompt share its run.
  void admit() {
    while (!free_.empty() && next_prompt_ < prompts_.size()) {
      std::vector<DecodeToken> tokens;
      std::vector<std::int64_t> wanted;          // last token of each prompt that is run
      std::vector<std::vector<Active>> started;  // and the samples that begin with it
      while (!free_.empty() && next_prompt_ < prompts_.size() && tokens.size() < kPrefillTokens) {
        const PromptRequest& prompt = prompts_[next_prompt_];
        if (next_index_ >= prompt.n) {
          ++next_prompt_;
          next_index_ = 0;
          continue;
        }
        const auto length = static_cast<std::int64_t>(prompt.ids.size());
        std::vector<Active> samples;
        while (!free_.empty() && next_index_ < prompt.n) {
          Active a;
          a.prompt = next_prompt_;
          a.index = next_index_++;
          a.row = free_.back();
          a.position = length;
          a.sample.prompt = static_cast<std::int64_t>(a.prompt);
          a.sample.index = a.index;
          a.sample.stream = prompt.stream + static_cast<std::uint64_t>(a.index);
          free_.pop_back();
          samples.push_back(std::move(a));
        }
        if (home_prompt_ == next_prompt_) {  // its prompt was run before
          for (Active& a : samples) {
            cache_->copy_prefix(home_row(), a.row, length);
            accept(a, home_logits_);
          }
          continue;
        }
        const std::int64_t row = samples.front().row;
        if (shared_ > 0) cache_->copy_prefix(rows_, row, shared_);
        for (std::int64_t i = shared_; i < length; ++i) tokens.push_back({prompt.ids[static_cast<std::size_t>(i)], static_cast<std::int32_t>(row), static_cast<std::int32_t>(i)});
        wanted.push_back(static_cast<std::int64_t>(tokens.size()) - 1);
        started.push_back(std::move(samples));
      }
      if (tokens.empty()) continue;
      const auto n = static_cast<std::int64_t>(wanted.size());
      const auto hidden = decoder_.run(tokens, wanted, *cache_);
      const auto logits = decoder_.logits(hidden, n);
      const std::size_t vocabulary = logits.size() / static_cast<std::size_t>(n);
      for (std::size_t p = 0; p < started.size(); ++p) {
        const auto row = logits.subspan(p * vocabulary, vocabulary);
        const PromptRequest& prompt = prompts_[started[p].front().prompt];
        const auto length = static_cast<std::int64_t>(prompt.ids.size());
        if (started[p].front().prompt == next_prompt_ && next_index_ < prompt.n) {  // more of its samples wait
          home_prompt_ = next_prompt_;
          home_logits_.assign(row.begin(), row.end());
          cache_->copy_prefix(started[p].front().row, home_row(), length);
        }
        for (Active& a : started[p]) {
          if (a.row != started[p].front().row) cache_->copy_prefix(started[p].front().row, a.row, length);
        }
        for (Active& a : started[p]) accept(a, row);
      }
    }
  }

  /// One token for every row in flight.
  void step() {
    std::vector<DecodeToken> tokens;
    for (const Active& a : active_) tokens.push_back({a.last, static_cast<std::int32_t>(a.row), static_cast<std::int32_t>(a.position)});
    std::vector<std::int64_t> wanted(tokens.size());
    std::iota(wanted.begin(), wanted.end(), 0);
    const auto n = static_cast<std::int64_t>(tokens.size());
    const auto hidden = decoder_.run(tokens, wanted, *cache_);
    const auto logits = decoder_.logits(hidden, n);
    const std::size_t vocabulary = logits.size() / tokens.size();
    std::vector<Active> before = std::move(active_);
    active_.clear();
    for (std::size_t i = 0; i < before.size(); ++i) {
      ++before[i].position;
      accept(before[i], logits.subspan(i * vocabulary, vocabulary));
    }
  }

  /// Draws the next token of a sample; it stays in flight or is finished.
  void accept(Active& a, std::span<const float> logits) {
    const auto made = a.sample.ids.size();
    Rng rng = rng_.fork(a.sample.stream).fork(made);
    const Draw draw = sampler_.draw(logits, rng);
    ++tokens_;
    a.sample.logprobs.push_back(draw.logprob);
    if (options_.stop_at_eos && std::find(stop_ids_.begin(), stop_ids_.end(), draw.id) != stop_ids_.end()) return finish(a, Finish::stop);
    a.sample.ids.push_back(draw.id);
    if (!options_.stop.empty()) {
      const std::string text = model_.tokenizer.decode(a.sample.ids, /*skip_special=*/true);
      std::size_t cut = std::string::npos;
      for (const std::string& stop : options_.stop)
        if (!stop.empty()) cut = std::min(cut, text.find(stop));
      if (cut != std::string::npos) {
        a.sample.text = text.substr(0, cut);
        return finish(a, Finish::stop, /*has_text=*/true);
      }
    }
    if (static_cast<std::int64_t>(a.sample.ids.size()) >= options_.max_new || a.position >= cache_->n_ctx()) return finish(a, Finish::length);
    a.last = draw.id;
    active_.push_back(std::move(a));
  }

  void finish(Active& a, Finish how, bool has_text = false) {
    a.sample.finish = how;
    if (!has_text) a.sample.text = model_.tokenizer.decode(a.sample.ids, /*skip_special=*/true);
    free_.push_back(a.row);
    ++done_;
    if (on_sample_) on_sample_(a.sample);
    results_[static_cast<std::size_t>(first_[a.prompt] + a.index)] = std::move(a.sample);
  }

  const LanguageModel& model_;
  Decoder& decoder_;
  const std::vector<PromptRequest>& prompts_;
  const SamplingOptions& options_;
  Progress& progress_;
  const std::function<void(const Sample&)>& on_sample_;
  std::vector<TokenId> stop_ids_;
  Rng rng_;
  Sampler sampler_;

  std::int64_t total_ = 0, rows_ = 0, shared_ = 0, done_ = 0, tokens_ = 0;
  std::vector<std::int64_t> first_, free_;
  std::optional<KvCache> cache_;
  std::vector<Active> active_;
  std::size_t next_prompt_ = 0, home_prompt_ = static_cast<std::size_t>(-1);
  std::int64_t next_index_ = 0;
  std::vector<float> home_logits_;
  std::vector<Sample> results_;
};

}  // namespace

std::vector<Sample> generate(const LanguageModel& model, Decoder& decoder, const std::vector<PromptRequest>& prompts, const SamplingOptions& options, Progress& progress,
                             const std::function<void(const Sample&)>& on_sample) {
  check(model, prompts, options);
  return Generation(model, decoder, prompts, options, progress, on_sample).run();
}

std::vector<Sample> generate(const LanguageModel& model, const std::vector<PromptRequest>& prompts, const SamplingOptions& options, Progress& progress,
                             const std::function<void(const Sample&)>& on_sample) {
  Decoder decoder(model.transformer, options.precision);
  return generate(model, decoder, prompts, options, progress, on_sample);
}

}  // namespace assay
