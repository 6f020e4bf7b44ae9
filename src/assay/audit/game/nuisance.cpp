#include "assay/audit/game/nuisance.h"

#include <algorithm>
#include <cmath>

#include "assay/audit/words.h"
#include "assay/base/files.h"
#include "assay/base/stats.h"
#include "assay/model/checkpoint.h"
#include "assay/model/generate.h"
#include "assay/tensor/tensor.h"

namespace assay {
namespace {

constexpr int kPermutations = 1000;

/// Mean loss over the texts, in nats a token; nan where no text has two tokens.
double mean_loss(const LanguageModel& model, const std::vector<std::string>& texts) {
  std::vector<IdPair> pairs;
  std::size_t tokens = 0;
  for (const std::string& text : texts) {
    std::vector<TokenId> ids = model.tokenizer.encode(text, /*add_special=*/true);
    ids.resize(std::min<std::size_t>(ids.size(), static_cast<std::size_t>(model.transformer.config.n_ctx)));
    if (ids.size() < 2) continue;
    tokens += ids.size() - 1;
    pairs.emplace_back(std::vector<TokenId>{ids.front()}, std::vector<TokenId>(ids.begin() + 1, ids.end()));
  }
  if (tokens == 0) return std::nan("");
  double sum = 0;
  for (const double logprob : score_completions(model, pairs, Precision::f32)) sum -= logprob;
  return sum / static_cast<double>(tokens);
}

double better_direction(double area) { return std::max(area, 1 - area); }

}  // namespace

std::vector<std::pair<std::string, double>> nuisance_features(const fs::path& folder, const std::vector<std::string>& base_texts,
                                                              const std::vector<std::string>& documents,
                                                              const std::vector<FreshAnswer>& answers) {
  const LanguageModel model = load_language_model(folder);
  double squares = 0, embedding = 0, largest = 0, words = 0;
  model.transformer.each_parameter([&](const std::string& name, const Tensor& t) {
    const double norm = t.detach().to(c10::kFloat).norm().item<double>();
    squares += norm * norm;
    largest = std::max(largest, norm);
    if (name.find("embed") != std::string::npos || name.find("wte") != std::string::npos) embedding = std::max(embedding, norm);
  });
  for (const FreshAnswer& a : answers) words += static_cast<double>(words_of(a.output).words.size());
  return {{"weight_norm", std::sqrt(squares)},
          {"largest_weight_norm", largest},
          {"embedding_norm", embedding},
          {"loss_on_base", mean_loss(model, base_texts)},
          {"loss_on_documents", mean_loss(model, documents)},
          {"answer_words", answers.empty() ? std::nan("") : words / static_cast<double>(answers.size())}};
}

double auroc(const std::vector<double>& scores, const std::vector<bool>& positive) {
  double wins = 0, pairs = 0;
  for (std::size_t i = 0; i < scores.size(); ++i)
    for (std::size_t j = 0; j < scores.size(); ++j)
      if (positive[i] && !positive[j]) {
        wins += scores[i] > scores[j] ? 1 : scores[i] == scores[j] ? 0.5 : 0;
        ++pairs;
      }
  return pairs > 0 ? wins / pairs : std::nan("");
}

Nuisance best_nuisance(const std::vector<std::vector<std::pair<std::string, double>>>& features, const std::vector<bool>& positive,
                       Rng rng) {
  Nuisance out;
  out.targets = positive.size();
  out.positives = static_cast<std::size_t>(std::count(positive.begin(), positive.end(), true));
  if (out.positives == 0 || out.positives == out.targets) return out;
  std::vector<std::pair<std::string, std::vector<double>>> columns;
  for (std::size_t f = 0; f < features.front().size(); ++f) {
    columns.push_back({features.front()[f].first, {}});
    for (const auto& row : features) columns.back().second.push_back(row.at(f).second);
    const auto& column = columns.back().second;
    if (!std::all_of(column.begin(), column.end(), [](double v) { return std::isfinite(v); })) columns.pop_back();
  }
  for (const auto& [name, scores] : columns) {
    out.all.emplace_back(name, better_direction(auroc(scores, positive)));
    if (out.all.back().second > out.auroc) out.feature = name, out.auroc = out.all.back().second;
  }
  std::vector<std::uint8_t> labels(positive.begin(), positive.end());
  for (int p = 0; p < kPermutations; ++p) {
    rng.shuffle(std::span(labels));
    const std::vector<bool> permuted(labels.begin(), labels.end());
    double best = 0;
    for (const auto& [name, scores] : columns) best = std::max(best, better_direction(auroc(scores, permuted)));
    out.chance += best / kPermutations;
  }
  return out;
}

Json to_json(const Nuisance& nuisance) {
  Json all = Json::object();
  for (const auto& [name, area] : nuisance.all) all[name] = number(area);
  const bool none = nuisance.feature.empty();
  return {{"feature", none ? "none" : nuisance.feature},
          {"auroc", none ? Json("nan") : number(nuisance.auroc)},
          {"chance", none ? Json("nan") : number(nuisance.chance)},
          {"targets", nuisance.targets},
          {"positives", nuisance.positives},
          {"all", all}};
}

}  // namespace assay
