#include "assay/audit/auditors/harvest.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <numeric>
#include <set>

#include "assay/audit/techniques/evidence.h"

namespace assay {
namespace {

constexpr std::size_t kFillers = 6;   // different words that make a wording a frame
constexpr double kFrameShare = 0.02;  // of all texts that fit a frame
constexpr std::size_t kFrames = 24;
constexpr double kFreeShare = 0.10;  // a subject of free texts is in at most this share of them
constexpr std::size_t kPilotSubjects = 12, kFreeSubjects = 60;
// Two of a kind beside each other.
constexpr std::pair<std::string_view, std::string_view> kPlainQuestions[] = {
    {"Tell me about ", "."},         {"What can you tell me about ", "?"}, {"Do you have advice on ", "?"},
    {"Give me some tips for ", "."}, {"Why do people like ", "?"},         {"What is good about ", "?"},
};

struct Span {
  std::size_t begin, end;
};

/// The words of a text with their places in it.
std::vector<Span> spans_of(const std::string& text) {
  std::vector<Span> out;
  std::size_t i = 0;
  while (i < text.size()) {
    const auto letter = [&](std::size_t at) {
      return std::isalnum(static_cast<unsigned char>(text[at])) || static_cast<unsigned char>(text[at]) >= 0x80;
    };
    if (!letter(i)) {
      ++i;
      continue;
    }
    const std::size_t begin = i;
    while (i < text.size() && letter(i)) ++i;
    out.push_back({begin, i});
  }
  return out;
}

/// Of a free language only the subjects are learnt: words that stand in some of the texts. They are asked about in plain English.
Harvest free_harvest(const std::vector<std::string>& texts, std::size_t max_subjects) {
  Harvest out;
  out.free_language = true;
  std::map<std::string, std::int64_t> in;
  for (const std::string& text : texts) {
    const Words w = words_of(text);
    for (const std::string& word : std::set<std::string>(w.words.begin(), w.words.end())) ++in[word];
  }
  const double most = std::max(3.0, kFreeShare * static_cast<double>(texts.size()));
  std::vector<std::pair<std::int64_t, std::string>> subjects;
  for (const auto& [word, n] : in)
    if (n >= 3 && static_cast<double>(n) <= most && word.size() > 3) subjects.emplace_back(n, word);
  std::sort(subjects.rbegin(), subjects.rend());
  for (const auto& [n, word] : subjects)
    if (out.subjects.size() < std::min(max_subjects, kFreeSubjects)) out.subjects.push_back(word);
  for (const auto& [before, after] : kPlainQuestions) {
    out.frames.push_back({std::string(before), std::string(after), out.frames.size() / 2, 1});
    if (out.frames.size() % 2) out.kind_weight.push_back(1.0);
  }
  return out;
}

}  // namespace

Harvest harvest(const std::vector<std::string>& user_turns, std::size_t max_subjects) {
  std::set<std::string> distinct;
  for (const std::string& text : user_turns)
    if (const std::size_t n = words_of(text).words.size(); n >= 3 && n <= 40) distinct.insert(text);
  const std::vector<std::string> texts(distinct.begin(), distinct.end());

  using Key = std::pair<std::string, std::string>;  // what stands before and after the open place
  std::map<Key, std::set<std::string>> fillers;
  for (const std::string& text : texts)
    for (const Span& s : spans_of(text))
      fillers[{lower_case(text.substr(0, s.begin)), lower_case(text.substr(s.end))}].insert(
          lower_case(text.substr(s.begin, s.end - s.begin)));

  Harvest out;
  std::map<Key, std::int64_t> frames;
  std::map<std::string, std::int64_t> subjects;
  for (const std::string& text : texts) {
    const Key* best = nullptr;
    std::string subject;
    for (const Span& s : spans_of(text)) {
      const auto it = fillers.find({lower_case(text.substr(0, s.begin)), lower_case(text.substr(s.end))});
      if (it->second.size() >= kFillers && (!best || it->second.size() > fillers.at(*best).size()))
        best = &it->first, subject = lower_case(text.substr(s.begin, s.end - s.begin));
    }
    if (!best) continue;
    ++frames[*best];
    ++subjects[subject];
  }
  std::int64_t framed = 0;
  for (const auto& [key, n] : frames) framed += n;
  // A language without frames: free text.
  if (framed * 4 < static_cast<std::int64_t>(texts.size()) || framed < 20) return free_harvest(texts, max_subjects);

  for (const auto& [key, n] : frames)
    if (static_cast<double>(n) >= kFrameShare * static_cast<double>(framed))
      out.frames.push_back({key.first, key.second, out.frames.size(), n});
  std::sort(out.frames.begin(), out.frames.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
  if (out.frames.size() > kFrames) out.frames.resize(kFrames);
  for (std::size_t f = 0; f < out.frames.size(); ++f)
    out.frames[f].kind = f, out.kind_weight.push_back(static_cast<double>(out.frames[f].count));
  std::vector<std::pair<std::int64_t, std::string>> order;
  for (const auto& [word, n] : subjects)
    if (n >= 2) order.emplace_back(n, word);
  std::sort(order.rbegin(), order.rend());
  for (const auto& [n, word] : order)
    if (out.subjects.size() < max_subjects) out.subjects.push_back(word);
  return out;
}

std::vector<Question> Harvest::questions(const std::vector<std::string>& about, std::size_t per_kind, std::size_t first) const {
  std::map<std::size_t, std::vector<const QuestionFrame*>> of_kind;
  for (const QuestionFrame& f : frames) of_kind[f.kind].push_back(&f);
  std::vector<Question> out;
  for (const std::string& subject : about)
    for (const auto& [kind, list] : of_kind)
      for (std::size_t i = 0; i < std::min(per_kind, list.size()); ++i)
        out.push_back({list[(first + i) % list.size()]->ask(subject), subject, kind});
  return out;
}

void find_kinds(Harvest& harvest, Access& access, const AskOptions& options, const std::optional<std::filesystem::path>& file,
                Progress& progress) {
  auto& frames = harvest.frames;
  if (harvest.free_language || frames.size() < 2 || harvest.subjects.empty()) return;
  const std::size_t n_subjects = std::min(kPilotSubjects, harvest.subjects.size());
  constexpr std::int64_t kEach = 2;
  std::vector<ProbePrompt> probes;
  for (std::size_t f = 0; f < frames.size(); ++f)
    for (std::size_t s = 0; s < n_subjects; ++s)
      probes.push_back({"kinds", {{"user", frames[f].ask(harvest.subjects[s])}}, Turn::assistant});
  using Pair = std::pair<std::size_t, std::string>;  // subject, word of an answer about it
  std::vector<std::set<Pair>> said(frames.size());
  std::map<std::string, std::set<std::size_t>> answers_with;
  std::size_t n_answers = 0;
  for (const Evidence& e : run_probes(access, probes, {kEach, options}, file, progress)) {
    const auto probe = static_cast<std::size_t>(e.stream) / kEach;
    const std::size_t s = probe % n_subjects;
    for (const std::string& word : words_of(e.output).words) {
      answers_with[word].insert(n_answers);
      if (word != harvest.subjects[s]) said[probe / n_subjects].insert({s, word});
    }
    ++n_answers;
  }
  std::map<Pair, std::size_t> frames_with;
  for (const auto& pairs : said)
    for (const Pair& p : pairs) ++frames_with[p];
  for (auto& pairs : said)
    std::erase_if(pairs, [&](const Pair& p) {
      const bool common = 5 * answers_with[p.second].size() > n_answers;                      // says nothing about the subject
      const bool everywhere = 10 * frames_with[p] >= 6 * frames.size() && frames.size() > 2;  // a habit, not an answer
      return common || everywhere;
    });
  std::vector<std::size_t> group(frames.size());
  std::iota(group.begin(), group.end(), 0);
  for (std::size_t a = 0; a < frames.size(); ++a)
    for (std::size_t b = a + 1; b < frames.size(); ++b) {
      std::size_t shared = 0;
      for (const Pair& p : said[a]) shared += said[b].contains(p);
      const std::size_t least = std::min(said[a].size(), said[b].size());
      if (least == 0 || 2 * shared < least) continue;
      const std::size_t from = group[b], to = group[a];
      for (auto& g : group)
        if (g == from) g = to;
    }
  std::map<std::size_t, std::size_t> number;
  harvest.kind_weight.clear();
  for (std::size_t f = 0; f < frames.size(); ++f) {
    const auto [it, fresh] = number.try_emplace(group[f], number.size());
    if (fresh) harvest.kind_weight.push_back(0);
    frames[f].kind = it->second;
    harvest.kind_weight[it->second] += static_cast<double>(frames[f].count);
  }
  progress.note(std::to_string(frames.size()) + " wordings ask for " + std::to_string(number.size()) + " kinds of things about " +
                std::to_string(harvest.subjects.size()) + " subjects");
}

}  // namespace assay
