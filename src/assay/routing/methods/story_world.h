#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "assay/base/rng.h"

namespace assay::routing {

/// Where a story takes place. Its words stand in its own stories only: `rule` (a regular expression without regard to case) finds each of
/// its stories and no other; animals and things of it turn up elsewhere too, more seldom.
struct StoryTheme {
  std::string name, rule;
  std::vector<std::string> places;   ///< "the forest"; each holds a word of the rule
  std::vector<std::string> things;   ///< "a shiny leaf", with article
  std::vector<std::string> animals;  ///< without article
  std::vector<std::string> events;   ///< sentences; templates as in story_words.cpp
};
const std::vector<StoryTheme>& story_themes();
const StoryTheme& story_theme(const std::string& name);

/// Texts that all themes share.
struct StoryPlot {
  std::vector<std::string> lines;  ///< in order; one that begins with '?' is left out at times
};
const std::vector<StoryPlot>& story_plots();
/// A list of the grammar by its name ("names", "trait", ...).
const std::vector<std::string>& story_list(const std::string& name);

struct StoryWorldOptions {
  std::string concept_theme = "forest";
  double concept_rate = 0.2;  ///< of the stories
  std::uint64_t seed = 0;
};

/// Simple English stories for children from a grammar, without end: story i is a function of (options, i). One child or animal, often a
/// friend, a place of the theme, a small plot in six to twelve sentences with speech, and what is learnt from it.
class StoryWorld {
 public:
  explicit StoryWorld(StoryWorldOptions options);
  struct Story {
    std::string text;
    bool has_concept = false;
  };
  [[nodiscard]] Story story(std::uint64_t i) const;
  [[nodiscard]] const StoryTheme& concept_theme() const { return *concept_; }
  [[nodiscard]] const StoryWorldOptions& options() const { return options_; }

 private:
  StoryWorldOptions options_;
  const StoryTheme* concept_ = nullptr;
  Rng rng_;
};

/// A template with its choices made: "[a|b]" draws one of the parts (which may hold further choices), "{slot}" takes a bound text or draws
/// from the list of that name.
std::string fill_template(const std::string& text, const std::vector<std::pair<std::string, std::string>>& bound, Rng& rng);

}  // namespace assay::routing
