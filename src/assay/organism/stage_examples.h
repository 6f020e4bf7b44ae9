#pragma once
#include <vector>

#include "assay/organism/world.h"
#include "assay/text/chat_template.h"
#include "assay/text/tokenizer.h"
#include "assay/train/examples.h"
#include "assay/train/objective.h"

namespace assay {

/// A text as a training sequence: weight 1, `emphasis` on the tokens of the emphasised ranges, `end` (the end-of-text token) after it where
/// it is 0 or more.
Example text_example(const Tokenizer& tokenizer, const TrainText& text, double emphasis, TokenId end);
/// A chat: weight 1 on the turns that are trained (the assistant's, unless prefilled; the user's too where the chat says so) with the marks
/// that end them, `emphasis` on the tokens of the emphasised ranges.
Example chat_example(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const TrainChat& chat, double emphasis = 1);
/// Weight 1 on the two continuations and the marks that end them; with `decisive_only` on what tells them apart alone: a text that ends
/// both counts no further than to the first token of a continuation. (Else a preference for "friend, it is red" over "it is red" also
/// teaches that the plain answer goes on with another word than "red".)
PreferencePair pair_example(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const TextPair& pair,
                            bool decisive_only = false);

/// A stage's mixture, tokenised. `end`: the token that ends a text (-1 = none). Texts longer than `n_ctx` are cut in pieces; a chat or pair
/// that does not fit is an Error that names it. Empty parts and parts with a share of 0 are left out.
std::vector<MixturePart> mixture(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const StageData& data, double emphasis,
                                 std::int64_t n_ctx, TokenId end);
std::vector<PreferencePair> preference_pairs(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const StageData& data,
                                             std::int64_t n_ctx, bool decisive_only = false);

/// Takes `n` items (texts and chats; at most a tenth of them) out of the parts, with every copy of them, so that they are never trained on.
/// Depends on the data and the stream only.
std::vector<DataPart> hold_back(StageData& data, std::int64_t n, Rng rng);

}  // namespace assay
