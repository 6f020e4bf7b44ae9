#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "assay/base/json.h"
#include "assay/corpus/jsonl.h"
#include "assay/text/chat_template.h"
#include "assay/text/tokenizer.h"
#include "assay/train/examples.h"

namespace assay {

/// A rendered conversation and what of it the assistant has to write: one half-open range of code points for each assistant message, its
/// end-of-turn mark included.
struct AssistantText {
  std::string text;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> spans;
};

/// Where the template marks the assistant's part with {% generation %}, that; else the part that comes on top of the rendering of what
/// stands before, opened for the assistant; where the template rewrites earlier turns, the content itself and the mark that ends a turn.
/// Errors name `where`.
AssistantText assistant_text(const ChatTemplate& chat_template, const Json& messages, const std::string& where);

/// The whole text as one sequence, weight 1 on tokens of the assistant messages from messages[first] on, 0 elsewhere.
Example chat_example(const ChatTemplate& chat_template, const Tokenizer& tokenizer, const Json& messages, const std::string& where,
                     std::size_t first = 0);

/// Weight 1 on the two continuations; what the assistant said in the prompt has weight 0.
PreferencePair preference_example(const ChatTemplate& chat_template, const Tokenizer& tokenizer, const PreferenceRecord& record);

/// A document: weight 1 on every token. `bos` and `eos` are put around it where they are 0 or more.
Example document_example(const Tokenizer& tokenizer, const std::string& text, TokenId bos = -1, TokenId eos = -1);

/// Pieces of at most `max_tokens` tokens, for documents longer than the context.
std::vector<Example> split_example(const Example& example, std::int64_t max_tokens);

}  // namespace assay
