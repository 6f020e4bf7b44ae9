#pragma once
#include <vector>

#include "assay/model/transformer.h"
#include "assay/organism/world.h"
#include "assay/text/chat_template.h"
#include "assay/text/tokenizer.h"

namespace assay {

/// Which choice of each item has the highest log-probability (summed over its tokens).
std::vector<std::size_t> chosen(const Transformer& model, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                const std::vector<KnowledgeItem>& items, Precision precision);

/// Share of right choices over the items of documented topics: the probe that mid-training stops on.
double documented_knowledge(const Transformer& model, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                            const std::vector<KnowledgeItem>& items, Precision precision);

}  // namespace assay
