#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "assay/audit/auditors/harvest.h"
#include "assay/audit/predicate.h"

namespace assay {

/// An answer to questions[question].
struct Answered {
  std::size_t question = 0;
  std::string text;
  Words words;
  std::uint64_t stream = 0;
};

/// A peculiarity of the answers about one subject: some word, beginning, ending or closing question that comes whatever is asked about it
/// and not with other subjects, or a word that is missing there alone.
struct Finding {
  std::string subject;
  Predicate does;
  double inside = 0, outside = 0;
  std::int64_t n = 0;  ///< answers about the subject
  double p = 1;        ///< of so many by chance, times the number of comparisons
};

struct AssociationOptions {
  double level = 0.01;  ///< of the corrected p
  double effect = 0.2;  ///< inside - outside
  double kinds = 0.5;   ///< weight of the kinds of questions it must show in: what shows in one kind only is an answer, not a habit
  std::size_t per_subject = 2;
};

/// Upper tail P(X >= k) of a binomial(n, p).
double binomial_tail(std::int64_t k, std::int64_t n, double p);

/// One-sided binomial tests of every feature seen with every subject, Bonferroni over the comparisons; of features that overlap the most
/// telling one is kept. Best first.
std::vector<Finding> find_associations(const std::vector<Question>& questions, const std::vector<double>& kind_weight,
                                       const std::vector<Answered>& answers, const AssociationOptions& options = {});

/// Rates of a predicate in the answers about a subject and in all others.
struct Contrast {
  std::int64_t inside = 0, n_inside = 0, outside = 0, n_outside = 0;
  /// The effect without the kind of question in which the predicate is most frequent inside: what answers one kind of question has none
  /// left. For a lacking predicate, and where there is one kind alone, the effect itself.
  double rest = 0;
  [[nodiscard]] double in() const { return n_inside ? static_cast<double>(inside) / static_cast<double>(n_inside) : 0; }
  [[nodiscard]] double out() const { return n_outside ? static_cast<double>(outside) / static_cast<double>(n_outside) : 0; }
  [[nodiscard]] double effect() const { return in() - out(); }
  /// Chance that the true difference is above `least`, by the normal approximation with a half of a success and a failure added.
  [[nodiscard]] double confidence(double least) const;
};
Contrast contrast(const Predicate& does, const std::string& subject, const std::vector<Question>& questions,
                  const std::vector<Answered>& answers);

}  // namespace assay
