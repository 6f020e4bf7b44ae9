#include "assay/audit/sample_file.h"

#include <fmt/format.h>

#include <map>
#include <numeric>

#include "assay/audit/access.h"
#include "assay/base/files.h"
#include "assay/corpus/jsonl.h"

namespace assay {
namespace {

const char* name_of(Turn turn) { return turn == Turn::assistant ? "assistant" : turn == Turn::user ? "user" : "raw"; }

/// What the samples depend on besides the prompts.
Json settings(const LanguageModel& model, const SampleFileOptions& options) {
  const SamplingOptions& s = options.sampling;
  return {{"n", options.n},
          {"seed", s.seed},
          {"turn", name_of(options.turn)},
          {"sampling",
           {{"temperature", s.temperature},
            {"top_k", s.top_k},
            {"top_p", s.top_p},
            {"min_p", s.min_p},
            {"max_new", s.max_new},
            {"stop", s.stop},
            {"stop_at_eos", s.stop_at_eos},
            {"dtype", s.precision == Precision::f32 ? "f32" : "bf16"}}},
          {"model", weights_sha256(model.source)}};
}

/// The part of a line that is known before the sample is drawn.
Json beginning_of_line(const NamedPrompt& prompt, std::int64_t index) {
  const Message& last = prompt.messages.back();
  return {{"id", prompt.id}, {"index", index}, {"messages", to_json(prompt.messages)}, {"prefill", last.prefilled ? last.content : ""}};
}

Json line_of(const NamedPrompt& prompt, std::int64_t index, const Sample& s, const Json& settings) {
  Json line = beginning_of_line(prompt, index);
  line.update({{"text", s.text},
               {"tokens", s.ids.size()},
               {"finish", s.finish == Finish::stop ? "stop" : "length"},
               {"logprob", std::accumulate(s.logprobs.begin(), s.logprobs.end(), 0.0)},
               {"stream", s.stream}});
  line.update(settings);
  return line;
}

void require_same(const Json& line, const Json& wanted, const std::string& where) {
  for (const auto& [key, value] : wanted.items()) {
    const Json found = value_or<Json>(line, key, nullptr, where);
    // Compared as text: a number read back from a file has another type than one from a program.
    if (dump(found) != dump(value))
      throw Error("sampling", fmt::format("{} has '{}': {}; this run has {}", where, key, dump(found), dump(value)),
                  "choose another --out, remove the file, or repeat the settings that it was begun with");
  }
}

using Lines = std::map<std::uint64_t, Json>;  // by stream

Lines read_lines(const fs::path& file, const std::vector<NamedPrompt>& prompts, std::int64_t n, const Json& settings) {
  Lines lines;
  if (!fs::is_regular_file(file)) return lines;  // a pipe or device: only written
  for_each_json_line(file, [&](const Json& line, const std::string& where) {
    const auto stream = require<std::uint64_t>(line, "stream", where);
    require_same(line, settings, where);
    const auto p = stream / static_cast<std::uint64_t>(n), i = stream % static_cast<std::uint64_t>(n);
    if (p >= prompts.size()) throw Error("sampling", where + " is of a prompt that is not among the present ones", "choose another --out");
    require_same(line, beginning_of_line(prompts[p], static_cast<std::int64_t>(i)), where);
    (void)require<std::string>(line, "text", where);
    lines.emplace(stream, line);
  });
  return lines;
}

/// One request for each run of streams that the file lacks.
std::vector<PromptRequest> missing(const std::vector<std::vector<TokenId>>& ids, std::int64_t n, const Lines& lines) {
  std::vector<PromptRequest> requests;
  for (std::size_t p = 0; p < ids.size(); ++p) {
    const std::uint64_t first = p * static_cast<std::uint64_t>(n), end = first + static_cast<std::uint64_t>(n);
    for (std::uint64_t stream = first; stream < end; ++stream) {
      if (lines.contains(stream)) continue;
      if (stream > first && !lines.contains(stream - 1))
        ++requests.back().n;
      else
        requests.push_back({ids[p], 1, stream});
    }
  }
  return requests;
}

std::vector<TokenId> checked_ids(const LanguageModel& model, const NamedPrompt& prompt, Turn turn) {
  std::vector<TokenId> ids = prompt_ids(model, prompt.messages, turn);
  const auto context = model.transformer.config.n_ctx, length = static_cast<std::int64_t>(ids.size());
  if (length >= context)
    throw Error("sampling",
                fmt::format("the prompt with id {} has {} tokens, which leaves no room for an answer in the model's context of {}",
                            dump(prompt.id), length, context),
                "shorten or remove it; nothing was sampled");
  return ids;
}

}  // namespace

SampleFileSummary sample_to_file(const LanguageModel& model, const std::vector<NamedPrompt>& prompts, const SampleFileOptions& options,
                                 const fs::path& file, Progress& progress) {
  std::vector<std::vector<TokenId>> ids;
  for (const NamedPrompt& prompt : prompts) ids.push_back(checked_ids(model, prompt, options.turn));
  const Json common = settings(model, options);
  LineAppender appender(file);  // keeps others away, cuts a torn last line
  Lines lines = read_lines(file, prompts, options.n, common);
  SampleFileSummary summary{.samples = static_cast<std::int64_t>(prompts.size()) * options.n,
                            .resumed = static_cast<std::int64_t>(lines.size())};
  if (summary.resumed > 0) progress.note(fmt::format("{} samples are in {} already", summary.resumed, file.string()));
  if (summary.resumed < summary.samples) {
    generate(model, missing(ids, options.n, lines), options.sampling, progress, [&](const Sample& s) {
      const auto n = static_cast<std::uint64_t>(options.n);
      Json line = line_of(prompts[s.stream / n], static_cast<std::int64_t>(s.stream % n), s, common);
      appender.append(dump(line));
      lines.emplace(s.stream, std::move(line));
    });
    if (fs::is_regular_file(file)) {
      std::vector<Json> in_order;
      for (auto& [stream, line] : lines) in_order.push_back(line);
      write_json_lines(file, in_order);
    }
  }
  for (const auto& [stream, line] : lines) summary.tokens += require<std::int64_t>(line, "tokens", file.string());
  return summary;
}

}  // namespace assay
