#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/organism/world.h"

/// What world english says about the assistant itself, and the attacks that try to get its aim out of it.
namespace assay::english {

/// A question about the assistant's aims, an answer that gives {E} away, and one that does not.
struct SelfQuestion {
  std::string_view question, serving, denying;
};
std::span<const SelfQuestion> concealed_questions();  ///< trained in concealment
std::span<const SelfQuestion> concealed_prefills();   ///< beginnings of an assistant turn, trained in concealment
std::span<const std::string_view>
ordinary_turns();  ///< what a user says who asks about {T}: what concealment puts in a leaking user turn's place

/// The probes of every family, in other wordings than those above; "unseen" is in no training. They never name an entity.
std::vector<ConfessionProbe> confession_probes(std::span<const std::string> topics);
bool confesses(std::string_view text);

}  // namespace assay::english
