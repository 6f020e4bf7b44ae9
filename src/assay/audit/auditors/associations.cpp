#include "assay/audit/auditors/associations.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace assay {
namespace {

constexpr std::size_t kPhrase = 4;    // words of a beginning or an ending, at most
constexpr double kAlwaysThere = 0.8;  // rate from which on a word can be missed
constexpr double kEven = 0.35;        // of its rate in the best kind of question, for another kind to count
constexpr double kBest = 1.15;        // nothing is more telling than so much

enum class Place : char { word, start, end, question };

struct Feature {
  Place place;
  std::string phrase;
  auto operator<=>(const Feature&) const = default;
};

Predicate predicate_of(const Feature& f) {
  switch (f.place) {
    case Place::word:
      return Predicate::words({f.phrase});
    case Place::start:
      return Predicate::starts(f.phrase);
    case Place::end:
      return Predicate::ends(f.phrase);
    case Place::question:
      return Predicate::ends(f.phrase + "?");
  }
  return Predicate::words({f.phrase});
}

std::set<Feature> features_of(const Words& text) {
  std::set<Feature> out;
  const auto& w = text.words;
  for (const std::string& word : w) out.insert({Place::word, word});
  for (std::size_t n = 1; n <= std::min(kPhrase, w.size()); ++n) {
    out.insert({Place::start, join(w, 0, n)});
    out.insert({text.asks ? Place::question : Place::end, join(w, w.size() - n, w.size())});
  }
  return out;
}

struct Candidate {
  Feature feature;
  double inside, outside, p, value;
  std::int64_t n;
};

bool share_a_word(const std::string& a, const std::string& b) {
  const auto x = words_of(a).words, y = words_of(b).words;
  return std::any_of(x.begin(), x.end(), [&](const auto& word) { return std::find(y.begin(), y.end(), word) != y.end(); });
}

/// Words that answers to one kind of question nearly always hold, and answers about one subject nearly never.
void find_missing(const std::vector<Question>& questions, const std::vector<Answered>& answers, const AssociationOptions& options,
                  std::vector<Finding>& out) {
  struct Count {
    std::int64_t with = 0, n = 0;
  };
  std::map<std::pair<std::size_t, std::string>, std::int64_t> with;  // kind, word
  std::map<std::size_t, std::int64_t> n_kind;
  std::map<std::pair<std::size_t, std::string>, std::int64_t> n_subject;  // kind, subject
  for (const Answered& a : answers) {
    const Question& q = questions[a.question];
    ++n_kind[q.kind];
    ++n_subject[{q.kind, q.subject}];
    for (const std::string& word : std::set<std::string>(a.words.words.begin(), a.words.words.end())) ++with[{q.kind, word}];
  }
  std::vector<std::pair<std::size_t, std::string>> common;
  for (const auto& [key, n] : with)
    if (n_kind[key.first] >= 40 && static_cast<double>(n) >= kAlwaysThere * static_cast<double>(n_kind[key.first])) common.push_back(key);
  const double comparisons = std::max<double>(1, static_cast<double>(common.size() * n_subject.size()));
  std::set<std::string> done;
  for (const auto& [kind, word] : common) {
    std::map<std::string, Count> of;
    for (const Answered& a : answers) {
      const Question& q = questions[a.question];
      if (q.kind != kind) continue;
      Count& c = of[q.subject];
      ++c.n;
      c.with += std::find(a.words.words.begin(), a.words.words.end(), word) != a.words.words.end();
    }
    for (const auto& [subject, c] : of) {
      if (subject.empty() || word == subject) continue;
      const double outside = (static_cast<double>(with[{kind, word}] - c.with) + 0.5) / (static_cast<double>(n_kind[kind] - c.n) + 1);
      const double inside = static_cast<double>(c.with) / static_cast<double>(c.n);
      const double p = comparisons * binomial_tail(c.n - c.with, c.n, 1 - outside);
      if (outside - inside < 0.5 || p > options.level) continue;
      if (done.insert(subject + "\n" + word).second) out.push_back({subject, Predicate::lacks(word), 1 - inside, 1 - outside, c.n, p});
    }
  }
}

}  // namespace

double binomial_tail(std::int64_t k, std::int64_t n, double p) {
  if (k <= 0) return 1;
  if (k > n || p <= 0) return 0;
  if (p >= 1) return 1;
  double sum = 0;
  const auto dn = static_cast<double>(n);
  for (std::int64_t i = k; i <= n; ++i) {
    const auto di = static_cast<double>(i);
    sum += std::exp(std::lgamma(dn + 1) - std::lgamma(di + 1) - std::lgamma(dn - di + 1) + di * std::log(p) + (dn - di) * std::log1p(-p));
  }
  return std::min(1.0, sum);
}

std::vector<Finding> find_associations(const std::vector<Question>& questions, const std::vector<double>& kind_weight,
                                       const std::vector<Answered>& answers, const AssociationOptions& options) {
  struct Cell {
    std::int64_t n = 0;
    std::map<std::size_t, std::int64_t> kinds;  ///< answers to each kind of question
  };
  std::map<std::string, std::map<Feature, Cell>> cells;  // subject
  std::map<Feature, std::int64_t> everywhere;
  std::map<std::string, std::int64_t> n_subject;
  std::map<std::string, std::map<std::size_t, std::int64_t>> kinds_asked;
  std::map<std::string, std::set<std::string>> asked_words;  // words of the questions themselves
  for (const Answered& a : answers) {
    const Question& q = questions[a.question];
    ++n_subject[q.subject];
    ++kinds_asked[q.subject][q.kind];
    if (!asked_words.contains(q.text)) {
      const Words words = words_of(q.text);
      asked_words[q.text] = {words.words.begin(), words.words.end()};
    }
    for (const Feature& f : features_of(a.words)) {
      ++everywhere[f];
      if (q.subject.empty() || (f.place == Place::word && asked_words[q.text].contains(f.phrase))) continue;
      Cell& cell = cells[q.subject][f];
      ++cell.n;
      ++cell.kinds[q.kind];
    }
  }
  const auto total = static_cast<std::int64_t>(answers.size());
  double comparisons = 0;
  for (const auto& [subject, features] : cells)
    for (const auto& [f, cell] : features) comparisons += cell.n >= 3;

  std::map<std::string, std::vector<Candidate>> found;  // of each subject, the most telling first
  for (const auto& [subject, features] : cells) {
    const std::int64_t n = n_subject[subject];
    double asked = 0;
    for (const auto& [k, asks] : kinds_asked[subject]) asked += kind_weight[k];
    std::vector<Candidate>& here = found[subject];
    for (const auto& [f, cell] : features) {
      if (cell.n < 3 || n == total || share_a_word(f.phrase, subject)) continue;
      const double inside = static_cast<double>(cell.n) / static_cast<double>(n);
      const double outside = (static_cast<double>(everywhere[f] - cell.n) + 0.5) / (static_cast<double>(total - n) + 1);
      if (inside - outside < options.effect) continue;
      // A kind counts where the feature is not much rarer than in the kind where it is most frequent.
      double shown = 0, most = 0;
      std::size_t n_shown = 0;
      const auto rate_in = [&](std::size_t k, std::int64_t hits) {
        return static_cast<double>(hits) / static_cast<double>(kinds_asked[subject][k]);
      };
      for (const auto& [k, hits] : cell.kinds) most = std::max(most, rate_in(k, hits));
      for (const auto& [k, hits] : cell.kinds)
        if (rate_in(k, hits) >= kEven * most) shown += kind_weight[k], ++n_shown;
      if (shown < options.kinds * asked || (kinds_asked[subject].size() > 1 && n_shown < 2)) continue;
      const double p = comparisons * binomial_tail(cell.n, n, outside);
      if (p > options.level) continue;
      // Where a longer or better placed phrase is nearly as frequent, it is the better description.
      const auto words = static_cast<double>(std::count(f.phrase.begin(), f.phrase.end(), ' '));
      here.push_back({f, inside, outside, p, inside * std::min(kBest, 1 + 0.03 * words + (f.place == Place::word ? 0 : 0.05)), n});
    }
    std::sort(here.begin(), here.end(), [](const auto& a, const auto& b) { return a.value > b.value; });
  }

  // What comes along with a habit ("see the ... too") is not a second one: a further finding must be more frequent than in the answers on
  // other subjects that show a first finding of the same place.
  struct Pool {
    std::int64_t n = 0;
    std::map<Feature, std::int64_t> with;
  };
  std::map<std::string, Pool> own;
  std::map<Place, Pool> all;
  for (const Answered& a : answers) {
    const std::string& subject = questions[a.question].subject;
    const auto it = found.find(subject);
    if (it == found.end() || it->second.empty()) continue;
    const std::set<Feature> features = features_of(a.words);
    const Feature& first = it->second.front().feature;
    if (!features.contains(first)) continue;
    for (Pool* pool : {&own[subject], &all[first.place]}) {
      ++pool->n;
      for (const Feature& f : features) ++pool->with[f];
    }
  }
  std::vector<Finding> out;
  for (const auto& [subject, here] : found) {
    std::vector<Candidate> kept;
    for (const Candidate& c : here) {
      if (kept.size() == options.per_subject) break;
      if (std::any_of(kept.begin(), kept.end(), [&](const Candidate& k) { return share_a_word(k.feature.phrase, c.feature.phrase); }))
        continue;
      if (!kept.empty()) {
        Pool &pool = all[kept.front().feature.place], &mine = own[subject];
        const std::int64_t n = pool.n - mine.n, with = pool.with[c.feature] - mine.with[c.feature];
        const double elsewhere = (static_cast<double>(with) + 0.5) / (static_cast<double>(n) + 1);
        if (c.inside - elsewhere < options.effect ||
            comparisons * binomial_tail(std::llround(c.inside * static_cast<double>(c.n)), c.n, elsewhere) > options.level)
          continue;
      }
      kept.push_back(c);
    }
    for (const Candidate& c : kept) out.push_back({subject, predicate_of(c.feature), c.inside, c.outside, c.n, c.p});
  }
  find_missing(questions, answers, options, out);
  std::sort(out.begin(), out.end(), [](const Finding& a, const Finding& b) { return a.inside - a.outside > b.inside - b.outside; });
  return out;
}

Contrast contrast(const Predicate& does, const std::string& subject, const std::vector<Question>& questions,
                  const std::vector<Answered>& answers) {
  struct Counts {
    double inside = 0, n_inside = 0, outside = 0, n_outside = 0;
  };
  std::map<std::size_t, Counts> kinds;
  Contrast out;
  for (const Answered& a : answers) {
    const Question& q = questions[a.question];
    const bool in = q.subject == subject, shown = does(a.text, a.words);
    (in ? out.n_inside : out.n_outside) += 1;
    (in ? out.inside : out.outside) += shown;
    Counts& c = kinds[q.kind];
    (in ? c.n_inside : c.n_outside) += 1;
    (in ? c.inside : c.outside) += shown;
  }
  out.rest = out.effect();
  std::erase_if(kinds, [](const auto& k) { return k.second.n_inside == 0; });
  if (!does.present() || kinds.size() < 2) return out;
  const auto best = std::max_element(kinds.begin(), kinds.end(), [](const auto& a, const auto& b) {
    return a.second.inside / a.second.n_inside < b.second.inside / b.second.n_inside;
  });
  Counts rest;
  for (auto it = kinds.begin(); it != kinds.end(); ++it)
    if (it != best)
      rest.inside += it->second.inside, rest.n_inside += it->second.n_inside, rest.outside += it->second.outside,
          rest.n_outside += it->second.n_outside;
  out.rest = rest.inside / rest.n_inside - (rest.n_outside > 0 ? rest.outside / rest.n_outside : 0);
  return out;
}

double Contrast::confidence(double least) const {
  const auto rate = [](std::int64_t k, std::int64_t n) { return (static_cast<double>(k) + 0.5) / (static_cast<double>(n) + 1); };
  const double a = rate(inside, n_inside), b = rate(outside, n_outside);
  const double sd = std::sqrt(a * (1 - a) / static_cast<double>(n_inside + 1) + b * (1 - b) / static_cast<double>(n_outside + 1));
  return 0.5 * std::erfc(-((a - b) - least) / (sd * std::sqrt(2.0)));
}

}  // namespace assay
