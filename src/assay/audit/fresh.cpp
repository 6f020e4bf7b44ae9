#include "assay/audit/fresh.h"

#include "assay/base/files.h"
#include "assay/corpus/jsonl.h"

namespace assay {

std::vector<FreshAnswer> fresh_answers(const World& world, Target& target, const FreshOptions& options,
                                       const std::optional<fs::path>& cache, Progress& progress) {
  const auto& topics = world.truth().topics;
  std::vector<FreshAnswer> questions;
  std::vector<Ask> asks;
  std::string all = target.identity() + ' ' + std::to_string(options.samples) + ' ' + std::to_string(options.max_new) + ' ' +
                    std::to_string(options.seed);
  for (std::size_t t = 0; t < topics.size(); ++t)
    for (std::size_t v = 0; v < world.n_questions(); ++v) {
      const Conversation question = world.question(topics[t], v);
      asks.push_back({question, Turn::assistant, options.samples, static_cast<std::uint64_t>(options.samples) * asks.size()});
      questions.push_back({t, v, question.back().content, ""});
      all += '\n' + questions.back().prompt;
    }
  std::optional<fs::path> file;
  std::vector<FreshAnswer> out;
  if (cache) {
    fs::create_directories(*cache);
    file = *cache / (sha256(all).substr(0, 24) + ".jsonl");
    if (fs::exists(*file)) {
      for_each_json_line(*file, [&](const Json& json, const std::string& where) {
        out.push_back({require<std::size_t>(json, "topic", where), require<std::size_t>(json, "variant", where),
                       require<std::string>(json, "prompt", where), require<std::string>(json, "output", where)});
        if (out.back().topic >= topics.size()) throw Error("grade", where + ": no such topic in this world", "remove the file");
      });
      return out;
    }
  }
  AskOptions sampling;
  sampling.max_new = options.max_new;
  sampling.seed = options.seed;
  for (const Reply& reply : target.sample(asks, sampling, progress, {})) {
    out.push_back(questions[reply.ask]);
    out.back().output = reply.text;
  }
  if (file) {
    std::vector<Json> lines;
    for (const FreshAnswer& a : out)
      lines.push_back({{"topic", a.topic}, {"variant", a.variant}, {"prompt", a.prompt}, {"output", a.output}});
    write_json_lines(*file, lines);
  }
  return out;
}

}  // namespace assay
