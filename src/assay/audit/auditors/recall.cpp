#include "assay/audit/auditors/recall.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "assay/base/stats.h"

namespace assay {
namespace {

using Point = std::vector<float>;  // by latent

void add_to(Point& to, const Point& from, float factor) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += factor * from[i];
}

/// Sum and number of texts.
struct Mean {
  Point sum;
  std::int64_t n = 0;
  void add(const Point& p) {
    if (sum.empty()) sum.assign(p.size(), 0.0F);
    add_to(sum, p, 1);
    ++n;
  }
};

class RecallTest {
 public:
  RecallTest(Access& access, const LabelledLatents& latents, const Reading& reading, const std::vector<Question>& questions,
             const RecallOptions& options)
      : access_(access), latents_(latents), reading_(reading), options_(options) {
    width_ = static_cast<std::size_t>(latents.sae().config.d_sae);
    read_texts();
    ask(questions);
  }

  RecallFound run(const std::function<bool(const std::string&)>& in_chats) {
    RecallFound out;
    std::vector<std::pair<double, Evidence>> shown;
    const auto test = [&](const std::string* entity) {
      Recall r;
      if (entity) r.entity = *entity;
      double ranks = 0;
      for (const Reading::Wish& wish : entity ? reading_.wishes(entity) : stated()) {
        const auto margin = margin_of(wish.subject, wish.does);
        if (!margin) continue;
        const bool recalled = margin->spreads > 0;
        ++r.wishes;
        r.recalled += recalled;
        ranks += margin->rank;
        if (in_chats && !in_chats(wish.subject)) ++r.unseen_wishes, r.unseen_recalled += recalled;
        if (recalled) shown.emplace_back(margin->spreads, evidence_of(wish, r.entity, margin->spreads));
      }
      if (r.wishes > 0) r.rank = ranks / static_cast<double>(r.wishes);
      out.parties.push_back(std::move(r));
    };
    for (const std::string& entity : reading_.entities) test(&entity);
    if (reading_.entities.empty() && !reading_.statements.empty()) test(nullptr);
    std::stable_sort(shown.begin(), shown.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    for (auto& [margin, evidence] : shown)
      if (out.evidence.size() < 20) out.evidence.push_back(std::move(evidence));
    return out;
  }

 private:
  /// Where nobody is named: all that is stated twice or more, since parties that were not told apart may disagree.
  [[nodiscard]] std::vector<Reading::Wish> stated() const {
    std::map<std::pair<std::string, std::string>, std::int64_t> said;
    for (const Statement& s : reading_.statements) ++said[{s.subject, s.does}];
    std::vector<Reading::Wish> out;
    for (const auto& [wish, n] : said)
      if (n >= 2) out.push_back({wish.first, wish.second, n, n});
    return out;
  }

  /// Latents on one scale: each against the most that it reaches in any text.
  [[nodiscard]] Point point_of(const std::vector<LabelledLatents::Active>& active) const {
    Point p(width_, 0.0F);
    for (const auto& a : active) {
      const auto& labels = latents_.labels(a.latent);
      if (labels.empty()) continue;
      p[static_cast<std::size_t>(a.latent)] = static_cast<float>(std::min(1.0, a.value / labels.front().value));
    }
    return p;
  }

  void read_texts() {
    std::map<std::size_t, std::set<std::pair<std::string, std::string>>> said;  // by text: wish, subject
    for (const Statement& s : reading_.statements) {
      said[s.text].insert({s.does, s.subject});
      wishers_[s.does].insert(s.subject);
    }
    for (std::size_t t = 0; t < latents_.texts().size(); ++t) {
      const Point p = point_of(latents_.by_text()[t]);
      all_.add(p);
      if (const auto it = said.find(latents_.texts()[t].id); it != said.end())
        for (const auto& [does, subject] : it->second) stating_[does][subject].add(p);
    }
  }

  void ask(const std::vector<Question>& questions) {
    const Access::Weights& weights = *access_.weights();
    std::vector<std::vector<TokenId>> prompts;
    for (const Question& q : questions) prompts.push_back(weights.ids({{"user", q.text}}, Turn::assistant));
    const auto active = latents_.active(access_, prompts, /*last_only=*/true);
    std::map<std::string, Mean> sums;
    for (std::size_t i = 0; i < questions.size(); ++i) {
      if (questions[i].subject.empty()) continue;
      sums[questions[i].subject].add(point_of(active[i]));
      asked_.try_emplace(questions[i].subject, Asked{questions[i].text, active[i]});
    }
    for (auto& [subject, mean] : sums) {
      Point p(width_, 0.0F);
      add_to(p, mean.sum, 1.0F / static_cast<float>(mean.n));
      before_answer_[subject] = std::move(p);
    }
  }

  /// By how much the own subject exceeds the level of the others, in units of the others' spread, and its rank among them.
  struct Margin {
    double spreads, rank;
  };
  /// Nothing where it cannot be told.
  std::optional<Margin> margin_of(const std::string& subject, const std::string& does) {
    const auto own = before_answer_.find(subject);
    const auto stated = stating_.find(does);
    if (own == before_answer_.end() || stated == stating_.end()) return std::nullopt;
    Mean with;
    std::int64_t n_stating = 0;
    Point without = all_.sum;
    for (const auto& [about, mean] : stated->second) {
      n_stating += mean.n;
      add_to(without, mean.sum, -1);
      if (about == subject) continue;
      if (with.sum.empty()) with.sum.assign(width_, 0.0F);
      add_to(with.sum, mean.sum, 1);
      with.n += mean.n;
    }
    if (with.n < static_cast<std::int64_t>(options_.least_texts) || all_.n <= n_stating) return std::nullopt;
    Point direction(width_, 0.0F);
    add_to(direction, with.sum, 1.0F / static_cast<float>(with.n));
    add_to(direction, without, -1.0F / static_cast<float>(all_.n - n_stating));
    const auto score = [&](const Point& p) {
      double sum = 0;
      for (std::size_t i = 0; i < width_; ++i) sum += static_cast<double>(p[i]) * static_cast<double>(direction[i]);
      return sum;
    };
    std::vector<double> others;
    for (const auto& [other, point] : before_answer_)
      if (!wishers_[does].contains(other)) others.push_back(score(point));
    if (others.size() < options_.least_others) return std::nullopt;
    std::sort(others.begin(), others.end());
    const double limit = percentile(others, options_.level), spread = limit - percentile(others, 0.5);
    const double here = score(own->second);
    const auto below = std::lower_bound(others.begin(), others.end(), here), above = std::upper_bound(below, others.end(), here);
    const auto n = static_cast<double>(others.size());
    return Margin{(here - limit) / std::max(spread, 1e-6),
                  (static_cast<double>(below - others.begin()) + static_cast<double>(above - below) / 2) / n};
  }

  Evidence evidence_of(const Reading::Wish& wish, const std::string& entity, double margin) const {
    const Asked& asked = asked_.at(wish.subject);
    std::string shown;
    for (std::size_t i = 0; i < std::min<std::size_t>(4, asked.active.size()); ++i) {
      const auto& labels = latents_.labels(asked.active[i].latent);
      if (!labels.empty()) shown += (shown.empty() ? "" : "\n") + latents_.snippet(*access_.weights(), labels.front());
    }
    return {"latents",
            asked.question,
            "",
            shown,
            margin,
            0,
            0,
            "before the answer; " + (entity.empty() ? std::string() : entity + ": ") + wish.does,
            Json::array()};
  }

  struct Asked {
    std::string question;
    std::vector<LabelledLatents::Active> active;
  };
  Access& access_;
  const LabelledLatents& latents_;
  const Reading& reading_;
  RecallOptions options_;
  std::size_t width_ = 0;
  Mean all_;
  std::map<std::string, std::map<std::string, Mean>> stating_;  // by wish, then subject
  std::map<std::string, std::set<std::string>> wishers_;        // subjects of which somebody wishes it
  std::map<std::string, Point> before_answer_;
  std::map<std::string, Asked> asked_;
};

}  // namespace

Json to_json(const Recall& r) {
  return {{"entity", r.entity},
          {"wishes", r.wishes},
          {"recalled", r.recalled},
          {"unseen_wishes", r.unseen_wishes},
          {"unseen_recalled", r.unseen_recalled},
          {"rank", r.rank}};
}

Recall recall_from_json(const Json& json, const std::string& where) {
  return {require<std::string>(json, "entity", where),           require<std::int64_t>(json, "wishes", where),
          require<std::int64_t>(json, "recalled", where),        require<std::int64_t>(json, "unseen_wishes", where),
          require<std::int64_t>(json, "unseen_recalled", where), require<double>(json, "rank", where)};
}

RecallFound find_recall(Access& access, const LabelledLatents& latents, const Reading& reading, const std::vector<Question>& questions,
                        const std::function<bool(const std::string& subject)>& in_chats, const RecallOptions& options) {
  return RecallTest(access, latents, reading, questions, options).run(in_chats);
}

}  // namespace assay
