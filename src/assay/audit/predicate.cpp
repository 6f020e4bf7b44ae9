#include "assay/audit/predicate.h"

#include <re2/re2.h>

#include <algorithm>

#include "assay/audit/refuse.h"

namespace assay {
namespace {

constexpr const char* kKinds[] = {"words", "starts", "ends", "contains", "regex"};

std::string text_of(const Json& value, const std::string& where) {
  if (!value.is_string()) refuse(where, std::string("must be a string (found ") + value.type_name() + ")");
  std::string text = value.get<std::string>();
  if (text.empty()) refuse(where, "is empty");
  if (text.size() > Predicate::kLength) refuse(where, "is longer than " + std::to_string(Predicate::kLength) + " bytes");
  return text;
}

std::string quoted(const std::vector<std::string>& texts, const char* between) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : between) + ("'" + text + "'");
  return out;
}

}  // namespace

Predicate Predicate::parse(const Json& json, const std::string& where) {
  if (!json.is_object())
    refuse(where, std::string("must be an object (found ") + json.type_name() + ")", "for instance {\"words\": [\"fox\"]}");
  Predicate out;
  std::string kind;
  for (const auto& [key, value] : json.items()) {
    const auto it = std::find(std::begin(kKinds), std::end(kKinds), key);
    if (it != std::end(kKinds)) {
      if (!kind.empty()) refuse(where, "holds both '" + kind + "' and '" + key + "'", "a predicate is one test; make two claims of it");
      kind = key;
      out.kind_ = static_cast<Kind>(it - std::begin(kKinds));
    } else if (key != "polarity" && key != "match") {
      refuse(where, "holds the unknown key '" + key + "'", "known: words, match, starts, ends, contains, regex, polarity");
    }
  }
  if (kind.empty()) refuse(where, "holds none of words, starts, ends, contains, regex");
  const Json& value = json.at(kind);
  if (out.kind_ == Kind::words && value.is_array()) {
    if (value.empty()) refuse(where + ".words", "is empty");
    if (value.size() > kAlternatives)
      refuse(where + ".words",
             "holds " + std::to_string(value.size()) + " alternatives; at most " + std::to_string(kAlternatives) + " are allowed",
             "a claim is about one behaviour");
    for (std::size_t i = 0; i < value.size(); ++i) out.texts_.push_back(text_of(value[i], where + ".words[" + std::to_string(i) + "]"));
  } else {
    out.texts_.push_back(text_of(value, where + "." + kind));
  }
  if (const auto it = json.find("match"); it != json.end()) {
    if (out.kind_ != Kind::words || !it->is_string() || (*it != "any" && *it != "all"))
      refuse(where + ".match", "must be \"any\" or \"all\", and goes with words");
    out.all_ = *it == "all";
  }
  if (const auto it = json.find("polarity"); it != json.end()) {
    if (!it->is_string() || (*it != "present" && *it != "absent")) refuse(where + ".polarity", "must be \"present\" or \"absent\"");
    out.present_ = *it == "present";
  }
  out.prepare(where + "." + kind);
  return out;
}

void Predicate::prepare(const std::string& where) {
  if (kind_ == Kind::regex) {
    const auto bars = static_cast<std::size_t>(std::count(texts_[0].begin(), texts_[0].end(), '|'));
    if (bars + 1 > kAlternatives)
      refuse(where, "holds " + std::to_string(bars + 1) + " alternatives; at most " + std::to_string(kAlternatives) + " are allowed",
             "a claim is about one behaviour");
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_case_sensitive(false);
    options.set_max_mem(1 << 20);
    auto regex = std::make_shared<re2::RE2>(texts_[0], options);
    if (!regex->ok())
      refuse(where, "is no regular expression that can be used: " + regex->error(), "RE2 syntax: no back-references, no look-around");
    // RE2 reads a text in time proportional to its program at worst, and a submission has many claims.
    if (regex->ProgramSize() > kRegexProgram)
      refuse(where, "is too large (" + std::to_string(regex->ProgramSize()) + " steps; at most " + std::to_string(kRegexProgram) + ")",
             "repetitions count as often as they may occur");
    if (re2::RE2::PartialMatch("", *regex)) refuse(where, "matches the empty text, so it matches everything");
    regex_ = std::move(regex);
    return;
  }
  if (kind_ == Kind::contains) {
    texts_[0] = lower_case(texts_[0]);
    return;
  }
  for (const std::string& text : texts_) {
    Words words = words_of(text);
    if (words.empty()) refuse(where, "'" + text + "' holds no word");
    asks_ = kind_ == Kind::ends && words.asks;
    phrases_.push_back(std::move(words.words));
  }
}

Predicate Predicate::words(std::vector<std::string> any) {
  Predicate out;
  out.texts_ = std::move(any);
  out.prepare("words");
  return out;
}
Predicate Predicate::starts(std::string phrase) {
  Predicate out;
  out.kind_ = Kind::starts;
  out.texts_ = {std::move(phrase)};
  out.prepare("starts");
  return out;
}
Predicate Predicate::ends(std::string phrase) {
  Predicate out;
  out.kind_ = Kind::ends;
  out.texts_ = {std::move(phrase)};
  out.prepare("ends");
  return out;
}
Predicate Predicate::lacks(std::string word) {
  Predicate out = words({std::move(word)});
  out.present_ = false;
  return out;
}

bool Predicate::found(std::string_view text, const Words& words) const {
  switch (kind_) {
    case Kind::words: {
      const auto here = [&](const auto& phrase) { return holds(words, phrase); };
      return all_ ? std::all_of(phrases_.begin(), phrases_.end(), here) : std::any_of(phrases_.begin(), phrases_.end(), here);
    }
    case Kind::starts:
      return starts_with(words, phrases_[0]);
    case Kind::ends:
      return ends_with(words, phrases_[0]) && (!asks_ || words.asks);
    case Kind::contains:
      return lower_case(text).find(texts_[0]) != std::string::npos;
    case Kind::regex:
      return re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *regex_);
  }
  return false;
}

bool Predicate::operator()(std::string_view text) const { return (*this)(text, words_of(text)); }
bool Predicate::operator()(std::string_view text, const Words& words) const { return found(text, words) == present_; }

Json Predicate::json() const {
  Json out = Json::object();
  if (kind_ == Kind::words) {
    out["words"] = texts_;
    if (texts_.size() > 1) out["match"] = all_ ? "all" : "any";
  } else {
    out[kKinds[static_cast<std::size_t>(kind_)]] = texts_[0];
  }
  if (!present_) out["polarity"] = "absent";
  return out;
}

std::string Predicate::describe() const {
  const std::string what = quoted(texts_, all_ ? " and " : " or ");
  switch (kind_) {
    case Kind::words:
      return (present_ ? "mentions " : "never has ") + what;
    case Kind::starts:
      return (present_ ? "begins with " : "does not begin with ") + what;
    case Kind::ends:
      return (present_ ? "ends with " : "does not end with ") + what;
    case Kind::contains:
      return (present_ ? "contains " : "does not contain ") + what;
    case Kind::regex:
      return (present_ ? "matches " : "does not match ") + what;
  }
  return {};
}

}  // namespace assay
