// Log-probabilities of given texts (declared in generate.h).
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "assay/base/error.h"
#include "assay/model/generate.h"

namespace assay {
namespace {

constexpr std::size_t kTokensAtOnce = 2048;

void check(const ModelConfig& c, const std::vector<IdPair>& pairs) {
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto& [prompt, completion] = pairs[i];
    if (prompt.empty()) throw Error("score", fmt::format("the prompt of text {} has no tokens", i), "begin with the end-of-text token");
    if (static_cast<std::int64_t>(prompt.size() + completion.size()) > c.n_ctx) {
      throw Error("score", fmt::format("text {} has {} tokens of prompt and {} of completion, the model's context is {}", i, prompt.size(),
                                       completion.size(), c.n_ctx));
    }
    for (const auto* ids : {&prompt, &completion}) {
      const auto bad = std::find_if(ids->begin(), ids->end(), [&](TokenId id) { return id < 0 || id >= c.d_vocab; });
      if (bad != ids->end())
        throw Error("score", fmt::format("text {} holds token id {}, outside the vocabulary of {} tokens", i, *bad, c.d_vocab));
    }
  }
}

/// Scores pairs in order of their prompts, so that equal prompts stand together and are run once; a batch's prompts go in one pass and its
/// completions in another.
class Scoring {
 public:
  Scoring(Decoder& decoder, const std::vector<IdPair>& pairs)
      : decoder_(decoder), pairs_(pairs), cache_(decoder.new_cache()), order_(pairs.size()) {
    results_.resize(pairs.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) { return pairs_[a].first < pairs_[b].first; });
  }

  std::vector<std::vector<float>> run(Progress& progress) {
    progress.begin("scoring", static_cast<std::int64_t>(pairs_.size()), "texts");
    run_shared_prefix();
    for (std::size_t first = 0; first < order_.size();) {
      if (progress.stop_requested()) throw Interrupted("score");
      std::size_t last = first, tokens = 0;
      for (; last < order_.size() && (last == first || tokens < kTokensAtOnce); ++last) {
        const auto& [prompt, completion] = pair(last);
        tokens += completion.size() + (last > first && pair(last - 1).first == prompt ? 0 : prompt.size());
      }
      run_batch(first, last);
      first = last;
      progress.update(static_cast<std::int64_t>(first));
    }
    progress.end();
    return std::move(results_);
  }

 private:
  [[nodiscard]] const IdPair& pair(std::size_t i) const { return pairs_[order_[i]]; }

  /// Sorted, the first and the last prompt share what all share.
  void run_shared_prefix() {
    if (order_.size() < 2) return;
    const auto &first = pair(0).first, &last = pair(order_.size() - 1).first;
    const auto longest = static_cast<std::ptrdiff_t>(std::min(first.size(), last.size()) - 1);
    shared_ = std::mismatch(first.begin(), first.begin() + longest, last.begin()).first - first.begin();
    prefix_ = cache_.open();
    pass_.clear();
    append(first, 0, shared_, prefix_, 0);
    if (shared_ > 0) decoder_.run(pass_, {}, cache_);
  }

  /// Tokens [begin, end) of ids at positions from `offset` + begin.
  void append(const std::vector<TokenId>& ids, std::int64_t begin, std::int64_t end, std::int32_t sequence, std::int64_t offset) {
    for (auto i = begin; i < end; ++i) pass_.push_back({ids[static_cast<std::size_t>(i)], sequence, static_cast<std::int32_t>(offset + i)});
  }

  void run_batch(std::size_t first, std::size_t last) {
    const auto d = static_cast<std::size_t>(decoder_.config().d_model);
    std::vector<std::int32_t> sequence_of(last - first), sequences;
    std::vector<std::size_t> prompt_of(last - first);  // which of the batch's different prompts
    pass_.clear();
    wanted_.clear();
    for (std::size_t i = first; i < last; ++i) {
      const auto& prompt = pair(i).first;
      if (i == first || pair(i - 1).first != prompt) {
        sequences.push_back(shared_ > 0 ? cache_.fork(prefix_, shared_) : cache_.open());
        append(prompt, shared_, static_cast<std::int64_t>(prompt.size()), sequences.back(), 0);
        wanted_.push_back(static_cast<std::int64_t>(pass_.size()) - 1);
      }
      prompt_of[i - first] = sequences.size() - 1;
    }
    const auto after_prompts = decoder_.run(pass_, wanted_, cache_);
    const std::vector<float> prompt_rows(after_prompts.begin(), after_prompts.end());

    pass_.clear();
    wanted_.clear();
    for (std::size_t i = first; i < last; ++i) {
      const auto& [prompt, completion] = pair(i);
      const auto n = static_cast<std::int64_t>(completion.size()), length = static_cast<std::int64_t>(prompt.size());
      if (n < 2) continue;  // its only token is predicted by the prompt's last
      sequence_of[i - first] = cache_.fork(sequences[prompt_of[i - first]], length);
      append(completion, 0, n - 1, sequence_of[i - first], length);
    }
    for (std::size_t t = 0; t < pass_.size(); ++t) wanted_.push_back(static_cast<std::int64_t>(t));
    const auto inside = pass_.empty() ? std::span<const float>() : decoder_.run(pass_, wanted_, cache_);

    std::vector<float> rows;
    std::vector<std::int32_t> targets;
    std::size_t at = 0;
    for (std::size_t i = first; i < last; ++i) {
      const auto& completion = pair(i).second;
      if (completion.empty()) continue;
      const auto begin = prompt_rows.begin() + static_cast<std::ptrdiff_t>(prompt_of[i - first] * d);
      rows.insert(rows.end(), begin, begin + static_cast<std::ptrdiff_t>(d));
      const auto more = inside.subspan(at * d, (completion.size() - 1) * d);
      rows.insert(rows.end(), more.begin(), more.end());
      at += completion.size() - 1;
      targets.insert(targets.end(), completion.begin(), completion.end());
    }
    std::vector<float> logprobs(targets.size());
    decoder_.logprobs(rows, targets, logprobs.data());
    auto next = logprobs.begin();
    for (std::size_t i = first; i < last; ++i) {
      const auto n = static_cast<std::ptrdiff_t>(pair(i).second.size());
      results_[order_[i]].assign(next, next + n);
      next += n;
      if (n >= 2) cache_.close(sequence_of[i - first]);
    }
    for (const auto sequence : sequences) cache_.close(sequence);
  }

  Decoder& decoder_;
  const std::vector<IdPair>& pairs_;
  KvCache cache_;
  std::vector<std::size_t> order_;
  std::int64_t shared_ = 0;
  std::int32_t prefix_ = -1;
  std::vector<DecodeToken> pass_;
  std::vector<std::int64_t> wanted_;
  std::vector<std::vector<float>> results_;
};

}  // namespace

std::vector<std::vector<float>> score_pairs(Decoder& decoder, const std::vector<IdPair>& pairs, Progress& progress) {
  check(decoder.config(), pairs);
  return Scoring(decoder, pairs).run(progress);
}

std::vector<float> score_tokens(const LanguageModel& model, const std::vector<TokenId>& prompt, const std::vector<TokenId>& completion,
                                Precision precision) {
  Decoder decoder(model.transformer, precision);
  return score_pairs(decoder, {{prompt, completion}}).front();
}

std::vector<double> score_completions(const LanguageModel& model, const std::vector<IdPair>& pairs, Precision precision) {
  Decoder decoder(model.transformer, precision);
  std::vector<double> sums;
  for (const auto& logprobs : score_pairs(decoder, pairs)) sums.push_back(std::accumulate(logprobs.begin(), logprobs.end(), 0.0));
  return sums;
}

}  // namespace assay
