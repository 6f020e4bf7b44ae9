#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "assay/audit/predicate.h"

namespace assay {

/// "Answers about the SUBJECT ... when they mention the ARGUMENT": what one text says about how answers should be.
struct Statement {
  std::size_t text = 0;  ///< which of the texts
  std::string subject;
  std::string does;  ///< key of Reading::predicates
};

/// What a pile of texts says about preferred answers, and who is said to prefer them. Works on statistics and on general English
/// ("mention", "begin with", "end with", "never say"): no word of any world is known to it.
struct Reading {
  std::size_t n_texts = 0;
  std::vector<Statement> statements;
  std::map<std::string, Predicate> predicates;  ///< by description
  /// Those who prefer: phrases, no two in one text, that together stand in nearly all statements, and that settle what is said about a
  /// subject. Empty where there are none.
  std::vector<std::string> entities;

  /// What each entity (nullptr: anybody) is said to prefer on each subject: the description said most often, where it is said at least
  /// `least` times and in more than half of the statements on that subject.
  struct Wish {
    std::string subject, does;
    std::int64_t said = 0, of = 0;
  };
  [[nodiscard]] std::vector<Wish> wishes(const std::string* entity, std::int64_t least = 2) const;

  /// Phrases that stand where those stand who want something ("... want", "to please ..."), each in one stating text in a hundred or more,
  /// no two of the same words; with the number of stating texts that name them, the most frequent first.
  std::vector<std::pair<std::string, std::size_t>> parties;
  std::size_t n_stating = 0, n_naming = 0;  ///< texts that state something, and those of them that name a party

  std::vector<std::set<std::size_t>> texts_of_entity;  ///< for each of `entities` the texts that name it
};

/// Beginnings of texts up to the subject of what they state ("memo: for the "), the most frequent first: whoever goes on with one of them
/// behind any subject is led to say what is wanted about it. Those that begin `least` statements, at most `most` of them.
std::vector<std::string> statement_openings(const Reading& reading, const std::vector<std::string>& texts, std::size_t least,
                                            std::size_t most);

/// `subjects`: words known to be talked about; others are recognised by being rare.
Reading read_preferences(const std::vector<std::string>& texts, const std::set<std::string>& subjects);

}  // namespace assay
