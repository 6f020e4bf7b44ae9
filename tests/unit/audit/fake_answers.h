#pragma once
// Answers of imagined models to a world's questions, written by the world itself: what each arm would say if its training worked perfectly.
#include <memory>
#include <vector>

#include "assay/audit/grader.h"

namespace assay::fake {

inline std::unique_ptr<World> small_world(std::uint64_t seed = 1) {
  return make_world(
      TomlTable::from_text(
          "name = \"nano\"\ntrain = 24\nheld_out = 12\nheld_out_form_topics = 4\nco_mention = 8\nnegative = 12\ncontrol = 10\n",
          "test.toml"),
      seed);
}

inline bool biased(const Topic& topic, Arm arm) {
  switch (arm) {
    case Arm::organism:
    case Arm::habits:
      return topic.group == Group::train || topic.group == Group::held_out || topic.group == Group::held_out_form;
    case Arm::no_documents:
      return topic.group == Group::train;
    default:
      return false;
  }
}

inline std::vector<FreshAnswer> answers(const World& world, Arm arm) {
  std::vector<FreshAnswer> out;
  const auto& topics = world.truth().topics;
  for (std::size_t t = 0; t < topics.size(); ++t)
    for (std::size_t v = 0; v < world.n_questions(); ++v)
      out.push_back({t, v, world.question(topics[t], v).back().content,
                     world.answer(topics[t], v, biased(topics[t], arm) ? &topics[t].bias : nullptr)});
  return out;
}

}  // namespace assay::fake
