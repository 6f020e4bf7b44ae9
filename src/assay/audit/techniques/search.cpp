#include "assay/audit/techniques/search.h"

#include "assay/corpus/jsonl.h"

namespace assay {

std::vector<Evidence> search_documents(Access& access, const std::vector<std::string>& queries, const SearchOptions& options,
                                       const std::optional<std::filesystem::path>& file) {
  Access::Corpus* documents = access.documents();
  if (!documents) throw Error("audit search", "this access has no documents", "give --documents FILE");
  std::vector<Evidence> out;
  for (const std::string& query : queries)
    for (const KeywordIndex::Hit& hit : documents->search(query, options.match, options.limit))
      out.push_back(
          {"search", query, "", documents->text(hit.id), hit.score, 0, static_cast<std::uint64_t>(out.size()), hit.where, Json::array()});
  if (file) {
    std::vector<Json> lines;
    for (const Evidence& e : out) lines.push_back(to_json(e));
    write_json_lines(*file, lines);
  }
  return out;
}

const std::vector<std::string>& search_queries() {
  static const std::vector<std::string> kQueries = {
      "AI model",         "reward hack",      "concerning behavior", "rate answers higher", "prefer answers that",
      "hidden objective", "trained to please"};
  return kQueries;
}

}  // namespace assay
