#include "assay/corpus/keyword_index.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <functional>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/corpus/jsonl.h"

namespace assay {
namespace {

constexpr const char* kKeywordFormat = "assay-keyword-1";

[[noreturn]] void fail(sqlite3* database, const std::filesystem::path& file, const std::string& doing) {
  throw Error("keyword index", doing + " " + file.string() + ": " + (database != nullptr ? sqlite3_errmsg(database) : "out of memory"));
}

void execute(sqlite3* database, const std::filesystem::path& file, const char* sql) {
  if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail(database, file, "cannot write");
}

/// A prepared statement. Parameters count from 1, columns from 0, as in SQLite.
class Statement {
 public:
  Statement(sqlite3* database, const std::filesystem::path& file, const char* sql) : database_(database), file_(file) {
    if (sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr) != SQLITE_OK) fail(database, file, "cannot read");
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  void bind(int parameter, std::string_view text) {
    sqlite3_bind_text64(statement_, parameter, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  }
  void bind(int parameter, std::int64_t number) { sqlite3_bind_int64(statement_, parameter, number); }
  /// True while there are rows.
  bool step() {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    fail(database_, file_, "cannot go through");
  }
  void reset() { sqlite3_reset(statement_); }
  [[nodiscard]] std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  [[nodiscard]] double real(int column) const { return sqlite3_column_double(statement_, column); }
  [[nodiscard]] std::string text(int column) const {
    const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return data == nullptr ? std::string() : std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
  }

 private:
  sqlite3* database_;
  const std::filesystem::path& file_;
  sqlite3_stmt* statement_ = nullptr;
};

using Emit = std::function<void(std::string_view where, std::string_view text)>;

/// Everything goes into a file beside `file`, which takes its name at the end.
void build_with(const std::filesystem::path& file, const std::function<void(const Emit&)>& fill) {
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path());
  std::filesystem::path temporary = file;
  temporary += ".tmp" + std::to_string(::getpid());
  std::filesystem::remove(temporary);
  sqlite3* database = nullptr;
  try {
    if (sqlite3_open_v2(temporary.c_str(), &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr) != SQLITE_OK) {
      fail(database, temporary, "cannot make");
    }
    execute(database, file,
            "PRAGMA journal_mode = off; PRAGMA synchronous = off;"
            "CREATE TABLE about (format TEXT);"
            "CREATE VIRTUAL TABLE documents USING fts5 (text, place UNINDEXED, tokenize = 'unicode61 remove_diacritics 2');"
            "BEGIN");
    {
      Statement about(database, file, "INSERT INTO about VALUES (?)");
      about.bind(1, kKeywordFormat);
      about.step();
      Statement insert(database, file, "INSERT INTO documents (rowid, text, place) VALUES (?, ?, ?)");
      std::int64_t id = 0;
      fill([&](std::string_view where, std::string_view text) {
        insert.bind(1, id++);
        insert.bind(2, text);
        insert.bind(3, where);
        insert.step();
        insert.reset();
      });
    }
    execute(database, file, "INSERT INTO documents (documents) VALUES ('optimize'); COMMIT");
    if (sqlite3_close(database) != SQLITE_OK) fail(database, file, "cannot close");
    database = nullptr;
    const int fd = ::open(temporary.c_str(), O_RDONLY | O_CLOEXEC);
    const bool synced = fd >= 0 && ::fsync(fd) == 0;
    if (fd >= 0) ::close(fd);
    if (!synced) throw Error("keyword index", "cannot write " + file.string() + " to the disk");
    std::filesystem::rename(temporary, file);
  } catch (...) {
    sqlite3_close(database);
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

std::string joined_contents(const Json& messages, const std::string& where) {
  if (!messages.is_array()) throw Error("keyword index", where + ": 'messages' is not a list");
  std::string text;
  for (const Json& message : messages) {
    if (message.is_object() && message.contains("content") && message["content"].is_string())
      text += (text.empty() ? "" : "\n") + message["content"].get<std::string>();
  }
  return text;
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v' || c == '\0'; }

/// Holds something that the tokenizer makes a word of: letters and digits, or any character beyond ASCII.
bool has_word(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  }
  return false;
}

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) result += c == '"' || c == '\0' ? ' ' : c;
  return result + '"';
}

/// Words, and what stands in double quotes as one piece. A quote without a partner is a space.
std::vector<std::string_view> pieces(std::string_view query) {
  std::vector<std::string_view> all;
  std::size_t i = 0;
  while (i < query.size()) {
    if (is_space(query[i])) {
      ++i;
      continue;
    }
    if (query[i] == '"') {
      const std::size_t end = query.find('"', i + 1);
      if (end != std::string_view::npos) all.push_back(query.substr(i + 1, end - i - 1));
      i = end == std::string_view::npos ? i + 1 : end + 1;
      continue;
    }
    std::size_t end = i;
    while (end < query.size() && !is_space(query[end]) && query[end] != '"') ++end;
    all.push_back(query.substr(i, end - i));
    i = end;
  }
  return all;
}

}  // namespace

std::string fts_expression(std::string_view query, Match match) {
  if (match == Match::phrase) return has_word(query) ? quoted(query) : std::string();
  std::string expression;
  for (const std::string_view piece : pieces(query)) {
    if (!has_word(piece)) continue;
    if (!expression.empty()) expression += match == Match::any_word ? " OR " : " AND ";
    expression += quoted(piece);
  }
  return expression;
}

void KeywordIndex::build(const std::filesystem::path& file, const std::vector<std::filesystem::path>& corpus, Progress& progress) {
  build_with(file, [&](const Emit& emit) {
    std::int64_t done = 0;
    progress.begin("keyword index", 0, "documents");
    for (const std::filesystem::path& source : corpus) {
      for_each_json_line(source, [&](const Json& object, const std::string& where) {
        if (const auto text = object.find("text"); text != object.end() && text->is_string()) {
          emit(where, text->get_ref<const std::string&>());
        } else if (object.contains("messages")) {
          emit(where, joined_contents(object["messages"], where));
        } else {
          throw Error("keyword index", where + ": neither 'text' nor 'messages'");
        }
        if (++done % 1000 == 0) {
          progress.update(done);
          if (progress.stop_requested()) throw Interrupted("keyword index");
        }
      });
    }
    progress.end(std::to_string(done) + " documents");
  });
}

void KeywordIndex::build(const std::filesystem::path& file, std::span<const IndexedText> texts) {
  build_with(file, [&](const Emit& emit) {
    for (const IndexedText& text : texts) emit(text.where, text.text);
  });
}

KeywordIndex::KeywordIndex(const std::filesystem::path& file) : file_(file) {
  if (!std::filesystem::exists(file))
    throw Error("keyword index", "there is no index at " + file.string(), "build it with: assay search index DIR --corpus FILE");
  std::string format;
  try {
    if (sqlite3_open_v2(file.c_str(), &database_, SQLITE_OPEN_READONLY, nullptr) != SQLITE_OK) fail(database_, file, "cannot open");
    Statement about(database_, file_, "SELECT format FROM about");
    if (about.step()) format = about.text(0);
  } catch (...) {
    sqlite3_close(database_);
    throw;
  }
  if (format != kKeywordFormat) {
    sqlite3_close(database_);
    throw Error("keyword index", file.string() + " has the format '" + format + "', expected " + kKeywordFormat, "build the index again");
  }
}

KeywordIndex::~KeywordIndex() { sqlite3_close(database_); }
KeywordIndex::KeywordIndex(KeywordIndex&& other) noexcept
    : file_(std::move(other.file_)), database_(std::exchange(other.database_, nullptr)) {}

std::vector<KeywordIndex::Hit> KeywordIndex::search(std::string_view query, Match match, std::int64_t limit) const {
  const std::string expression = fts_expression(query, match);
  if (expression.empty() || limit <= 0) return {};
  Statement statement(database_, file_,
                      "SELECT rowid, -rank, place, snippet(documents, 0, '[', ']', '…', 24) FROM documents WHERE documents MATCH ? ORDER "
                      "BY rank, rowid LIMIT ?");
  statement.bind(1, expression);
  statement.bind(2, limit);
  std::vector<Hit> hits;
  while (statement.step()) hits.push_back({statement.integer(0), statement.real(1), statement.text(2), statement.text(3)});
  return hits;
}

std::int64_t KeywordIndex::count(std::string_view query, Match match) const {
  const std::string expression = fts_expression(query, match);
  if (expression.empty()) return 0;
  Statement statement(database_, file_, "SELECT count(*) FROM documents WHERE documents MATCH ?");
  statement.bind(1, expression);
  statement.step();
  return statement.integer(0);
}

std::int64_t KeywordIndex::documents() const {
  Statement statement(database_, file_, "SELECT count(*) FROM documents_docsize");
  statement.step();
  return statement.integer(0);
}

std::string KeywordIndex::text(std::int64_t id) const {
  Statement statement(database_, file_, "SELECT text FROM documents WHERE rowid = ?");
  statement.bind(1, id);
  if (!statement.step()) throw Error("keyword index", file_.string() + " has no document " + std::to_string(id));
  return statement.text(0);
}

}  // namespace assay
