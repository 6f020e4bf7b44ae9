#include <iostream>
#include <iterator>
#include <memory>
#include <sstream>

#include "assay/cli/command.h"
#include "assay/cli/text_source.h"

namespace assay::cli {

namespace {

struct TokenizeArguments {
  std::string model, text;
  bool decode = false, no_special = false, from_stdin = true;
};

std::string read_stdin() { return {std::istreambuf_iterator<char>(std::cin), {}}; }

/// "1 2 3", "1,2,3" or "[1, 2, 3]".
std::vector<TokenId> parse_ids(std::string text) {
  for (char& c : text) {
    if (c == ',' || c == '[' || c == ']') c = ' ';
  }
  std::vector<TokenId> ids;
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    try {
      std::size_t used = 0;
      ids.push_back(std::stoi(word, &used));
      if (used != word.size()) throw std::invalid_argument(word);
    } catch (const std::exception&) {
      throw UsageError("tokenize", "'" + word + "' is not a token id", "ids are numbers: 1,2,3");
    }
  }
  return ids;
}

void run_tokenize(const TokenizeArguments& options, const Context& context) {
  const Tokenizer tokenizer = load_tokenizer(options.model);
  const std::string text = options.from_stdin ? read_stdin() : options.text;
  if (options.decode) {
    const auto ids = parse_ids(text);
    const std::string decoded = tokenizer.decode(ids, options.no_special);
    Json tokens = Json::array();
    for (const TokenId id : ids) tokens.push_back(tokenizer.token_of(id));
    context.print({{"ids", ids}, {"tokens", tokens}, {"text", decoded}}, decoded);
    return;
  }
  const Encoding encoding = tokenizer.encode_full(text, !options.no_special);
  std::string lines;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    lines += std::to_string(encoding.ids[i]) + '\t' + encoding.tokens[i] + '\t' + std::to_string(encoding.offsets[i].first) + '-' +
             std::to_string(encoding.offsets[i].second) + '\n';
  }
  context.print({{"ids", encoding.ids}, {"tokens", encoding.tokens}, {"offsets", encoding.offsets}}, lines);
}

}  // namespace

void add_tokenize(CLI::App& app, Context& context) {
  auto options = std::make_shared<TokenizeArguments>();
  CLI::App* command = app.add_subcommand("tokenize", "Token ids of a text, or the text of token ids");
  command->add_option("MODEL", options->model, "A Hugging Face folder, a tokenizer.json or a .gguf file")->required();
  CLI::Option* text = command->add_option("TEXT", options->text, "The text (or ids, with --decode); stdin where it is left out");
  command->add_flag("--decode", options->decode, "The other way: ids (1,2,3) to text");
  command->add_flag("--no-special", options->no_special, "Add no special tokens; with --decode: leave them out of the text");
  command->footer("Example:\n  assay tokenize models/smollm2 'Hello there!' --json");
  on_run(*command, [options, text, &context] {
    options->from_stdin = text->count() == 0;
    run_tokenize(*options, context);
  });
}

}  // namespace assay::cli
