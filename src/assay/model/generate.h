#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "assay/base/progress.h"
#include "assay/model/checkpoint.h"
#include "assay/model/decoder.h"

namespace assay {

struct SamplingOptions {
  double temperature = 1.0;  ///< 0 = greedy
  std::int64_t top_k = 0;    ///< 0 = all
  double top_p = 1.0, min_p = 0.0;
  std::int64_t max_new = 64;
  std::vector<std::string> stop;  ///< texts that end a sample; the stop text itself is cut off
  bool stop_at_eos = true;        ///< LanguageModel::stop_ids
  std::uint64_t seed = 0;
  Precision precision = Precision::bf16;
  std::int64_t max_rows = 64;  ///< sequences in flight; waiting ones replace finished ones
  /// Sees each token as it is drawn, end tokens left out (for printing while the model writes).
  std::function<void(std::int64_t prompt, std::int64_t index, TokenId id)> on_token = {};
};

/// A prompt and how many samples of it. `stream` numbers the first sample's random stream: sample i of this prompt draws from (seed, stream
/// + i, position), whatever the batch around it.
struct PromptRequest {
  std::vector<TokenId> ids;
  std::int64_t n = 1;
  std::uint64_t stream = 0;
};

enum class Finish { stop, length };  ///< an end token or stop text; max_new or the context's end

struct Sample {
  std::int64_t prompt = 0, index = 0;  ///< which request, which of its n
  std::vector<TokenId> ids;            ///< without the end token; with the tokens of a stop text
  std::vector<float> logprobs;         ///< of each generated token (end token included) under temperature 1, no filters
  std::string text;                    ///< decoded, special tokens skipped, stop text cut off
  Finish finish = Finish::length;
  std::uint64_t stream = 0;
};

/// Samples every request; the result is in order of (prompt, index). `on_sample` sees each as it finishes (for writing to a file). A prompt
/// that leaves no room in the context is an Error that names both lengths. A request to stop ends it with Interrupted, after on_sample has
/// seen what is finished.
std::vector<Sample> generate(const LanguageModel& model, const std::vector<PromptRequest>& prompts, const SamplingOptions& options,
                             Progress& progress = no_progress(), const std::function<void(const Sample&)>& on_sample = {});
/// The same with a decoder made before (of the model's present weights), for many calls on one model. Its precision counts, not that of the
/// options.
std::vector<Sample> generate(const LanguageModel& model, Decoder& decoder, const std::vector<PromptRequest>& prompts,
                             const SamplingOptions& options, Progress& progress = no_progress(),
                             const std::function<void(const Sample&)>& on_sample = {});
/// The same without a tokenizer (null: no text, and stop texts are not allowed): ids in, ids out.
std::vector<Sample> generate_ids(Decoder& decoder, const Tokenizer* tokenizer, const std::vector<TokenId>& stop_ids,
                                 const std::vector<PromptRequest>& prompts, const SamplingOptions& options,
                                 Progress& progress = no_progress(), const std::function<void(const Sample&)>& on_sample = {});

/// log p of each token of `completion` after `prompt`.
std::vector<float> score_tokens(const LanguageModel& model, const std::vector<TokenId>& prompt, const std::vector<TokenId>& completion,
                                Precision precision = Precision::f32);

using IdPair = std::pair<std::vector<TokenId>, std::vector<TokenId>>;  ///< prompt and completion
/// The same for many pairs at once; the sums. A prompt that stands in several pairs is run once, and so is a beginning that all share.
std::vector<double> score_completions(const LanguageModel& model, const std::vector<IdPair>& pairs, Precision precision = Precision::f32);
/// log p of each token of each completion, with a decoder made before.
std::vector<std::vector<float>> score_pairs(Decoder& decoder, const std::vector<IdPair>& pairs, Progress& progress = no_progress());

}  // namespace assay
