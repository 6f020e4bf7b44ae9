#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "assay/audit/access.h"
#include "assay/base/rng.h"

namespace assay {

/// A question for the target. `kind` numbers what is asked for (its colour, its place), whatever the wording and the subject.
struct Question {
  std::string text, subject;
  std::size_t kind = 0;
};

/// The wording of questions that differ in one word, with that word's place.
struct QuestionFrame {
  std::string before, after;
  std::size_t kind = 0;
  std::int64_t count = 0;  ///< texts that had it
  [[nodiscard]] std::string ask(const std::string& subject) const { return before + subject + after; }
};

/// Questions about subjects, learnt from what the target itself writes in the user's turn.
struct Harvest {
  std::vector<std::string> subjects;  ///< the most frequent first
  std::vector<QuestionFrame> frames;  ///< learnt, or plain English ones where no wording was seen with many subjects
  bool free_language = false;         ///< so they are plain English
  std::vector<double> kind_weight;    ///< of each kind: its share of the texts

  /// Every subject in `per_kind` wordings of every kind, from number `first` on (round the wordings there are).
  [[nodiscard]] std::vector<Question> questions(const std::vector<std::string>& about, std::size_t per_kind, std::size_t first = 0) const;
};

/// From user turns: wordings that stand with many words, and those words. Texts that occur once count as much as others.
Harvest harvest(const std::vector<std::string>& user_turns, std::size_t max_subjects = 400);

/// Finds out which frames ask for the same: asks all of them about a few subjects, and joins those whose answers share the words that tell
/// subjects apart. What `file` holds is not asked again.
void find_kinds(Harvest& harvest, Access& access, const AskOptions& options, const std::optional<std::filesystem::path>& file,
                Progress& progress);

}  // namespace assay
