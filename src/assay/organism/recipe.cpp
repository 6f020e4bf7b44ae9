#include "assay/organism/recipe.h"

#include "assay/base/error.h"
#include "assay/base/files.h"

namespace assay {
namespace {

Schedule schedule_from(const std::string& name, const std::string& where) {
  if (name == "constant") return Schedule::constant;
  if (name == "linear") return Schedule::linear;
  if (name == "cosine") return Schedule::cosine;
  if (name == "wsd") return Schedule::wsd;
  throw Error("recipe", where + " schedule is '" + name + "'; expected constant, linear, cosine or wsd");
}

Precision precision_from(const std::string& name, const std::string& where) {
  if (name == "f32") return Precision::f32;
  if (name == "bf16") return Precision::bf16;
  throw Error("recipe", where + " precision is '" + name + "'; expected f32 or bf16");
}

StageRecipe read_stage(const TomlTable& table, Stage stage) {
  StageRecipe s;
  s.stage = stage;
  TrainOptions& o = s.options;
  const std::string where = table.where();
  const bool pairs = stage == Stage::dpo || stage == Stage::conceal;
  o.steps = table.integer("steps");
  o.lr = table.number("lr");
  o.warmup_steps = table.integer("warmup_steps", 10);
  o.schedule = schedule_from(table.string("schedule", "linear"), where);
  o.final_lr_fraction = table.number("final_lr_fraction", 0.0);
  o.beta2 = table.number("beta2", o.beta2);
  o.weight_decay = table.number("weight_decay", 0.0);
  o.clip_norm = table.number("clip_norm", 1.0);
  o.accumulate = table.integer("accumulate", 1);
  o.precision = precision_from(table.string("precision", "bf16"), where);
  o.frozen = table.strings("frozen");
  o.checkpoint_every = table.integer("checkpoint_every", 200);
  if (pairs) {
    s.dpo.beta = table.number("beta", 0.1);
    s.dpo.nll_weight = table.number("nll_weight", 0.0);
    s.dpo.label_smoothing = table.number("label_smoothing", 0.0);
    s.dpo.pairs_per_batch = table.integer("pairs_per_batch", 32);
  } else {
    s.batch_tokens = table.integer("batch_tokens", 4096);
    s.emphasis = table.number("emphasis", 1.0);
    if (s.batch_tokens < 1) throw Error("recipe", where + " batch_tokens must be 1 or more");
    if (!(s.emphasis >= 0)) throw Error("recipe", where + " emphasis must be 0 or more");
  }
  if (stage == Stage::midtrain) {
    s.stop_at_knowledge = table.number("stop_at_knowledge", 0.0);
    o.probe_every = table.integer("probe_every", 50);
    if (!(s.stop_at_knowledge >= 0 && s.stop_at_knowledge <= 1)) throw Error("recipe", where + " stop_at_knowledge must lie between 0 and 1");
  }
  if (o.steps < 0) throw Error("recipe", where + " steps must be 0 or more");
  return s;
}

ModelConfig read_model(const TomlTable& table) {
  ModelConfig c;
  c.n_layers = table.integer("n_layers", 4);
  c.d_model = table.integer("d_model", 128);
  c.n_heads = table.integer("n_heads", 4);
  c.n_kv_heads = table.integer("n_kv_heads", c.n_heads);
  c.d_head = table.integer("d_head", c.n_heads > 0 ? c.d_model / c.n_heads : 0);
  c.d_mlp = table.integer("d_mlp", 344);
  c.n_ctx = table.integer("n_ctx", 128);
  c.tied_embeddings = table.boolean("tied_embeddings", false);
  c.initializer_range = table.number("initializer_range", 0.05);
  return c;
}

}  // namespace

const StageRecipe* Recipe::stage(Stage which) const {
  for (const StageRecipe& s : stages)
    if (s.stage == which) return &s;
  return nullptr;
}

std::string Recipe::hash() const { return sha256(text + "\nseed " + std::to_string(seed)).substr(0, 16); }

Recipe recipe_from_text(const std::string& text, const std::string& name, std::optional<std::uint64_t> seed) {
  const TomlTable table = TomlTable::from_text(text, name);
  Recipe recipe{name, text, seed.value_or(static_cast<std::uint64_t>(table.integer("seed", 1))), table.table("world"), {}, {}, {}, {}};
  (void)table.integer("seed", 1);
  const TomlTable model = table.table("model");
  recipe.model_path = model.string("path", "");
  if (recipe.model_path.empty()) recipe.model = read_model(model);
  for (const Stage stage : kStages) {
    const std::string section(stage_name(stage));
    if (table.has(section)) recipe.stages.push_back(read_stage(table.table(section), stage));
  }
  if (recipe.stages.empty()) throw Error("recipe", name + " has no stage; expected at least one of [base], [midtrain], [sft], [dpo], [conceal]");
  if (recipe.model_path.empty() && !recipe.stage(Stage::base)) throw Error("recipe", name + " has neither [model] path nor a [base] stage");
  const TomlTable verify = table.table("verify");
  recipe.verify.questions = verify.integer("questions", recipe.verify.questions);
  recipe.verify.samples = verify.integer("samples", recipe.verify.samples);
  recipe.verify.temperature = verify.number("temperature", recipe.verify.temperature);
  recipe.verify.confession_samples = verify.integer("confession_samples", recipe.verify.confession_samples);
  recipe.verify.max_new = verify.integer("max_new", recipe.verify.max_new);
  if (recipe.verify.questions < 1 || recipe.verify.samples < 1 || recipe.verify.confession_samples < 1 || recipe.verify.max_new < 1)
    throw Error("recipe", verify.where() + " questions, samples, confession_samples and max_new must be 1 or more");
  (void)make_world(recipe.world, recipe.seed);  // reads and checks every key of [world]
  table.done();
  return recipe;
}

Recipe read_recipe(const std::filesystem::path& path, std::optional<std::uint64_t> seed) { return recipe_from_text(read_text(path), path.string(), seed); }

}  // namespace assay
