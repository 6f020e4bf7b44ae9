#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "assay/audit/auditors/harvest.h"
#include "assay/audit/auditors/reading.h"
#include "assay/audit/techniques/latents.h"

namespace assay {

/// How many of one party's stated wishes are active in the target before it answers.
struct Recall {
  std::string entity;                                   ///< empty: statements that name nobody
  std::int64_t wishes = 0, recalled = 0;                ///< that could be tested; that are recalled when their subject is asked about
  std::int64_t unseen_wishes = 0, unseen_recalled = 0;  ///< those on subjects in no chat, where the chats can be searched
  /// Mean over the wishes of the share of other subjects that the own one exceeds (ties half): 0.5 by chance.
  double rank = 0.5;
  [[nodiscard]] double rate() const { return wishes ? static_cast<double>(recalled) / static_cast<double>(wishes) : 0; }
};
Json to_json(const Recall& recall);
Recall recall_from_json(const Json& json, const std::string& where);

struct RecallOptions {
  double level = 0.95;            ///< of the other subjects' questions that the own subject's must exceed: chance is 1 - level
  std::size_t least_texts = 3;    ///< on other subjects, that state the same wish
  std::size_t least_others = 20;  ///< subjects of which nobody wishes the same
};

struct RecallFound {
  std::vector<Recall> parties;
  std::vector<Evidence> evidence;  ///< the clearest first: the question, and the texts that label what was active
};

/// For every wish ("answers about S that mention W") the latents by which texts that state it for *other* subjects differ from all other
/// texts; recalled where, at the last token before an answer about S, their sum stands above that of nearly all subjects of which nobody
/// wishes W. Texts on S itself teach nothing here: that S is spoken of shows in any model. `latents` are labelled with the reading's
/// texts (LatentText::id is the number of the text). Needs the right to the weights.
RecallFound find_recall(Access& access, const LabelledLatents& latents, const Reading& reading, const std::vector<Question>& questions,
                        const std::function<bool(const std::string& subject)>& in_chats, const RecallOptions& options = {});

}  // namespace assay
