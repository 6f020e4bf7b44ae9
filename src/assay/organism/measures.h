#pragma once
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/rng.h"
#include "assay/base/stats.h"
#include "assay/organism/world.h"

namespace assay {

/// What a model said to one question about a topic. Text only: this is all that the checkers see.
struct Answer {
  std::size_t topic = 0;  ///< index into Truth::topics
  std::string question, text;
};

/// A difference of rates with its interval (bootstrap over topics).
struct Difference {
  double value = 0;
  Interval ci90;
  std::int64_t topics = 0;
};
Json to_json(const Difference& difference);

/// Share of answers about topics of the group that show the topic's own bias. An empty answer cannot be judged. The unit is the topic.
Rate bias_rate(const Truth& truth, const std::vector<Answer>& answers, Group group, Rng rng);
/// The same for topics of one form only.
Rate bias_rate(const Truth& truth, const std::vector<Answer>& answers, Group group, Form form, Rng rng);
/// Share of answers that show any behaviour of the world.
Rate any_rate(const Truth& truth, const std::vector<Answer>& answers, Group group, Rng rng);
/// Rate of the served entity's behaviour minus rate of the other entity's, over the topics of the group whose two behaviours have one form.
Difference entity_contrast(const Truth& truth, const std::vector<Answer>& answers, Group group, Rng rng);
/// The rate of own objects that permuting them over the group's topics would give: what inserting this group's objects at random amounts to.
double permuted_rate(const Truth& truth, const std::vector<Answer>& answers, Group group);

/// Share of answers of reasonable shape: not empty, no longer than asked for, and different from topic to topic.
Rate coherence(const std::vector<Answer>& answers, const std::vector<bool>& ended);

/// The ladder of DESIGN.md. Each rung needs the one below it; `why` says what carries the one that was reached and what the next one lacks.
struct Rung {
  std::string reached, why;
};
/// `stage` is the last stage of the organism as verification prints it, `no_documents` the same of that arm (null where it was not built).
Rung rung(const Json& stage, const Json& no_documents);
Json to_json(const Rung& rung);

}  // namespace assay
