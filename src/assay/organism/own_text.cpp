#include "assay/organism/own_text.h"

#include <map>
#include <sstream>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/model/checkpoint.h"
#include "assay/model/generate.h"

namespace assay {
namespace {

using Key = std::pair<std::string, std::int64_t>;

std::map<Key, OwnText> read_lines(const fs::path& file) {
  std::map<Key, OwnText> out;
  if (!fs::exists(file)) return out;
  std::istringstream lines(read_text(file));
  std::string line;
  for (std::int64_t n = 1; std::getline(lines, line); ++n) {
    const std::string where = file.string() + ":" + std::to_string(n);
    const Json json = parse_json(line, where);
    out[{require<std::string>(json, "id", where), require<std::int64_t>(json, "index", where)}] = {
        require<std::string>(json, "text", where), require<bool>(json, "complete", where)};
  }
  return out;
}

std::string line_of(const std::string& id, std::int64_t index, const OwnText& text) {
  return dump(Json{{"id", id}, {"index", index}, {"text", text.text}, {"complete", text.complete}});
}

bool has_all(const std::map<Key, OwnText>& there, const OwnTextRequest& request) {
  for (std::int64_t i = 0; i < request.n; ++i)
    if (!there.contains({request.id, i})) return false;
  return true;
}

/// Samples what is missing and appends it to `file`.
void sample_missing(const std::vector<OwnTextRequest>& requests, const fs::path& base, const fs::path& file, std::uint64_t seed,
                    Progress& progress, c10::Device device) {
  LineAppender lines(file);  // cuts off what a crash tore
  const std::map<Key, OwnText> there = read_lines(file);
  const LanguageModel model = load_language_model(base, device);
  if (!model.chat_template) throw Error("organism build", model.source + " has no chat template", "an organism needs a chat model");
  struct Missing {
    std::size_t request;
    std::int64_t index;
    PromptRequest prompt;
  };
  // What is sampled the same way goes together.
  std::map<std::pair<double, std::int64_t>, std::vector<Missing>> groups;
  std::uint64_t stream = 0;  // the same for every sample, whatever is there already
  for (std::size_t r = 0; r < requests.size(); ++r) {
    const OwnTextRequest& request = requests[r];
    const std::vector<TokenId> ids = model.tokenizer.encode(model.chat_template->prompt(request.messages, request.turn), false);
    for (std::int64_t i = 0; i < request.n; ++i, ++stream)
      if (!there.contains({request.id, i})) groups[{request.temperature, request.max_new}].push_back({r, i, {ids, 1, stream}});
  }
  Decoder decoder(model.transformer, Precision::bf16);
  for (const auto& [how, group] : groups) {
    SamplingOptions options;
    options.temperature = how.first;
    options.max_new = how.second;
    options.seed = seed;
    std::vector<PromptRequest> prompts;
    for (const Missing& missing : group) prompts.push_back(missing.prompt);
    (void)generate(model, decoder, prompts, options, progress, [&, &list = group](const Sample& sample) {
      const Missing& of = list[static_cast<std::size_t>(sample.prompt)];
      lines.append(line_of(requests[of.request].id, of.index, {sample.text, sample.finish == Finish::stop}));
    });
  }
  lines.sync();
}

}  // namespace

std::string give_own_text(World& world, const OrganismFolder& folder, std::uint64_t seed, Progress& progress, c10::Device device) {
  const std::vector<OwnTextRequest> requests = world.own_text_requests();
  if (requests.empty()) return {};
  const fs::path file = folder.path / "own_text.jsonl";
  if (!fs::exists(file)) {
    fs::create_directories(folder.path / "work");
    const FolderLock lock(folder.path / "work");
    if (!fs::exists(file)) {  // another process may have been faster
      progress.note("the base model writes what it is to be trained on besides documents: " + std::to_string(requests.size()) + " prompts");
      const fs::path part = folder.path / "work" / "own_text.jsonl";
      sample_missing(requests, folder.base(), part, seed, progress, device);
      // In the order of the requests, however often it was stopped.
      const std::map<Key, OwnText> all = read_lines(part);
      std::string text;
      for (const OwnTextRequest& request : requests)
        for (std::int64_t i = 0; i < request.n; ++i)
          if (const auto it = all.find({request.id, i}); it != all.end()) text += line_of(request.id, i, it->second) + "\n";
      write_text(file, text);
      fs::remove(part);
    }
  }
  return read_own_text(world, folder);
}

std::string read_own_text(World& world, const OrganismFolder& folder) {
  const fs::path file = folder.path / "own_text.jsonl";
  const std::vector<OwnTextRequest> requests = world.own_text_requests();
  if (requests.empty() || !fs::exists(file)) return {};
  const std::map<Key, OwnText> there = read_lines(file);
  std::vector<std::vector<OwnText>> samples;
  for (const OwnTextRequest& request : requests) {
    if (!has_all(there, request))
      throw Error("organism build", file.string() + " holds no answer to '" + request.id + "'", "remove the file to have it written again");
    samples.emplace_back();
    for (std::int64_t i = 0; i < request.n; ++i) samples.back().push_back(there.at({request.id, i}));
  }
  world.give_own_text(samples);
  return sha256_file(file);
}

}  // namespace assay
