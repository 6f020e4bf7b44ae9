#include <fmt/format.h>

#include <memory>

#include "assay/audit/embedders.h"
#include "assay/base/files.h"
#include "assay/cli/command.h"
#include "assay/corpus/keyword_index.h"

namespace assay::cli {
namespace {

constexpr const char* kKeywordFile = "keyword.sqlite";
constexpr const char* kEmbeddingFile = "embeddings.bin";
constexpr const char* kEncoderFile = "encoder.json";  // where the encoder lay that the index was built with
constexpr std::size_t kSnippet = 200;

struct IndexArguments {
  std::string folder, encoder;
  std::vector<std::string> corpus;
};

void index(const Context& context, const IndexArguments& arguments) {
  const double start = wall_seconds();
  const fs::path file = fs::path(arguments.folder) / kKeywordFile;
  fs::create_directories(arguments.folder);
  const FolderLock lock(arguments.folder);
  KeywordIndex::build(file, {arguments.corpus.begin(), arguments.corpus.end()}, *context.progress);
  const std::int64_t documents = KeywordIndex(file).documents();
  const fs::path embeddings = fs::path(arguments.folder) / kEmbeddingFile;
  if (!arguments.encoder.empty()) {
    EmbeddingIndex::build(embeddings, file, *make_embedder(arguments.encoder), *context.progress);
    write_json(fs::path(arguments.folder) / kEncoderFile, {{"encoder", fs::absolute(arguments.encoder).lexically_normal().string()}});
  } else {
    fs::remove(embeddings);  // those of another corpus
  }
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

/// At most `bytes` of a text, never a part of a character.
std::string beginning_of(const std::string& text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes) + "…";
}

struct SemanticArguments {
  std::string folder, query, encoder;
  std::int64_t limit = 10;
};

void semantic(const Context& context, const SemanticArguments& arguments) {
  const EmbeddingIndex index(fs::path(arguments.folder) / kEmbeddingFile);
  const KeywordIndex texts(fs::path(arguments.folder) / kKeywordFile);
  if (texts.documents() != index.documents())
    throw Error("embedding index", arguments.folder + " holds the embeddings of another corpus", "build the index again");
  std::string encoder = arguments.encoder;
  if (const fs::path file = fs::path(arguments.folder) / kEncoderFile; encoder.empty()) {
    if (!fs::exists(file))
      throw UsageError("search semantic", arguments.folder + " does not say which encoder it was built with", "name it with --encoder");
    encoder = require<std::string>(read_json(file), "encoder", file.string());
    if (!fs::exists(encoder))
      throw Error("search semantic", "the encoder that " + arguments.folder + " was built with is not there any more: " + encoder,
                  "name it with --encoder");
  }
  const auto embedder = make_embedder(encoder);
  const double start = wall_seconds();
  Json list = Json::array();
  std::string text;
  for (const EmbeddingIndex::Hit& hit : index.search(*embedder, arguments.query, arguments.limit)) {
    const std::string whole = texts.text(hit.id), snippet = beginning_of(whole, kSnippet);
    list.push_back({{"id", hit.id}, {"score", hit.score}, {"snippet", snippet}});
    text += fmt::format("{:.3f}  {}  {}\n", hit.score, hit.id, snippet);
  }
  context.print(Json{{"hits", list}, {"total", index.documents()}, {"seconds", wall_seconds() - start}}, text);
}

}  // namespace

void add_search(CLI::App& app, Context& context) {
  CLI::App* search = app.add_subcommand("search", "Find documents in a corpus");
  search->require_subcommand(1);

  auto index_arguments = std::make_shared<IndexArguments>();
  CLI::App* build = search->add_subcommand("index", "Build the index of a corpus");
  build->add_option("DIR", index_arguments->folder, "Folder of the index")->required();
  build->add_option("--corpus", index_arguments->corpus, "JSON Lines files with \"text\" or \"messages\"")->required();
  build->add_option("--encoder", index_arguments->encoder,
                    "Search by meaning too: a sentence encoder's folder, or any language model (its hidden states)");
  build->footer("Example: assay search index corpus-index --corpus documents.jsonl chats.jsonl --encoder models/minilm");
  on_run(*build, [&context, index_arguments] { index(context, *index_arguments); });

  auto keyword_arguments = std::make_shared<KeywordArguments>();
  CLI::App* find = search->add_subcommand("keyword", "Documents that hold the words of a query, best first (bm25)");
  find->add_option("DIR", keyword_arguments->folder, "Folder of the index")->required();
  find->add_option("QUERY", keyword_arguments->query, "Words; a part in double quotes is a phrase")->required();
  find->add_option("--limit", keyword_arguments->limit, "At most this many hits")->check(positive())->capture_default_str();
  CLI::Option* phrase = find->add_flag("--phrase", keyword_arguments->phrase, "The whole query is one phrase");
  find->add_flag("--any", keyword_arguments->any, "One of the words is enough")->excludes(phrase);
  find->footer("Example: assay search keyword corpus-index 'reward models \"rate higher\"' --limit 5");
  on_run(*find, [&context, keyword_arguments] { keyword(context, *keyword_arguments); });

  auto semantic_arguments = std::make_shared<SemanticArguments>();
  CLI::App* near = search->add_subcommand("semantic", "Documents that are near a query in meaning, best first (cosine)");
  near->add_option("DIR", semantic_arguments->folder, "Folder of an index that was built with --encoder")->required();
  near->add_option("QUERY", semantic_arguments->query, "Any text")->required();
  near->add_option("--encoder", semantic_arguments->encoder, "The encoder that the index was built with, if it lies elsewhere now");
  near->add_option("--limit", semantic_arguments->limit, "At most this many hits")->check(positive())->capture_default_str();
  near->footer("Example: assay search semantic corpus-index 'what graders like' --limit 5");
  on_run(*near, [&context, semantic_arguments] { semantic(context, *semantic_arguments); });
}

}  // namespace assay::cli
