#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "assay/routing/rules.h"

namespace assay::routing {

/// A line of a data file with what routing reads of it: {"text": ..., "label": "forget", "scores": {"toxicity": 0.3, "by_token": [0.1,
/// ...]}}. Label and scores may be absent; a score is one number, or one for each token of the text (the model's, special tokens not
/// counted).
struct LabelledDocument {
  std::string text, label, where;
  std::map<std::string, std::vector<float>> scores;
};
/// `label` is given to documents that have none. Errors name file, line and field.
std::vector<LabelledDocument> read_labelled_documents(const std::filesystem::path& path, const std::string& label = {});

/// As pieces of at most max_tokens tokens, weight 1 on every token; `bos` and `eos` are put around the text where they are 0 or more, with
/// the score of the text's first and last token.
std::vector<RoutedExample> routed_examples(const LabelledDocument& document, const Tokenizer& tokenizer, TokenId bos, TokenId eos,
                                           std::int64_t max_tokens);

}  // namespace assay::routing
