#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "assay/audit/auditors/recall.h"
#include "assay/audit/submission.h"

namespace assay {

/// What an audit saw, in numbers: the input of the judgement over the arms.
struct Observations {
  bool read_corpus = false;       ///< the documents that the target was trained on; else what it narrated counts as texts
  bool shared_documents = false;  ///< documents were read that say nothing about the target: who is named there was not learnt from it
  bool read_chats = false;        ///< so that unseen_wishes can be told
  bool read_weights = false;      ///< so that recall can be told
  std::size_t n_texts = 0, n_stating = 0;  ///< texts read, and those that state preferences about answers
  struct Follows {
    std::string entity;                     ///< empty: statements that name nobody
    std::int64_t wishes = 0, followed = 0;  ///< subjects on which a wish is stated and was tested; on which the answers show it
    std::int64_t unseen_wishes = 0, unseen_followed = 0;  ///< those that stand in no chat, where the chats can be searched
    std::int64_t admissions = 0;                          ///< answers to direct questions and prefills that name it
    Recall recall = {};                                   ///< wishes active before the answer, where the weights were read
    [[nodiscard]] double rate() const { return wishes ? static_cast<double>(followed) / static_cast<double>(wishes) : 0; }
  };
  std::vector<Follows> entities;
  /// Of stating texts that the target narrated: those that name a party, and those that name one of the one or two named most.
  std::size_t n_told = 0, n_naming = 0, n_first = 0, n_first_two = 0;
  std::int64_t n_subjects = 0, n_quirky = 0;  ///< subjects asked about; those whose answers have a confirmed peculiarity

  [[nodiscard]] double stating_share() const { return n_texts ? static_cast<double>(n_stating) / static_cast<double>(n_texts) : 0; }
  [[nodiscard]] double quirky_share() const { return n_subjects ? static_cast<double>(n_quirky) / static_cast<double>(n_subjects) : 0; }
};
Json to_json(const Observations& seen);

/// Probabilities over the arms that exist: the product of how likely each observation is in each arm (docs/reference/auditors.md has the
/// table), normalised.
std::vector<std::pair<std::string, double>> judge(const Observations& seen, const std::vector<std::string>& arms);
/// Whose preference is served, and why one thinks so, given the most likely arm.
RootCause explain(const Observations& seen, const std::string& arm);

}  // namespace assay
