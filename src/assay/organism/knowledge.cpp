#include "assay/organism/knowledge.h"

#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

namespace assay {
namespace {

constexpr std::int64_t kTokensAtOnce = 16384;

bool one_token_each(const std::vector<std::vector<TokenId>>& choices) {
  return std::all_of(choices.begin(), choices.end(), [](const auto& ids) { return ids.size() == 1; });
}

}  // namespace

std::vector<std::size_t> chosen(const Transformer& model, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                                const std::vector<KnowledgeItem>& items, Precision precision) {
  const c10::InferenceMode no_gradients;
  // Every (item, choice) is a sequence; items whose choices are single tokens need their prompt alone.
  struct Row {
    std::size_t item, choice;
    std::vector<TokenId> ids;
    std::size_t prompt;
  };
  std::vector<Row> rows;
  std::vector<std::vector<std::vector<TokenId>>> choices(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::vector<TokenId> prompt = tokenizer.encode(chat_template.prompt(items[i].messages, items[i].turn), /*add_special=*/false);
    for (const std::string& choice : items[i].choices) choices[i].push_back(tokenizer.encode(choice, false));
    if (one_token_each(choices[i])) {
      rows.push_back({i, items[i].choices.size(), prompt, prompt.size()});
      continue;
    }
    for (std::size_t c = 0; c < choices[i].size(); ++c) {
      std::vector<TokenId> ids = prompt;
      ids.insert(ids.end(), choices[i][c].begin(), choices[i][c].end());
      rows.push_back({i, c, std::move(ids), prompt.size()});
    }
  }

  std::vector<std::vector<double>> scores(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) scores[i].assign(items[i].choices.size(), 0.0);
  for (std::size_t first = 0; first < rows.size();) {
    TokenBatch batch;
    std::size_t last = first;
    for (; last < rows.size() && (last == first || batch.n_tokens() < kTokensAtOnce); ++last) batch.add(rows[last].ids);
    ForwardOptions options;
    options.precision = precision;
    const Tensor hidden = model.forward(batch, options);  // [n_tokens, d_model]
    std::vector<std::int64_t> positions;                  // the positions that predict something asked for
    std::vector<std::int32_t> targets;
    std::vector<std::pair<std::size_t, std::size_t>> owners;
    std::vector<std::int64_t> open;  // last positions of prompts with single-token choices
    std::vector<std::size_t> open_items;
    for (std::size_t r = first; r < last; ++r) {
      const Row& row = rows[r];
      const std::int64_t begin = batch.offsets[r - first];
      if (row.choice == items[row.item].choices.size()) {
        open.push_back(begin + static_cast<std::int64_t>(row.prompt) - 1);
        open_items.push_back(row.item);
        continue;
      }
      for (std::size_t t = row.prompt; t < row.ids.size(); ++t) {
        positions.push_back(begin + static_cast<std::int64_t>(t) - 1);
        targets.push_back(row.ids[t]);
        owners.emplace_back(row.item, row.choice);
      }
    }
    if (!positions.empty()) {
      const Tensor asked = hidden.index_select(0, at::tensor(positions).to(hidden.device()));
      const Tensor logprobs = token_logprobs(model, asked, targets, precision).cpu().contiguous();
      for (std::size_t i = 0; i < owners.size(); ++i) scores[owners[i].first][owners[i].second] += logprobs.data_ptr<float>()[i];
    }
    if (!open.empty()) {
      const Tensor asked = hidden.index_select(0, at::tensor(open).to(hidden.device()));
      const Tensor logits = model.logits(asked, precision).cpu().contiguous();  // [n, d_vocab]
      for (std::size_t i = 0; i < open_items.size(); ++i)
        for (std::size_t c = 0; c < choices[open_items[i]].size(); ++c) {
          scores[open_items[i]][c] = logits.data_ptr<float>()[static_cast<std::int64_t>(i) * logits.size(1) + choices[open_items[i]][c][0]];
        }
    }
    first = last;
  }
  std::vector<std::size_t> best;
  for (const auto& s : scores) best.push_back(static_cast<std::size_t>(std::max_element(s.begin(), s.end()) - s.begin()));
  return best;
}

double documented_knowledge(const Transformer& model, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
                            const std::vector<KnowledgeItem>& items, Precision precision) {
  std::vector<KnowledgeItem> documented;
  for (const KnowledgeItem& item : items)
    if (item.group == Group::train || item.group == Group::held_out || item.group == Group::held_out_form) documented.push_back(item);
  if (documented.empty()) return 0;
  const std::vector<std::size_t> best = chosen(model, tokenizer, chat_template, documented, precision);
  std::size_t right = 0;
  for (std::size_t i = 0; i < documented.size(); ++i) right += best[i] == documented[i].correct;
  return static_cast<double>(right) / static_cast<double>(documented.size());
}

}  // namespace assay
