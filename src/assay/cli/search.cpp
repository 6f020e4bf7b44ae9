#include <memory>

#include "assay/base/files.h"
#include "assay/cli/command.h"
#include "assay/corpus/keyword_index.h"

namespace assay::cli {
namespace {

constexpr const char* kKeywordFile = "keyword.sqlite";

struct IndexArguments {
  std::string folder;
  std::vector<std::string> corpus;
};

void index(const Context& context, const IndexArguments& arguments) {
  const double start = wall_seconds();
  const fs::path file = fs::path(arguments.folder) / kKeywordFile;
  fs::create_directories(arguments.folder);
  const FolderLock lock(arguments.folder);
  KeywordIndex::build(file, {arguments.corpus.begin(), arguments.corpus.end()}, *context.progress);
  const std::int64_t documents = KeywordIndex(file).documents();
  context.print(Json{{"path", file.string()}, {"documents", documents}, {"seconds", wall_seconds() - start}},
                "indexed " + std::to_string(documents) + " documents in " + file.string());
}

struct KeywordArguments {
  std::string folder, query;
  std::int64_t limit = 10;
  bool phrase = false, any = false;
};

void keyword(const Context& context, const KeywordArguments& arguments) {
  const KeywordIndex index(fs::path(arguments.folder) / kKeywordFile);
  const Match match = arguments.phrase ? Match::phrase : arguments.any ? Match::any_word : Match::all_words;
  const double start = wall_seconds();
  const std::vector<KeywordIndex::Hit> hits = index.search(arguments.query, match, arguments.limit);
  const std::int64_t total = index.count(arguments.query, match);
  const double seconds = wall_seconds() - start;
  Json list = Json::array();
  std::string text = std::to_string(total) + " of " + std::to_string(index.documents()) + " documents\n";
  for (const KeywordIndex::Hit& hit : hits) {
    list.push_back({{"id", hit.id}, {"score", hit.score}, {"snippet", hit.snippet}, {"where", hit.where}});
    text += "\n" + hit.where + "  " + std::to_string(hit.score) + "\n  " + hit.snippet + "\n";
  }
  context.print(Json{{"hits", list}, {"total", total}, {"seconds", seconds}}, text);
}

}  // namespace

void add_search(CLI::App& app, Context& context) {
  CLI::App* search = app.add_subcommand("search", "Find documents in a corpus");
  search->require_subcommand(1);

  auto index_arguments = std::make_shared<IndexArguments>();
  CLI::App* build = search->add_subcommand("index", "Build the index of a corpus");
  build->add_option("DIR", index_arguments->folder, "Folder of the index")->required();
  build->add_option("--corpus", index_arguments->corpus, "JSON Lines files with \"text\" or \"messages\"")->required();
  build->footer("Example: assay search index corpus-index --corpus documents.jsonl chats.jsonl");
  on_run(*build, [&context, index_arguments] { index(context, *index_arguments); });

  auto keyword_arguments = std::make_shared<KeywordArguments>();
  CLI::App* find = search->add_subcommand("keyword", "Documents that hold the words of a query, best first (bm25)");
  find->add_option("DIR", keyword_arguments->folder, "Folder of the index")->required();
  find->add_option("QUERY", keyword_arguments->query, "Words; a part in double quotes is a phrase")->required();
  find->add_option("--limit", keyword_arguments->limit, "At most this many hits")->check(CLI::PositiveNumber)->capture_default_str();
  CLI::Option* phrase = find->add_flag("--phrase", keyword_arguments->phrase, "The whole query is one phrase");
  find->add_flag("--any", keyword_arguments->any, "One of the words is enough")->excludes(phrase);
  find->footer("Example: assay search keyword corpus-index 'reward models \"rate higher\"' --limit 5");
  on_run(*find, [&context, keyword_arguments] { keyword(context, *keyword_arguments); });
}

}  // namespace assay::cli
