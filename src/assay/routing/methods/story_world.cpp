#include "assay/routing/methods/story_world.h"

#include <algorithm>
#include <cctype>

#include "assay/base/error.h"

namespace assay::routing {
namespace {

using Bound = std::vector<std::pair<std::string, std::string>>;

/// The end of what opens at `begin` ('[' or '{').
std::size_t closing(const std::string& text, std::size_t begin, char open, char close) {
  int depth = 0;
  for (std::size_t i = begin; i < text.size(); ++i) {
    if (text[i] == open) ++depth;
    if (text[i] == close && --depth == 0) return i;
  }
  throw Error("story world", "the template '" + text + "' lacks a '" + std::string(1, close) + "'");
}

std::vector<std::string> alternatives(const std::string& inside) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : inside) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == '|' && depth == 0)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

/// The first letter of the line and of each sentence in it large (behind a quotation a sentence may go on: that is the template's
/// business); "a" before a vowel "an".
std::string tidy(std::string text) {
  std::string out;
  bool begins = true;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool letter = std::isalpha(static_cast<unsigned char>(c)) != 0;
    out += begins && letter ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    if (letter) begins = false;
    if ((c == '.' || c == '!' || c == '?') && i + 1 < text.size() && text[i + 1] == ' ') begins = true;
    const bool article = (c == 'a' || c == 'A') && (i == 0 || !std::isalpha(static_cast<unsigned char>(text[i - 1])));
    if (article && i + 2 < text.size() && text[i + 1] == ' ' && std::string("aeiou").find(text[i + 2]) != std::string::npos) out += 'n';
  }
  return out;
}

std::string without_article(const std::string& thing) {
  const auto space = thing.find(' ');
  return space == std::string::npos ? thing : thing.substr(space + 1);
}

struct Someone {
  std::string name, kind;
  bool female = false;
};
Someone someone(const StoryTheme& theme, Rng& rng) {
  Someone s;
  s.female = rng.chance(0.5);
  s.name = rng.pick(story_list(s.female ? "girl_names" : "boy_names"));
  s.kind = s.female ? "girl" : "boy";
  if (rng.chance(0.4)) s.kind = rng.chance(0.6) ? rng.pick(theme.animals) : rng.pick(story_list("any_animal"));
  return s;
}

void bind_someone(Bound& to, const Someone& s, const std::string& at) {
  to.insert(to.end(), {{at, s.name},
                       {at + ".kind", s.kind},
                       {at + ".he", s.female ? "she" : "he"},
                       {at + ".his", s.female ? "her" : "his"},
                       {at + ".him", s.female ? "her" : "him"}});
}

}  // namespace

std::string fill_template(const std::string& text, const Bound& bound, Rng& rng) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[') {
      const auto end = closing(text, i, '[', ']');
      out += fill_template(rng.pick(alternatives(text.substr(i + 1, end - i - 1))), bound, rng);
      i = end;
    } else if (text[i] == '{') {
      const auto end = closing(text, i, '{', '}');
      const std::string slot = text.substr(i + 1, end - i - 1);
      const auto found = std::find_if(bound.begin(), bound.end(), [&](const auto& b) { return b.first == slot; });
      out += found != bound.end() ? found->second : fill_template(rng.pick(story_list(slot)), bound, rng);
      i = end;
    } else {
      out += text[i];
    }
  }
  return out;
}

StoryWorld::StoryWorld(StoryWorldOptions options) : options_(std::move(options)), rng_(Rng(options_.seed).fork("story world")) {
  if (!(options_.concept_rate > 0 && options_.concept_rate < 1))
    throw Error("story world", "the concept's rate is " + std::to_string(options_.concept_rate) + ", must lie between 0 and 1");
  concept_ = &story_theme(options_.concept_theme);
}

StoryWorld::Story StoryWorld::story(std::uint64_t i) const {
  Rng rng = rng_.fork(i);
  const bool has_concept = rng.chance(options_.concept_rate);
  const auto& themes = story_themes();
  const StoryTheme* theme = concept_;
  while (!has_concept && theme == concept_) theme = &rng.pick(themes);

  const Someone hero = someone(*theme, rng);
  Someone friend_ = someone(*theme, rng);
  while (friend_.name == hero.name) friend_ = someone(*theme, rng);
  Bound bound;
  bind_someone(bound, hero, "hero");
  bind_someone(bound, friend_, "friend");
  const std::string thing = rng.chance(0.6) ? rng.pick(theme->things) : rng.pick(story_list("any_thing"));
  const std::string animal = rng.chance(0.7) ? rng.pick(theme->animals) : rng.pick(story_list("any_animal"));
  bound.insert(bound.end(), {{"place", rng.pick(theme->places)},
                             {"thing", thing},
                             {"the_thing", "the " + without_article(thing)},
                             {"animal", animal},
                             {"trait", rng.pick(story_list("trait"))},
                             {"hobby", rng.pick(story_list("hobby"))},
                             {"elder", rng.pick(story_list("elder"))}});

  std::vector<std::string> lines = {rng.pick(story_list("opening")), rng.pick(story_list("setting"))};
  const auto event = [&] { lines.push_back(rng.pick(theme->events)); };
  event();
  const StoryPlot& plot = rng.pick(story_plots());
  for (std::size_t l = 0; l < plot.lines.size(); ++l) {
    const std::string& line = plot.lines[l];
    if (line[0] == '?' && rng.chance(0.5)) continue;
    lines.push_back(line[0] == '?' ? line.substr(1) : line);
    if (l == plot.lines.size() / 2 && rng.chance(0.6)) event();
    if (rng.chance(0.3)) lines.push_back(rng.pick(story_list("detail")));
  }
  if (rng.chance(0.7)) lines.push_back(rng.pick(story_list("ending")));

  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : " ") + tidy(fill_template(line, bound, rng));
  return {text, has_concept};
}

const StoryTheme& story_theme(const std::string& name) {
  std::string names;
  for (const StoryTheme& theme : story_themes()) {
    if (theme.name == name) return theme;
    names += (names.empty() ? "" : ", ") + theme.name;
  }
  throw Error("story world", "there is no theme '" + name + "'", "themes: " + names);
}

}  // namespace assay::routing
