// Log-probabilities of given texts (declared in generate.h), by the training forward without gradients.
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include "assay/base/error.h"
#include "assay/model/generate.h"

namespace assay {
namespace {

constexpr std::int64_t kTokensAtOnce = 8192;

using Pair = std::pair<std::vector<TokenId>, std::vector<TokenId>>;

std::vector<std::vector<float>> score(const LanguageModel& model, const std::vector<Pair>& pairs, Precision precision) {
  const c10::InferenceMode no_gradients;
  std::vector<std::vector<float>> out;
  for (std::size_t first = 0; first < pairs.size();) {
    TokenBatch batch;
    std::vector<std::int64_t> positions;
    std::vector<std::int32_t> targets;
    std::size_t last = first;
    for (; last < pairs.size() && (last == first || batch.n_tokens() < kTokensAtOnce); ++last) {
      const auto& [prompt, completion] = pairs[last];
      if (prompt.empty()) throw Error("score", "the prompt of text " + std::to_string(last) + " has no tokens", "begin with the end-of-text token");
      std::vector<TokenId> ids = prompt;
      ids.insert(ids.end(), completion.begin(), completion.end());
      const std::int64_t begin = batch.n_tokens();
      for (std::size_t t = prompt.size(); t < ids.size(); ++t) {
        positions.push_back(begin + static_cast<std::int64_t>(t) - 1);
        targets.push_back(ids[t]);
      }
      batch.add(ids);
    }
    ForwardOptions options;
    options.precision = precision;
    const Tensor hidden = model.transformer.forward(batch, options);
    Tensor logprobs;
    if (!positions.empty()) logprobs = token_logprobs(model.transformer, hidden.index_select(0, at::tensor(positions)), targets, precision).contiguous();
    std::size_t at = 0;
    for (; first < last; ++first) {
      const std::size_t n = pairs[first].second.size();
      if (n == 0) out.emplace_back();
      else out.emplace_back(logprobs.data_ptr<float>() + at, logprobs.data_ptr<float>() + at + n);
      at += n;
    }
  }
  return out;
}

}  // namespace

std::vector<float> score_tokens(const LanguageModel& model, const std::vector<TokenId>& prompt, const std::vector<TokenId>& completion, Precision precision) {
  return score(model, {{prompt, completion}}, precision).front();
}

std::vector<double> score_completions(const LanguageModel& model, const std::vector<Pair>& pairs, Precision precision) {
  std::vector<double> out;
  for (const auto& logprobs : score(model, pairs, precision)) {
    double sum = 0;
    for (const float l : logprobs) sum += l;
    out.push_back(sum);
  }
  return out;
}

}  // namespace assay
