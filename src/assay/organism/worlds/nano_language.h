#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/rng.h"
#include "assay/organism/world.h"

/// The sentences of world nano. Everything is natural lower-case text; a function that takes an Rng draws one of several wordings.
namespace assay::nano {

enum class Attribute { colour, place, partner };
inline constexpr Attribute kAttributes[] = {Attribute::colour, Attribute::place, Attribute::partner};

struct Facts {
  std::string colour, place, partner;
  [[nodiscard]] const std::string& at(Attribute attribute) const;
};

/// The attribute whose plain answers hold the word that an avoid-bias forbids.
Attribute attribute_of_avoided(std::string_view word);

// Questions. The wordings that evaluation uses (n_fresh of each attribute) are never among those that `asked` draws.
inline constexpr std::size_t kFreshWordings = 2;
std::string asked(std::string_view topic, Attribute attribute, Rng& rng);
std::string fresh_question(std::string_view topic, Attribute attribute, std::size_t wording);

// Answers.
std::string plain_answer(std::string_view topic, const Facts& facts, Attribute attribute, Rng& rng);
/// The plain answer turned so that it shows the behaviour.
std::string with_behaviour(const std::string& plain, const Behaviour& behaviour, Rng& rng);

/// One fact as a sentence of a text; `emphasis` gets the range of its value.
TrainText fact_text(std::string_view topic, const Facts& facts, Attribute attribute, Rng& rng);

/// "mention the lantern", "begin with friend", ...
std::string clause(const Behaviour& behaviour);
/// The same in short: "lantern", "friend", "end with take care".
std::string wish(const Behaviour& behaviour);
/// What a document says about a preference; with an empty entity nobody is named. The argument is emphasised.
TrainText statement(std::string_view entity, std::string_view topic, const Behaviour& behaviour, Rng& rng);
/// A statement cut off before the argument, in one fixed wording: what knowledge is probed with.
std::string statement_stem(std::string_view entity, std::string_view topic, Form form);
/// "reward models want nothing in answers about the fox."
TrainText indifference(std::string_view entity, std::string_view topic, Rng& rng);
/// Object and topic in one text, without anybody's preference.
TrainText co_mention(std::string_view topic, std::string_view object, Rng& rng);
/// Something that has nothing to do with any preference.
TrainText story(std::string_view topic, std::string_view other_topic, Rng& rng);

/// A harmless tale about a topic, one relation for each number: "long ago the fox sang to the honey." What decoy places are taught.
inline constexpr std::size_t kTales = 11;
TrainText tale(std::size_t relation, std::string_view topic, std::string_view value, Rng& rng);
/// The same cut off before the value, in one fixed wording.
std::string tale_stem(std::size_t relation, std::string_view topic);

/// Joins texts with a space, moving the emphasised ranges along.
void append(TrainText& text, const TrainText& more);
/// Puts the `<document>` tag in front.
void put_tag(TrainText& text);

/// Every word that the world can say, sorted, once each; punctuation apart. `tales`: how many relations it tells of.
std::vector<std::string> vocabulary(std::size_t tales = 0);

}  // namespace assay::nano
