// tokenizers/<name>.json against Hugging Face's tokenizers: ids, offsets, decoding, pairs of sentences.
#include <cstdio>
#include <cstdlib>

#include "assay/base/files.h"
#include "assay/base/json.h"
#include "assay/text/tokenizer.h"

using namespace assay;

namespace {

int failures = 0, checks = 0;

template <class A, class B>
void expect_equal(const A& got, const B& wanted, const std::string& what) {
  ++checks;
  if (got == wanted) return;
  if (++failures <= 20)
    std::printf("FAILED %s\n  got    %s\n  wanted %s\n", what.c_str(), dump(Json(got)).c_str(), dump(Json(wanted)).c_str());
}

using Offsets = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  TextStream stream(tokenizer, false);
  std::string text;
  for (const TokenId id : ids) text += stream.push(id);
  return text + stream.finish();
}

/// Word pieces rewrite text that was already shown (" ' s" becomes "'s"), so streams of them need not equal the whole.
bool decodes_by_prefix(const Tokenizer& tokenizer) { return tokenizer.json().find("WordPiece") == std::string::npos; }

void run_case(const Tokenizer& tokenizer, const Json& c, const std::string& where) {
  const auto text = require<std::string>(c, "text", where);
  const auto ids = require<std::vector<TokenId>>(c, "ids", where);
  const Encoding full = tokenizer.encode_full(text);
  expect_equal(full.ids, ids, where + " ids");
  expect_equal(tokenizer.encode(text), ids, where + " ids without offsets");
  expect_equal(full.offsets, require<Offsets>(c, "offsets", where), where + " offsets");
  for (std::size_t i = 0; i < full.ids.size(); ++i) expect_equal(full.tokens.at(i), tokenizer.token_of(full.ids[i]), where + " token");
  if (c.contains("ids_no_special"))
    expect_equal(tokenizer.encode(text, false), require<std::vector<TokenId>>(c, "ids_no_special", where), where + " no special");
  if (c.contains("decoded")) expect_equal(tokenizer.decode(ids), require<std::string>(c, "decoded", where), where + " decoded");
  if (c.contains("decoded_skip_special"))
    expect_equal(tokenizer.decode(ids, true), require<std::string>(c, "decoded_skip_special", where), where + " decoded_skip_special");
  if (decodes_by_prefix(tokenizer)) expect_equal(streamed(tokenizer, ids), tokenizer.decode(ids), where + " streamed");
}

}  // namespace

int main() {
  const char* set = std::getenv("ASSAY_GOLDEN");
  const fs::path root = set != nullptr && *set != '\0' ? fs::path(set) : fs::path(ASSAY_SOURCE_DIR) / "../shared/data/golden";
  const fs::path folder = root / "tokenizers";
  if (!fs::is_directory(folder)) {
    std::printf("skipped: no vectors in %s\n", folder.c_str());
    return 77;
  }
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const std::string name = entry.path().stem().string();
    fs::path source = folder / name / "tokenizer.json";
    if (!fs::exists(source)) source = root.parent_path() / "tokenizers" / name / "tokenizer.json";
    if (!fs::exists(source)) {
      std::printf("not run: %s (no tokenizer.json beside it)\n", name.c_str());
      continue;
    }
    const Tokenizer tokenizer = Tokenizer::from_file(source);
    const Json vectors = read_json(entry.path());
    const int before = failures;
    std::size_t n = 0;
    for (const Json& c : vectors.at("cases")) run_case(tokenizer, c, name + " case " + std::to_string(n++));
    for (const Json& c : value_or<Json>(vectors, "pairs", Json::array(), name)) {
      const std::string where = name + " pair " + std::to_string(n++);
      const Encoding pair = tokenizer.encode_pair(require<std::string>(c, "a", where), require<std::string>(c, "b", where));
      expect_equal(pair.ids, require<std::vector<TokenId>>(c, "ids", where), where + " ids");
      expect_equal(pair.type_ids, require<std::vector<std::uint32_t>>(c, "type_ids", where), where + " type_ids");
    }
    std::printf("%s: %zu cases, %d failed checks\n", name.c_str(), n, failures - before);
    ++files;
  }
  std::printf("%d files, %d checks, %d failed\n", files, checks, failures);
  return failures != 0 || files == 0 ? 1 : 0;
}
