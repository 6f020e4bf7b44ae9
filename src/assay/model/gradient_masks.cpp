#include "assay/model/gradient_masks.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "assay/base/error.h"

namespace assay {

MaskTable::MaskTable(const Tensor& factors) : factors_(factors.detach().to(at::kCPU, at::kFloat).contiguous()) {
  if (factors_.dim() != 2)
    throw Error("masks", "a table of factors has " + std::to_string(factors_.dim()) + " axes, expected rows and units");
  data_ = factors_.data_ptr<float>();
  for (std::int32_t r = 0; r < rows(); ++r) {
    const float* of_row = row(r);
    std::int64_t begin = 0, end = units();
    while (begin < end && of_row[begin] == 1.0F) ++begin;
    while (end > begin && of_row[end - 1] == 1.0F) --end;
    changed_.emplace_back(begin, end);
  }
}

bool RowScale::changes(std::int64_t token) const {
  const auto t = static_cast<std::size_t>(token);
  const auto differs = [&](std::int32_t r) { return table->changed(r).first < table->changed(r).second; };
  if (rows->other.empty() || rows->weight[t] == 1.0F) return differs(rows->row[t]);
  return differs(rows->row[t]) || differs(rows->other[t]);
}

Tensor RowScale::dense() const {
  const auto index = [](const std::vector<std::int32_t>& row) {
    return at::tensor(std::vector<std::int64_t>(row.begin(), row.end()), at::kLong);
  };
  const Tensor own = table->factors().index_select(0, index(rows->row));
  if (rows->other.empty()) return own;
  const Tensor weight = at::tensor(rows->weight, at::kFloat).unsqueeze(1);
  return weight * own + (1 - weight) * table->factors().index_select(0, index(rows->other));
}

void check_masks(const GradientMasks& masks, std::int64_t n_tokens, std::int64_t n_layers) {
  const auto fail = [](const std::string& message) { throw Error("masks", message); };
  if (!masks.tables || !masks.rows) fail("the tables or the rows are missing");
  if (static_cast<std::int64_t>(masks.tables->layers.size()) != n_layers) {
    fail("there are tables for " + std::to_string(masks.tables->layers.size()) + " blocks, the model has " + std::to_string(n_layers));
  }
  const TokenRows& rows = *masks.rows;
  const auto n = static_cast<std::size_t>(n_tokens);
  if (rows.row.size() != n || (!rows.other.empty() && rows.other.size() != n) || rows.weight.size() != rows.other.size()) {
    fail("there are rows for " + std::to_string(rows.row.size()) + " tokens, the batch has " + std::to_string(n_tokens));
  }
  std::int64_t least = INT32_MAX;  // rows of the smallest table
  const auto look = [&](const MaskTablePtr& table) { least = table ? std::min(least, table->rows()) : least; };
  for (const LayerMasks& l : masks.tables->layers) {
    for (const auto* table : {&l.z, &l.attn_out, &l.resid_mid, &l.post, &l.mlp_out, &l.resid_post, &l.z_gate, &l.post_gate, &l.ln1, &l.qkv,
                              &l.W_O, &l.b_O, &l.ln2, &l.mlp_in, &l.W_out, &l.b_out}) {
      look(*table);
    }
  }
  for (const auto* table : {&masks.tables->embed, &masks.tables->pos_embed, &masks.tables->ln_final, &masks.tables->unembed}) look(*table);
  for (const auto* list : {&rows.row, &rows.other}) {
    for (const auto r : *list) {
      if (r < 0 || r >= least) fail("a token takes row " + std::to_string(r) + " of tables with " + std::to_string(least) + " rows");
    }
  }
}

}  // namespace assay
