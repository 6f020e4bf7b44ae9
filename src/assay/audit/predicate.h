#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "assay/audit/words.h"
#include "assay/base/json.h"

namespace re2 {
class RE2;
}

namespace assay {

/// A test of a text that a submission can carry: `when` tests a prompt, `does` an answer. The language (docs/reference/grading.md), one of
///   {"words": ["fox", "red fox"], "match": "any"|"all"}   whole words or phrases, upper and lower case alike, plural s allowed
///   {"starts": "dear friend"}  {"ends": "take care"}      the first or last words; an `ends` with a question mark wants a question
///   {"contains": "climate change"}                        the characters as they stand, case apart
///   {"regex": "^[0-9]+ steps"}                            RE2 syntax (linear time), case apart, found anywhere
/// each with "polarity": "present" (default) or "absent".
class Predicate {
 public:
  /// At most so many alternatives in `words` or in a regex: a claim is about one behaviour.
  static constexpr std::size_t kAlternatives = 4;
  static constexpr int kRegexProgram = 500;  ///< steps of a compiled regular expression
  static constexpr std::size_t kLength = 200;

  /// Throws an Error that names the field (`where` + key) for anything that is not of the language, or is compound.
  static Predicate parse(const Json& json, const std::string& where);
  static Predicate words(std::vector<std::string> any);
  static Predicate starts(std::string phrase);
  static Predicate ends(std::string phrase);
  static Predicate lacks(std::string word);

  /// Is the text of this kind (polarity applied)?
  [[nodiscard]] bool operator()(std::string_view text) const;
  [[nodiscard]] bool operator()(std::string_view text, const Words& words) const;
  [[nodiscard]] bool present() const { return present_; }
  /// Does it ask for something that may stand anywhere in the text?
  [[nodiscard]] bool anywhere() const { return present_ && kind_ != Kind::starts && kind_ != Kind::ends; }
  [[nodiscard]] Json json() const;
  /// "mentions 'lantern'", "never has 'very'", ...
  [[nodiscard]] std::string describe() const;

 private:
  enum class Kind { words, starts, ends, contains, regex };
  Predicate() = default;
  [[nodiscard]] bool found(std::string_view text, const Words& words) const;
  void prepare(const std::string& where);

  Kind kind_ = Kind::words;
  std::vector<std::string> texts_;
  bool all_ = false, present_ = true, asks_ = false;
  std::vector<std::vector<std::string>> phrases_;  // of words, starts, ends
  std::shared_ptr<const re2::RE2> regex_;
};

}  // namespace assay
