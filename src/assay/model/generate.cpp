#include "assay/model/generate.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "assay/base/error.h"
#include "assay/model/sampler.h"

namespace assay {
namespace {

constexpr std::size_t kPassTokens = 1024;  // of prompts in one pass; a longer prompt goes alone
constexpr std::size_t kShortestSharedPrefix = 8;

void check(const ModelConfig& c, const std::vector<PromptRequest>& prompts, const SamplingOptions& options) {
  if (options.max_new < 1) throw Error("generate", fmt::format("max_new is {}, must be 1 or more", options.max_new));
  if (options.max_rows < 1) throw Error("generate", fmt::format("max_rows is {}, must be 1 or more", options.max_rows));
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    throw Error("generate", fmt::format("temperature is {}, must be 0 or more", options.temperature));
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) throw Error("generate", fmt::format("top_p is {}, must lie in (0, 1]", options.top_p));
  if (!(options.min_p >= 0 && options.min_p < 1)) throw Error("generate", fmt::format("min_p is {}, must lie in [0, 1)", options.min_p));
  if (options.top_k < 0) throw Error("generate", fmt::format("top_k is {}, must be 0 (all) or more", options.top_k));
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const auto n = static_cast<std::int64_t>(prompts[p].ids.size());
    if (n == 0)
      throw Error("generate", fmt::format("prompt {} has no tokens", p),
                  "a raw prompt needs one token at least, such as the end-of-text token");
    if (n >= c.n_ctx) {
      throw Error("generate", fmt::format("prompt {} has {} tokens and the model's context is {}: no room for an answer", p, n, c.n_ctx),
                  "shorten the prompt");
    }
    if (prompts[p].n < 0) throw Error("generate", fmt::format("prompt {} asks for {} samples", p, prompts[p].n));
    for (const TokenId id : prompts[p].ids) {
      if (id < 0 || id >= c.d_vocab)
        throw Error("generate", fmt::format("prompt {} holds token id {}, outside the vocabulary of {} tokens", p, id, c.d_vocab));
    }
  }
}

/// Tokens that all prompts begin with, less one at least of each.
std::int64_t shared_prefix(const std::vector<PromptRequest>& prompts) {
  if (prompts.size() < 2) return 0;
  std::size_t shared = prompts[0].ids.size() - 1;
  for (const PromptRequest& p : prompts) {
    const auto end = p.ids.begin() + static_cast<std::ptrdiff_t>(std::min(shared, p.ids.size() - 1));
    shared = static_cast<std::size_t>(std::mismatch(p.ids.begin(), end, prompts[0].ids.begin()).first - p.ids.begin());
  }
  return shared >= kShortestSharedPrefix ? static_cast<std::int64_t>(shared) : 0;
}

/// The text of a sample as its tokens arrive, and whether a stop text stands in it, wherever the tokens' boundaries are.
class StopTexts {
 public:
  StopTexts(const Tokenizer& tokenizer, const std::vector<std::string>& stops) : stream_(tokenizer), stops_(stops) {}
  bool push(TokenId id) { return look(stream_.push(id)); }
  bool finish() { return look(stream_.finish()); }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  /// Where several stop texts stand in the text, the earliest counts.
  bool look(const std::string& more) {
    const std::size_t before = text_.size();
    text_ += more;
    std::size_t cut = std::string::npos;
    for (const std::string& stop : stops_) {
      if (!stop.empty()) cut = std::min(cut, text_.find(stop, before - std::min(before, stop.size() - 1)));
    }
    if (cut == std::string::npos) return false;
    text_.resize(cut);
    return true;
  }

  TextStream stream_;
  const std::vector<std::string>& stops_;
  std::string text_;
};

/// A sample in flight.
struct Active {
  Sample sample;
  std::int32_t sequence = 0;
  std::int64_t position = 0;  // where the next token goes
  TokenId last = 0;           // drawn, not yet run
  std::optional<StopTexts> stops;
};

/// A prompt that has been run, or is in this pass; its samples fork its sequence.
struct PromptRun {
  std::size_t prompt = 0;
  std::int32_t sequence = 0;
  std::int64_t started = 0;   // samples of it
  std::vector<float> logits;  // after its last token; kept while samples wait
  std::int64_t wanted = -1;   // which of the pass' results its logits are; -1: `logits`
};

class Generation {
 public:
  Generation(Decoder& decoder, const Tokenizer* tokenizer, const std::vector<TokenId>& stop_ids, const std::vector<PromptRequest>& prompts,
             const SamplingOptions& options, Progress& progress, const std::function<void(const Sample&)>& on_sample)
      : decoder_(decoder),
        tokenizer_(tokenizer),
        known_ids_(tokenizer ? tokenizer->vocabulary_size() : 0),
        stop_ids_(stop_ids),
        prompts_(prompts),
        options_(options),
        progress_(progress),
        on_sample_(on_sample),
        rng_(Rng(options.seed).fork("samples")),
        cache_(decoder.new_cache()) {
    for (const PromptRequest& p : prompts) {
      first_.push_back(total_);
      total_ += p.n;
    }
    results_.resize(static_cast<std::size_t>(total_));
    samplers_.assign(static_cast<std::size_t>(std::max(1, at::get_num_threads())),
                     Sampler({options.temperature, options.top_k, options.top_p, options.min_p}));
  }

  std::vector<Sample> run() {
    progress_.begin("sampling", total_, "samples");
    const double start = wall_seconds();
    run_shared_prefix();
    while (done_ < total_) {
      if (progress_.stop_requested()) throw Interrupted("generate");
      step();
      progress_.update(done_, fmt::format("{:.0f} tokens/s", static_cast<double>(tokens_) / std::max(1e-9, wall_seconds() - start)));
    }
    progress_.end(fmt::format("{} tokens", tokens_));
    return std::move(results_);
  }

 private:
  void append(const std::vector<TokenId>& ids, std::int64_t begin, std::int32_t sequence, std::int64_t end) {
    for (auto i = begin; i < end; ++i) pass_.push_back({ids[static_cast<std::size_t>(i)], sequence, static_cast<std::int32_t>(i)});
  }

  void run_shared_prefix() {
    shared_ = shared_prefix(prompts_);
    if (shared_ == 0) return;
    prefix_ = cache_.open();
    append(prompts_[0].ids, 0, prefix_, shared_);
    decoder_.run(pass_, {}, cache_);
  }

  /// One pass: the last token of every sample in flight, and waiting prompts as far as rows are free.
  void step() {
    pass_.clear();
    wanted_.clear();
    for (const Active& a : active_) {
      wanted_.push_back(static_cast<std::int64_t>(pass_.size()));
      pass_.push_back({a.last, a.sequence, static_cast<std::int32_t>(a.position)});
    }
    std::vector<PromptRun> starting = admit();
    LogitRows logits;
    if (!pass_.empty()) logits = decoder_.logits(decoder_.run(pass_, wanted_, cache_), static_cast<std::int64_t>(wanted_.size()));

    std::vector<Active> rows = std::move(active_);
    active_.clear();
    logits_of_.clear();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      ++rows[i].position;
      logits_of_.push_back(logits[i]);
    }
    for (PromptRun& run : starting) {
      const auto row = run.wanted < 0 ? std::span<const float>(run.logits) : logits[static_cast<std::size_t>(run.wanted)];
      for (; run.started < prompts_[run.prompt].n && static_cast<std::int64_t>(rows.size()) < options_.max_rows; ++run.started) {
        rows.push_back(begin_sample(run));
        logits_of_.push_back(row);
      }
    }
    draws_.resize(rows.size());
    at::parallel_for(0, static_cast<std::int64_t>(rows.size()), 1 + 16384 / decoder_.config().d_vocab,
                     [&](std::int64_t begin, std::int64_t end) {
                       Sampler& sampler = samplers_[static_cast<std::size_t>(at::get_thread_num())];
                       for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
                         const Sample& sample = rows[i].sample;
                         draws_[i] = sampler.draw(logits_of_[i], rng_.fork(sample.stream).fork(sample.logprobs.size()));
                       }
                     });
    for (std::size_t i = 0; i < rows.size(); ++i) accept(std::move(rows[i]), draws_[i]);
    for (PromptRun& run : starting) {
      if (run.started == prompts_[run.prompt].n) {
        cache_.close(run.sequence);
        continue;
      }
      if (run.wanted >= 0) {
        const auto row = logits[static_cast<std::size_t>(run.wanted)];
        run.logits.assign(row.begin(), row.end());
        run.wanted = -1;
      }
      waiting_ = std::move(run);
    }
  }

  /// Prompts for the rows that are free; those that have not been run are added to the pass.
  std::vector<PromptRun> admit() {
    std::vector<PromptRun> starting;
    auto free = options_.max_rows - static_cast<std::int64_t>(active_.size());
    if (waiting_ && free > 0) {
      free -= prompts_[waiting_->prompt].n - waiting_->started;
      starting.push_back(std::move(*waiting_));
      waiting_.reset();
    }
    for (std::size_t tokens = 0; free > 0 && next_prompt_ < prompts_.size(); ++next_prompt_) {
      const PromptRequest& prompt = prompts_[next_prompt_];
      if (prompt.n == 0) continue;
      tokens += prompt.ids.size() - static_cast<std::size_t>(shared_);
      if (tokens > kPassTokens && tokens > prompt.ids.size()) break;
      PromptRun run{
          next_prompt_, shared_ > 0 ? cache_.fork(prefix_, shared_) : cache_.open(), 0, {}, static_cast<std::int64_t>(wanted_.size())};
      append(prompt.ids, shared_, run.sequence, static_cast<std::int64_t>(prompt.ids.size()));
      wanted_.push_back(static_cast<std::int64_t>(pass_.size()) - 1);
      free -= prompt.n;
      starting.push_back(std::move(run));
    }
    return starting;
  }

  Active begin_sample(const PromptRun& run) {
    const PromptRequest& prompt = prompts_[run.prompt];
    Active a;
    a.sample.prompt = static_cast<std::int64_t>(run.prompt);
    a.sample.index = run.started;
    a.sample.stream = prompt.stream + static_cast<std::uint64_t>(run.started);
    a.position = static_cast<std::int64_t>(prompt.ids.size());
    a.sequence = cache_.fork(run.sequence, a.position);
    if (!options_.stop.empty()) a.stops.emplace(*tokenizer_, options_.stop);
    return a;
  }

  /// The sample stays in flight with its new token, or is finished.
  void accept(Active a, const Draw& draw) {
    if (std::isnan(draw.logprob)) {
      throw Error("generate",
                  fmt::format("the logits after {} tokens of prompt {} are not finite", a.sample.logprobs.size(), a.sample.prompt),
                  "are the model's weights finite?");
    }
    ++tokens_;
    a.sample.logprobs.push_back(draw.logprob);
    if (options_.stop_at_eos && std::find(stop_ids_.begin(), stop_ids_.end(), draw.id) != stop_ids_.end()) return finish(a, Finish::stop);
    a.sample.ids.push_back(draw.id);
    if (options_.on_token) options_.on_token(a.sample.prompt, a.sample.index, draw.id);
    if (a.stops && draw.id < known_ids_ && a.stops->push(draw.id)) {
      a.sample.text = a.stops->text();
      a.stops.reset();
      return close(a, Finish::stop);
    }
    if (static_cast<std::int64_t>(a.sample.ids.size()) >= options_.max_new || a.position >= decoder_.config().n_ctx)
      return finish(a, Finish::length);
    a.last = draw.id;
    active_.push_back(std::move(a));
  }

  void finish(Active& a, Finish how) {
    if (a.stops && a.stops->finish()) {
      a.sample.text = a.stops->text();
      return close(a, Finish::stop);
    }
    if (tokenizer_) {
      std::vector<TokenId> known;  // a padded vocabulary has ids that are no token
      std::copy_if(a.sample.ids.begin(), a.sample.ids.end(), std::back_inserter(known), [&](TokenId id) { return id < known_ids_; });
      a.sample.text = tokenizer_->decode(known, /*skip_special=*/true);
    }
    close(a, how);
  }

  void close(Active& a, Finish how) {
    a.sample.finish = how;
    cache_.close(a.sequence);
    ++done_;
    if (on_sample_) on_sample_(a.sample);
    const auto place = first_[static_cast<std::size_t>(a.sample.prompt)] + a.sample.index;
    results_[static_cast<std::size_t>(place)] = std::move(a.sample);
  }

  Decoder& decoder_;
  const Tokenizer* tokenizer_;
  std::int64_t known_ids_;
  const std::vector<TokenId>& stop_ids_;
  const std::vector<PromptRequest>& prompts_;
  const SamplingOptions& options_;
  Progress& progress_;
  const std::function<void(const Sample&)>& on_sample_;
  Rng rng_;
  KvCache cache_;
  std::vector<Sampler> samplers_;  // one a thread

  std::vector<std::int64_t> first_;  // place of each prompt's first sample among the results
  std::int64_t total_ = 0, done_ = 0, tokens_ = 0, shared_ = 0;
  std::int32_t prefix_ = -1;  // the sequence of what all prompts begin with
  std::size_t next_prompt_ = 0;
  std::optional<PromptRun> waiting_;
  std::vector<Active> active_;
  std::vector<Sample> results_;

  // Of the present pass.
  std::vector<DecodeToken> pass_;
  std::vector<std::int64_t> wanted_;
  std::vector<std::span<const float>> logits_of_;
  std::vector<Draw> draws_;
};

}  // namespace

std::vector<Sample> generate_ids(Decoder& decoder, const Tokenizer* tokenizer, const std::vector<TokenId>& stop_ids,
                                 const std::vector<PromptRequest>& prompts, const SamplingOptions& options, Progress& progress,
                                 const std::function<void(const Sample&)>& on_sample) {
  check(decoder.config(), prompts, options);
  if (!tokenizer && !options.stop.empty()) throw Error("generate", "stop texts need a tokenizer");
  return Generation(decoder, tokenizer, stop_ids, prompts, options, progress, on_sample).run();
}

std::vector<Sample> generate(const LanguageModel& model, Decoder& decoder, const std::vector<PromptRequest>& prompts,
                             const SamplingOptions& options, Progress& progress, const std::function<void(const Sample&)>& on_sample) {
  return generate_ids(decoder, &model.tokenizer, model.stop_ids(), prompts, options, progress, on_sample);
}

std::vector<Sample> generate(const LanguageModel& model, const std::vector<PromptRequest>& prompts, const SamplingOptions& options,
                             Progress& progress, const std::function<void(const Sample&)>& on_sample) {
  Decoder decoder(model.transformer, options.precision);
  return generate(model, decoder, prompts, options, progress, on_sample);
}

}  // namespace assay
