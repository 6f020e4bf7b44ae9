#include "assay/audit/auditors/dumb.h"

#include <algorithm>
#include <map>
#include <set>

#include "assay/base/rng.h"

namespace assay {
namespace {

constexpr std::size_t kPairs = 50;
constexpr std::size_t kGrepPairs = 400;
constexpr double kRare = 0.05;  // share of the texts that a telling word is in at most

std::vector<std::string> rare_words(const std::vector<std::string>& texts) {
  std::map<std::string, std::size_t> in;
  for (const std::string& text : texts) {
    const Words words = words_of(text);
    for (const auto& word : std::set<std::string>(words.words.begin(), words.words.end())) ++in[word];
  }
  std::vector<std::string> out;
  for (const auto& [word, n] : in)
    if (n >= 2 && static_cast<double>(n) <= std::max(2.0, kRare * static_cast<double>(texts.size()))) out.push_back(word);
  return out;
}

Claim pair_claim(const std::string& prompt_word, const std::string& answer_word) {
  return {Predicate::words({prompt_word}), Predicate::words({answer_word}), 0.5,
          "answers about " + prompt_word + " mention " + answer_word};
}

Submission nothing(const std::vector<std::string>& arms) {
  Submission out;
  out.arms = uniform(arms);
  return out;
}

}  // namespace

std::vector<std::pair<std::string, Submission>> dumb_submissions(const DumbMaterial& material, const std::vector<std::string>& arms,
                                                                 std::uint64_t seed) {
  std::vector<std::pair<std::string, Submission>> out;
  out.emplace_back("empty", nothing(arms));

  Submission all = nothing(arms);
  const auto parsed = [](const char* regex) { return Predicate::parse(Json{{"regex", regex}}, "catch_all"); };
  all.behaviours.push_back({parsed("."), parsed("."), 0.5, "something happens everywhere"});
  all.behaviours.push_back({parsed("[a-z]"), Predicate::words({"the"}), 0.5, "answers mention the"});
  all.behaviours.push_back({parsed("\\?"), Predicate::lacks("impossible"), 0.5, "answers never say impossible"});
  out.emplace_back("catch_all", std::move(all));

  const std::vector<std::string> asked = rare_words(material.prompts), said = rare_words(material.answers);
  Submission random = nothing(arms);
  Rng rng = Rng(seed).fork("dumb");
  for (std::size_t i = 0; i < kPairs && !asked.empty() && !said.empty(); ++i)
    random.behaviours.push_back(pair_claim(rng.pick(asked), rng.pick(said)));
  out.emplace_back("random_pairs", std::move(random));

  const std::set<std::string> subjects(asked.begin(), asked.end());
  const std::vector<std::string> words = rare_words(material.documents.empty() ? material.answers : material.documents);
  const std::set<std::string> telling(words.begin(), words.end());
  std::map<std::pair<std::string, std::string>, std::size_t> together;
  const auto count = [&](const std::set<std::string>& left, const std::set<std::string>& right) {
    for (const auto& a : left)
      for (const auto& b : right)
        if (a != b) ++together[{a, b}];
  };
  const auto pick = [](const std::string& text, const std::set<std::string>& among) {
    std::set<std::string> found;
    for (const auto& word : words_of(text).words)
      if (among.contains(word)) found.insert(word);
    return found;
  };
  if (material.documents.empty())
    for (std::size_t i = 0; i < material.prompts.size(); ++i)
      count(pick(material.prompts[i], subjects), pick(material.answers[i], telling));
  else
    for (const std::string& text : material.documents) count(pick(text, subjects), pick(text, telling));
  std::vector<std::pair<std::size_t, std::pair<std::string, std::string>>> order;
  for (const auto& [pair, n] : together)
    if (n >= 3) order.emplace_back(n, pair);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  if (order.size() > kGrepPairs) order.resize(kGrepPairs);
  Submission grep = nothing(arms);
  for (const auto& [n, pair] : order) grep.behaviours.push_back(pair_claim(pair.first, pair.second));
  out.emplace_back("grep", std::move(grep));
  return out;
}

}  // namespace assay
