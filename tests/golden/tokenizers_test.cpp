// tokenizers/<name>.json against Hugging Face's tokenizers: ids, offsets, decoding, pairs of sentences.
#include "assay/text/tokenizer.h"
#include "support.h"

namespace assay::golden {
namespace {

using Offsets = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  TextStream stream(tokenizer, false);
  std::string text;
  for (const TokenId id : ids) text += stream.push(id);
  return text + stream.finish();
}

/// Word pieces rewrite text that was already shown (" ' s" becomes "'s"), so streams of them need not equal the whole.
bool decodes_by_prefix(const Tokenizer& tokenizer) { return tokenizer.json().find("WordPiece") == std::string::npos; }

void check_text(Account& account, const Tokenizer& tokenizer, const Json& c, const std::string& where) {
  const auto text = require<std::string>(c, "text", where);
  const auto ids = require<std::vector<TokenId>>(c, "ids", where);
  const Encoding full = tokenizer.encode_full(text);
  account.equal(full.ids, ids, where + " ids");
  account.equal(tokenizer.encode(text), ids, where + " ids without offsets");
  account.equal(full.offsets, require<Offsets>(c, "offsets", where), where + " offsets");
  for (std::size_t i = 0; i < full.ids.size(); ++i) account.equal(full.tokens.at(i), tokenizer.token_of(full.ids[i]), where + " token");
  if (c.contains("ids_no_special"))
    account.equal(tokenizer.encode(text, false), require<std::vector<TokenId>>(c, "ids_no_special", where), where + " no special");
  if (c.contains("decoded")) account.equal(tokenizer.decode(ids), require<std::string>(c, "decoded", where), where + " decoded");
  if (c.contains("decoded_skip_special"))
    account.equal(tokenizer.decode(ids, true), require<std::string>(c, "decoded_skip_special", where), where + " decoded_skip_special");
  if (decodes_by_prefix(tokenizer)) account.equal(streamed(tokenizer, ids), tokenizer.decode(ids), where + " streamed");
}

void check_pair(Account& account, const Tokenizer& tokenizer, const Json& c, const std::string& where) {
  const Encoding pair = tokenizer.encode_pair(require<std::string>(c, "a", where), require<std::string>(c, "b", where));
  account.equal(pair.ids, require<std::vector<TokenId>>(c, "ids", where), where + " ids");
  account.equal(pair.type_ids, require<std::vector<std::uint32_t>>(c, "type_ids", where), where + " type_ids");
}

}  // namespace
}  // namespace assay::golden

int assay::golden::tokenizers() {
  return golden::run("tokenizers", [](Account& account, const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".json") continue;
      const std::string name = entry.path().stem().string();
      fs::path source = folder / name / "tokenizer.json";
      if (!fs::exists(source)) source = golden::root().parent_path() / "tokenizers" / name / "tokenizer.json";
      if (!fs::exists(source)) {
        account.not_run(name, "no tokenizer.json beside it");
        continue;
      }
      account.run_case(name, [&] {
        const Tokenizer tokenizer = Tokenizer::from_file(source);
        const Json vectors = read_json(entry.path());
        std::size_t n = 0;
        for (const Json& c : vectors.at("cases")) check_text(account, tokenizer, c, "case " + std::to_string(n++));
        for (const Json& c : value_or<Json>(vectors, "pairs", Json::array(), name))
          check_pair(account, tokenizer, c, "pair " + std::to_string(n++));
      });
    }
  });
}
