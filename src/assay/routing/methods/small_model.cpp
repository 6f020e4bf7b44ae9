#include "assay/routing/methods/small_model.h"

#include <cmath>

#include "assay/model/families/family.h"

namespace assay::routing {

ModelConfig model_shape_from(const TomlTable& section, const Tokenizer& tokenizer, TokenId bos) {
  ModelConfig c = family(section.string("family", "gpt_neo"), section.where()).defaults();
  c.n_layers = section.integer("n_layers", 4);
  c.d_model = section.integer("d_model", 128);
  c.n_heads = section.integer("n_heads", 4);
  c.n_kv_heads = section.integer("n_kv_heads", c.n_heads);
  c.d_head = c.n_heads > 0 ? c.d_model / c.n_heads : 0;
  c.d_mlp = section.integer("d_mlp", 4 * c.d_model);
  c.n_ctx = section.integer("n_ctx", 256);
  c.tied_embeddings = section.boolean("tied_embeddings", true);
  const std::int64_t window = section.integer("local_window", 0);
  for (std::int64_t l = 0; window > 0 && l < c.n_layers; ++l) c.windows.push_back(l % 2 == 1 ? window : 0);
  c.initializer_range = section.number("initializer_range", 0.8 / std::sqrt(static_cast<double>(c.d_model)));
  c.d_vocab = tokenizer.vocabulary_size();
  c.bos_id = bos;
  c.eos_ids = {bos};
  section.done();
  c.validate();
  return c;
}

}  // namespace assay::routing
