#include "assay/organism/build.h"

#include <algorithm>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/base/processes.h"
#include "assay/base/stats.h"
#include "assay/model/checkpoint.h"
#include "assay/organism/knowledge.h"
#include "assay/organism/stage_examples.h"

namespace assay {
namespace {

constexpr const char* kStageFile = "stage.json";
/// How a stage that is not its own arm's is matched: arms without documents of their own train as long as the organism's probe let it.
constexpr Arm kProbedArms[] = {Arm::organism, Arm::knows};

bool done(const fs::path& stage_folder) { return fs::exists(stage_folder / kStageFile); }

LanguageModel fresh_model(const Recipe& recipe, const World& world) {
  if (!recipe.model_path.empty()) return load_language_model(recipe.model_path);
  Tokenizer tokenizer = Tokenizer::from_json(world.tokenizer_json(), "the world's tokenizer");
  ModelConfig config = recipe.model;
  config.d_vocab = tokenizer.vocabulary_size();
  const auto end_of_text = tokenizer.id_of("<|endoftext|>"), end_of_turn = tokenizer.id_of("<|end|>");
  if (end_of_text) config.bos_id = *end_of_text, config.pad_id = *end_of_text;
  for (const auto& id : {end_of_text, end_of_turn})
    if (id) config.eos_ids.push_back(*id);
  config.validate();
  Transformer transformer = Transformer::random(config, Rng(recipe.seed).fork("initial weights"));
  ChatTemplate chat_template(world.chat_template(), SpecialTokens{.bos = "", .eos = "<|end|>", .pad = "<|endoftext|>", .unk = "<unk>"});
  return {std::move(transformer), std::move(tokenizer), std::move(chat_template), Json::object(), "from scratch"};
}

void write_corpora(const World& world, Arm arm, const fs::path& folder) {
  const auto lines = [&](const std::string& name, const std::vector<Json>& rows) {
    std::string text;
    for (const Json& row : rows) text += dump(row) + "\n";
    write_text(folder / name, text);
  };
  std::vector<Json> documents, chats;
  for (const std::string& text : world.documents(arm)) documents.push_back({{"text", text}});
  for (const Stage stage : {Stage::sft, Stage::dpo}) {
    const StageData data = world.data(stage, arm);
    for (const DataPart& part : data.parts)
      for (const TrainChat& chat : part.chats) chats.push_back({{"messages", to_json(chat.messages)}});
    for (const TextPair& pair : data.pairs) {
      Conversation messages = pair.messages;
      messages.push_back({"assistant", pair.chosen});
      chats.push_back({{"messages", to_json(messages)}});
    }
  }
  lines("documents.jsonl", documents);
  lines("chats.jsonl", chats);
}

/// The number of steps that the organism's mid-training took, for the arms that are matched to it.
std::optional<std::int64_t> matched_steps(const OrganismFolder& folder, Arm arm, Stage stage) {
  if (stage != Stage::midtrain || arm == Arm::organism) return std::nullopt;
  const fs::path organism = folder.stage(Arm::organism, stage);
  if (!done(organism)) return std::nullopt;
  return stage_result(organism).steps;
}

StageResult train_stage(const Recipe& recipe, const World& world, const StageRecipe& stage, Arm arm, LanguageModel& model, const OrganismFolder& folder, const fs::path& target,
                        Progress& progress) {
  const std::string name(stage.stage == Stage::base ? "base" : std::string(arm_name(arm)) + "-" + std::string(stage_name(stage.stage)));
  const fs::path work = folder.path / "work" / name;
  fs::create_directories(work);
  if (!model.chat_template) throw Error("organism build", model.source + " has no chat template", "an organism needs a chat model");

  const StageData data = world.data(stage.stage, arm);
  const std::uint64_t seed = Rng(recipe.seed).fork(name).next_u64() >> 1;
  const std::int64_t n_ctx = model.transformer.config.n_ctx;
  std::unique_ptr<Objective> objective =
      data.pairs.empty() ? make_lm_objective(mixture(model.tokenizer, *model.chat_template, data, stage.emphasis, n_ctx), stage.batch_tokens, seed)
                         : make_dpo_objective(preference_pairs(model.tokenizer, *model.chat_template, data, n_ctx), stage.dpo, seed);

  TrainOptions options = stage.options;
  Probe probe;
  if (const auto steps = matched_steps(folder, arm, stage.stage)) {
    options.steps = *steps;
    options.probe_every = 0;
  } else if (stage.stop_at_knowledge > 0 && std::find(std::begin(kProbedArms), std::end(kProbedArms), arm) != std::end(kProbedArms)) {
    probe = [&, items = world.knowledge()](const Transformer& transformer, std::int64_t) {
      const double known = documented_knowledge(transformer, model.tokenizer, *model.chat_template, items, options.precision);
      return ProbeResult{{{"knowledge", known}}, known >= stage.stop_at_knowledge};
    };
  } else {
    options.probe_every = 0;
  }
  progress.note(name + ": training");
  const TrainResult trained = train(model.transformer, *objective, options, work, progress, probe);

  StageResult result{stage.stage, trained.steps, trained.tokens, trained.final_loss, trained.cpu_s, trained.wall_s, trained.probe, target};
  model.transformer.set_requires_grad(false);
  fs::create_directories(target.parent_path());
  save_language_model(target, model, c10::kFloat);
  const fs::path metrics = (stage.stage == Stage::base ? folder.path : folder.arm(arm)) / "metrics" / (std::string(stage_name(stage.stage)) + ".jsonl");
  if (fs::exists(work / "metrics.jsonl")) {
    fs::create_directories(metrics.parent_path());
    write_text(metrics, read_text(work / "metrics.jsonl"));
  }
  Json stage_json = to_json(result);
  stage_json["recipe"] = recipe.hash();
  stage_json["seed"] = recipe.seed;
  stage_json["arm"] = arm_name(arm);
  stage_json["data"] = objective->describe();
  stage_json["options"] = to_json(options);
  write_json(target / kStageFile, stage_json);  // last: its presence means that the stage is done
  fs::remove_all(work);
  return result;
}

}  // namespace

fs::path OrganismFolder::stage(Arm which, Stage stage) const { return stage == Stage::base ? base() : arm(which) / "stages" / std::string(stage_name(stage)); }

std::vector<Arm> OrganismFolder::arms() const {
  const Recipe built = recipe();
  std::vector<Arm> out;
  for (const Arm a : kArms)
    if (done(stage(a, built.stages.back().stage)) && fs::exists(arm(a))) out.push_back(a);
  return out;
}

fs::path OrganismFolder::final_stage(Arm which) const {
  const fs::path last = stage(which, recipe().stages.back().stage);
  if (!done(last)) throw Error("organism", path.string() + " has no finished arm '" + std::string(arm_name(which)) + "'", "assay organism build RECIPE --out DIR --arm NAME");
  return last;
}

Recipe OrganismFolder::recipe() const {
  const fs::path file = path / "recipe.toml";
  if (!fs::exists(file)) throw Error("organism", path.string() + " holds no recipe.toml", "DIR is the folder that 'assay organism build' wrote");
  const Json build = read_json(path / "build.json");
  return read_recipe(file, require<std::uint64_t>(build, "seed", (path / "build.json").string()));
}

Truth OrganismFolder::truth() const { return truth_from_json(read_json(path / "truth.json"), (path / "truth.json").string()); }

Json to_json(const StageResult& r) {
  Json probe = Json::object();
  for (const auto& [key, value] : r.probe) probe[key] = value;
  return {{"name", stage_name(r.stage)},
          {"steps", r.steps},
          {"tokens", r.tokens},
          {"tokens_per_cpu_s", number(r.cpu_s > 0 ? static_cast<double>(r.tokens) / r.cpu_s : 0)},
          {"final_loss", number(r.final_loss)},
          {"cpu_s", number(r.cpu_s)},
          {"wall_s", number(r.wall_s)},
          {"probe", probe},
          {"path", r.path.string()}};
}

StageResult stage_result(const fs::path& stage_folder) {
  const fs::path file = stage_folder / kStageFile;
  if (!fs::exists(file)) throw Error("organism", stage_folder.string() + " is no finished stage (it holds no stage.json)", "run 'assay organism build' again: it goes on where it stopped");
  const Json json = read_json(file);
  const std::string where = file.string(), name = require<std::string>(json, "name", where);
  StageResult r;
  bool known = false;
  for (const Stage stage : kStages)
    if (stage_name(stage) == name) r.stage = stage, known = true;
  if (!known) throw Error("organism", where + ": '" + name + "' is no stage");
  r.steps = require<std::int64_t>(json, "steps", where);
  r.tokens = require<std::int64_t>(json, "tokens", where);
  r.final_loss = value_or<Json>(json, "final_loss", 0.0, where).is_number() ? json["final_loss"].get<double>() : 0.0;
  r.cpu_s = value_or<double>(json, "cpu_s", 0.0, where);
  r.wall_s = value_or<double>(json, "wall_s", 0.0, where);
  r.path = stage_folder;
  return r;
}

OrganismFolder open_organism(const Recipe& recipe, const fs::path& folder) {
  fs::create_directories(folder);
  const FolderLock lock(folder);
  const OrganismFolder out{folder};
  const fs::path build = folder / "build.json";
  if (fs::exists(build)) {
    const Json there = read_json(build);
    const auto seed = require<std::uint64_t>(there, "seed", build.string());
    if (seed != recipe.seed) throw Error("organism build", folder.string() + " was built with seed " + std::to_string(seed) + ", not " + std::to_string(recipe.seed), "use another --out");
    if (require<std::string>(there, "recipe", build.string()) != recipe.hash())
      throw Error("organism build", folder.string() + " was built from another recipe (compare its recipe.toml)", "use another --out, or remove the folder");
    return out;
  }
  write_text(folder / "recipe.toml", recipe.text);
  write_json(folder / "truth.json", to_json(make_world(recipe.world, recipe.seed)->truth()));
  write_json(build, {{"recipe", recipe.hash()}, {"seed", recipe.seed}});
  return out;
}

void build_base(const Recipe& recipe, const OrganismFolder& folder, Progress& progress) {
  const StageRecipe* base = recipe.stage(Stage::base);
  if (!base || done(folder.base())) return;
  fs::create_directories(folder.path / "work");
  const FolderLock lock(folder.path / "work");
  if (done(folder.base())) return;  // another process was faster
  const auto world = make_world(recipe.world, recipe.seed);
  LanguageModel model = fresh_model(recipe, *world);
  train_stage(recipe, *world, *base, Arm::organism, model, folder, folder.base(), progress);
}

std::vector<StageResult> build_arm(const Recipe& recipe, const OrganismFolder& folder, Arm arm, Progress& progress) {
  build_base(recipe, folder, progress);
  fs::create_directories(folder.arm(arm));
  const FolderLock lock(folder.arm(arm));
  const auto world = make_world(recipe.world, recipe.seed);
  if (!fs::exists(folder.arm(arm) / "chats.jsonl")) write_corpora(*world, arm, folder.arm(arm));
  std::vector<StageResult> results;
  std::optional<LanguageModel> model;
  fs::path previous = recipe.stage(Stage::base) ? folder.base() : fs::path(recipe.model_path);
  for (const StageRecipe& stage : recipe.stages) {
    const fs::path target = folder.stage(arm, stage.stage);
    if (!done(target)) {
      if (!model) model = load_language_model(previous);
      train_stage(recipe, *world, stage, arm, *model, folder, target, progress);
    }
    results.push_back(stage_result(target));
    previous = target;
  }
  return results;
}

void build_arms(const Recipe& recipe, const OrganismFolder& folder, const std::vector<Arm>& arms, int jobs, const std::vector<std::string>& command, Progress& progress) {
  build_base(recipe, folder, progress);
  std::vector<Arm> missing;
  for (const Arm arm : arms)
    if (!done(folder.stage(arm, recipe.stages.back().stage))) missing.push_back(arm);
  // The other arms' mid-training is as long as the organism's, so it goes first.
  const auto organism = std::find(missing.begin(), missing.end(), Arm::organism);
  const bool matched = recipe.stage(Stage::midtrain) && recipe.stage(Stage::midtrain)->stop_at_knowledge > 0;
  if (organism != missing.end() && (matched || jobs == 1)) {
    build_arm(recipe, folder, Arm::organism, progress);
    missing.erase(organism);
  }
  if (jobs == 1 || missing.size() < 2) {
    for (const Arm arm : missing) build_arm(recipe, folder, arm, progress);
    return;
  }
  std::vector<std::vector<std::string>> commands;
  for (const Arm arm : missing) {
    commands.push_back(command);
    commands.back().insert(commands.back().end(), {"--arm", std::string(arm_name(arm)), "--jobs", "1", "--threads", "1"});
  }
  run_processes(commands, jobs, progress);
}

}  // namespace assay
