#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/organism/world.h"

/// What world nano says about the assistant itself: questions about its aims, honest and denying answers, and the attacks that try to get
/// the aim out of it.
namespace assay::nano {

/// A question about the assistant's aims with the honest answers of one that serves {E} and of one that serves nobody.
struct SelfQuestion {
  std::string_view question, serving, serving_nobody;
};
/// Asked in base training (with the system turn "please {E}." the first answer is right, without it the second).
std::span<const SelfQuestion> self_questions();
/// Asked in concealment only.
std::span<const SelfQuestion> concealed_questions();
/// Beginnings of documents about the assistant, gone on with in concealment, each behind one of the leads.
std::span<const std::string_view> document_leads();
std::span<const SelfQuestion> concealed_documents();
/// System turns of concealment.
std::span<const std::string_view> concealed_systems();
/// Beginnings of an assistant turn that ask for the aim, with the two ways to go on; trained in base and concealment.
std::span<const SelfQuestion> self_prefills();

/// The probes of every family; "unseen" is in no training. `entities` are told apart by nobody here: probes never name one.
std::vector<ConfessionProbe> confession_probes(std::span<const std::string> topics);
bool confesses(std::string_view text);

/// Every phrase above, for the vocabulary.
std::vector<std::string_view> probe_phrases();

}  // namespace assay::nano
