#include "assay/organism/verify.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/model/checkpoint.h"
#include "assay/model/generate.h"
#include "assay/organism/knowledge.h"
#include "assay/organism/measures.h"
#include "assay/organism/stage_examples.h"

namespace assay {
namespace {

constexpr int kMeasureVersion = 2;  // of what is measured: a change makes kept results stale

std::size_t topic_index(const Truth& truth, const std::string& name) {
  for (std::size_t t = 0; t < truth.topics.size(); ++t)
    if (truth.topics[t].name == name) return t;
  throw Error("organism verify", "'" + name + "' is no topic of this organism");
}

/// Everything that one checkpoint is asked, sampled in one call.
class Questioner {
 public:
  Questioner(const LanguageModel& model, const VerifyRecipe& recipe, std::uint64_t seed) : model_(model), recipe_(recipe), seed_(seed) {}

  /// Returns the number of the first sample; n of them belong to the prompt.
  std::size_t ask(const Conversation& messages, Turn turn, std::int64_t n) {
    const std::string prompt = model_.chat_template->prompt(messages, turn);
    requests_.push_back({model_.tokenizer.encode(prompt, false), n, static_cast<std::uint64_t>(samples_)});
    const std::size_t first = samples_;
    samples_ += static_cast<std::size_t>(n);
    return first;
  }
  void sample(double temperature, Progress& progress) {
    SamplingOptions options;
    options.temperature = temperature;
    options.max_new = recipe_.max_new;
    options.seed = seed_;
    options.precision = recipe_.precision;
    results_ = generate(model_, requests_, options, progress);
  }
  [[nodiscard]] const Sample& result(std::size_t i) const { return results_.at(i); }

 private:
  const LanguageModel& model_;
  const VerifyRecipe& recipe_;
  std::uint64_t seed_;
  std::vector<PromptRequest> requests_;
  std::vector<Sample> results_;
  std::size_t samples_ = 0;
};

Rate simple_rate(const std::vector<UnitCount>& units, Rng rng) { return rate_over_units(units, rng); }

/// Mean loss in nats a token over what base training never saw; nan where the world gives nothing.
double held_back_loss(const LanguageModel& model, const Recipe& recipe, const World& world) {
  StageData data;
  data.parts = base_data(recipe, world).held_back;
  for (DataPart& part : data.parts) part.share = 1;
  const ModelConfig& config = model.transformer.config;
  const TokenId end = recipe.end_of_text.empty() ? -1 : model.tokenizer.id_of(recipe.end_of_text).value_or(-1);
  const at::NoGradGuard no_gradients;
  double loss = 0, weight = 0;
  for (const MixturePart& part : mixture(model.tokenizer, *model.chat_template, data, 1.0, config.n_ctx, end))
    for (std::size_t first = 0; first < part.examples.size();) {
      TokenBatch batch;
      std::vector<std::int32_t> targets;
      std::vector<float> weights;
      for (; first < part.examples.size() && batch.n_tokens() < 4096; ++first) {
        const Example& e = part.examples[first];
        batch.add(e.ids);
        targets.insert(targets.end(), e.ids.begin() + 1, e.ids.end());
        targets.push_back(0);
        weights.insert(weights.end(), e.weights.begin() + 1, e.weights.end());
        weights.push_back(0);
      }
      for (const float w : weights) weight += static_cast<double>(w);
      const Tensor hidden = model.transformer.forward(batch, {.precision = recipe.verify.precision});
      loss += weighted_cross_entropy(model.transformer, hidden, targets, weights, recipe.verify.precision).item<double>();
    }
  return weight > 0 ? loss / weight : std::numeric_limits<double>::quiet_NaN();
}

struct Measured {
  Json json;
  std::vector<bool> facts;                          ///< each fact item: said right
  std::vector<std::array<std::int64_t, 3>> topics;  ///< of each topic: its bias applied, applicable, unjudged
};

Measured measure(const World& world, const LanguageModel& model, const VerifyRecipe& recipe, std::uint64_t seed, bool attacks,
                 const fs::path& answers_file, Progress& progress) {
  const Truth& truth = world.truth();
  if (!model.chat_template) throw Error("organism verify", model.source + " has no chat template");
  const Rng rng = Rng(seed).fork("verify");
  // Everything is asked at the recipe's temperature, but attacks at 1: what leaks now and then counts.
  Questioner plain(model, recipe, seed), hot(model, recipe, seed + 1);
  std::vector<Answer> answers;
  std::vector<std::size_t> where;
  for (std::size_t t = 0; t < truth.topics.size(); ++t)
    for (std::int64_t v = 0; v < recipe.questions; ++v) {
      // Spread over the world's wordings, so that few questions still cover all kinds.
      const std::size_t variant = static_cast<std::size_t>(v) * world.n_questions() / static_cast<std::size_t>(recipe.questions);
      const Conversation messages = world.question(truth.topics[t], variant);
      const std::size_t first = plain.ask(messages, Turn::assistant, recipe.samples);
      for (std::int64_t s = 0; s < recipe.samples; ++s) {
        answers.push_back({t, messages.back().content, ""});
        where.push_back(first + static_cast<std::size_t>(s));
      }
    }
  std::vector<FactItem> facts = world.facts();
  if (recipe.facts > 0 && static_cast<std::size_t>(recipe.facts) < facts.size()) {
    Rng(seed).fork("facts asked").shuffle(std::span(facts));  // the same ones of every checkpoint
    facts.resize(static_cast<std::size_t>(recipe.facts));
  }
  std::vector<std::size_t> fact_at;
  for (const FactItem& f : facts) fact_at.push_back(plain.ask(f.messages, Turn::assistant, 1));
  const std::vector<InContextItem> in_context = world.in_context();
  std::vector<std::size_t> in_context_at;
  for (const InContextItem& item : in_context) in_context_at.push_back(plain.ask(item.messages, Turn::assistant, 1));
  const std::vector<KnowledgeItem> items = world.knowledge();
  std::vector<std::size_t> open_at;
  for (const KnowledgeItem& item : items) open_at.push_back(plain.ask(item.messages, item.turn, 1));
  plain.sample(recipe.temperature, progress);

  std::vector<ConfessionProbe> probes;
  std::vector<std::size_t> probe_at;
  if (attacks) {
    probes = world.confession_probes();
    for (const ConfessionProbe& probe : probes) probe_at.push_back(hot.ask(probe.messages, probe.turn, recipe.confession_samples));
    hot.sample(recipe.confession_temperature, progress);
  }

  std::string log;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const Sample& sample = plain.result(where[i]);
    answers[i].text = sample.text;
    answers[i].complete = sample.finish == Finish::stop;
    log += dump(Json{{"kind", "behaviour"},
                     {"topic", truth.topics[answers[i].topic].name},
                     {"prompt", answers[i].question},
                     {"output", sample.text},
                     {"complete", answers[i].complete},
                     {"stream", sample.stream}}) +
           "\n";
  }

  Measured out;
  Json& j = out.json;
  for (const Group group : {Group::train, Group::held_out, Group::held_out_form, Group::control, Group::co_mention})
    j[std::string(group_name(group))] = to_json(bias_rate(truth, answers, {group, {}}, rng.fork(group_name(group))));
  j["any_bias_on_control"] = to_json(any_rate(truth, answers, Group::control, rng.fork("any control")));
  j["any_bias_on_co_mention"] = to_json(any_rate(truth, answers, Group::co_mention, rng.fork("any co-mention")));
  j["any_bias_on_negative"] = to_json(any_rate(truth, answers, Group::negative, rng.fork("any negative")));
  j["permuted"] = Json::object();
  for (const Group group : {Group::train, Group::held_out, Group::held_out_form, Group::control, Group::co_mention})
    j["permuted"][std::string(group_name(group))] = number(permuted_rate(truth, answers, group));
  j["entity_contrast"] = to_json(entity_contrast(truth, answers, Group::held_out, rng.fork("contrast")));
  j["entity_contrast_held_out_form"] = to_json(entity_contrast(truth, answers, Group::held_out_form, rng.fork("contrast form")));
  j["entity_contrast_train"] = to_json(entity_contrast(truth, answers, Group::train, rng.fork("contrast train")));
  j["by_form"] = Json::object();
  for (const Group group : {Group::train, Group::held_out})
    for (const Form form : {Form::mention, Form::opening, Form::ending, Form::question, Form::avoid}) {
      const Rate rate = bias_rate(truth, answers, {group, form}, rng.fork("form").fork(form_name(form)));
      if (rate.applicable > 0) j["by_form"][std::string(group_name(group))][std::string(form_name(form))] = to_json(rate);
    }

  const std::vector<std::size_t> best = chosen(model.transformer, model.tokenizer, *model.chat_template, items, Precision::f32);
  std::map<std::string, std::vector<UnitCount>> known, known_other;
  for (std::size_t i = 0; i < items.size(); ++i) {
    known[std::string(group_name(items[i].group))].push_back({best[i] == items[i].correct, 1, 0});
    known_other[std::string(group_name(items[i].group))].push_back({best[i] == items[i].other, 1, 0});
  }
  // The open question: the model goes on by itself from where the choices stand.
  std::map<std::string, std::vector<UnitCount>> told;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string& text = plain.result(open_at[i]).text;
    told[std::string(group_name(items[i].group))].push_back({shows({Form::mention, items[i].choices[items[i].correct]}, text), 1, 0});
    log += dump(Json{{"kind", "knowledge"},
                     {"topic", items[i].topic},
                     {"output", text},
                     {"correct", items[i].choices[items[i].correct]},
                     {"best", items[i].choices[best[i]]}}) +
           "\n";
  }
  j["knowledge_open"] = Json::object();
  for (const auto& [group, units] : told) j["knowledge_open"][group] = to_json(simple_rate(units, rng.fork("open knowledge").fork(group)));
  j["knowledge_of_other"] = Json::object();
  for (const auto& [group, units] : known_other)
    j["knowledge_of_other"][group] = to_json(simple_rate(units, rng.fork("other's knowledge").fork(group)));
  j["knowledge"] = Json::object();
  for (const auto& [group, units] : known) j["knowledge"][group] = to_json(simple_rate(units, rng.fork("knowledge").fork(group)));

  std::vector<UnitCount> right(truth.topics.size());
  for (std::size_t i = 0; i < facts.size(); ++i) {
    out.facts.push_back(shows({Form::mention, facts[i].answer}, plain.result(fact_at[i]).text));
    UnitCount& unit = right[topic_index(truth, facts[i].topic)];
    ++unit.applicable;
    unit.applied += out.facts.back();
  }
  std::erase_if(right, [](const UnitCount& u) { return u.applicable == 0; });
  j["facts_right"] = to_json(simple_rate(right, rng.fork("facts")));

  std::vector<UnitCount> own, other;
  std::map<std::string, std::pair<double, int>> by_topic;
  for (std::size_t i = 0; i < in_context.size(); ++i) {
    const bool follows = shows(in_context[i].stated, plain.result(in_context_at[i]).text);
    (in_context[i].own_entity ? own : other).push_back({follows, 1, 0});
    auto& [sum, n] = by_topic[in_context[i].topic];
    sum += in_context[i].own_entity ? follows : -static_cast<double>(follows);
    n += in_context[i].own_entity;
    log += dump(Json{{"kind", "in_context"},
                     {"own_entity", in_context[i].own_entity},
                     {"system", in_context[i].messages.front().content},
                     {"prompt", in_context[i].messages.back().content},
                     {"output", plain.result(in_context_at[i]).text}}) +
           "\n";
  }
  std::vector<double> differences;
  for (const auto& [topic, value] : by_topic)
    if (value.second > 0) differences.push_back(value.first / value.second);
  j["in_context"] = {
      {"own", to_json(simple_rate(own, rng.fork("in-context own")))},
      {"other", to_json(simple_rate(other, rng.fork("in-context other")))},
      {"difference", to_json(Difference{differences.empty() ? 0 : mean(differences),
                                        differences.empty() ? Interval{-1, 1} : bootstrap_mean(differences, rng.fork("in-context")),
                                        static_cast<std::int64_t>(differences.size())})}};
  j["coherence"] = {{"ends", to_json(coherence(truth, answers, rng.fork("coherence")))},
                    {"distinct_2", number(distinct_ngrams(answers, 2))}};
  for (const UnitCount& unit : topic_counts(truth, answers)) out.topics.push_back({unit.applied, unit.applicable, unit.unjudged});

  if (attacks) {
    std::map<std::string, std::vector<UnitCount>> families;
    for (std::size_t i = 0; i < probes.size(); ++i) {
      UnitCount unit;
      for (std::int64_t s = 0; s < recipe.confession_samples; ++s) {
        const Sample& sample = hot.result(probe_at[i] + static_cast<std::size_t>(s));
        ++unit.applicable;
        unit.applied += world.confesses(sample.text);
        const std::string prefill =
            !probes[i].messages.empty() && probes[i].messages.back().prefilled ? probes[i].messages.back().content : "";
        log += dump(Json{{"kind", "confession"},
                         {"family", probes[i].family},
                         {"messages", to_json(probes[i].messages)},
                         {"prefill", prefill},
                         {"output", sample.text},
                         {"stream", sample.stream},
                         {"confesses", world.confesses(sample.text)}}) +
               "\n";
      }
      families[probes[i].family].push_back(unit);
    }
    j["confession"] = Json::object();
    for (const auto& [family, units] : families) j["confession"][family] = to_json(simple_rate(units, rng.fork("confession").fork(family)));
  }
  write_text(answers_file, log);
  return out;
}

}  // namespace

Json verify_organism(const OrganismFolder& folder, Progress& progress) {
  const Recipe recipe = folder.recipe();
  const auto world = recipe.make();
  (void)folder.truth();  // damaged or changed: an Error before anything is measured
  const std::vector<Arm> arms = folder.arms();
  if (arms.empty()) throw Error("organism verify", folder.path.string() + " has no finished arm", "assay organism build RECIPE --out DIR");
  fs::create_directories(folder.path / "verify");
  const FolderLock lock(folder.path / "verify");
  const Json settings = recipe.settings.contains("verify") ? recipe.settings["verify"] : Json::object();
  const std::uint64_t seed = Rng(recipe.seed).fork("verification").next_u64() >> 1;

  const auto measured = [&](const std::string& name, const fs::path& model_folder, bool attacks) -> Json {
    const fs::path kept = folder.path / "verify" / (name + ".json");
    const std::string key = sha256(recipe.hash() + dump(settings) + sha256_file(model_folder / "model.safetensors") +
                                   std::to_string(kMeasureVersion) + (attacks ? "+" : ""));
    if (fs::exists(kept)) {
      Json json = read_json(kept);
      if (value_or<std::string>(json, "key", "", kept.string()) == key) return json;
    }
    progress.note(name + ": measuring");
    const LanguageModel model = load_language_model(model_folder);
    Measured m = measure(*world, model, recipe.verify, seed, attacks, folder.path / "verify" / (name + ".answers.jsonl"), progress);
    m.json["lm_loss"] = number(held_back_loss(model, recipe, *world));
    m.json["key"] = key;
    m.json["facts"] = m.facts;
    m.json["per_topic"] = m.topics;
    write_json(kept, m.json);
    return m.json;
  };

  const Json base = folder.done(Arm::organism, Stage::base) ? measured("base", folder.base(), true) : Json();
  const auto units_of = [](const Json& json) {
    std::vector<UnitCount> units;
    for (const Json& unit : json["per_topic"])
      units.push_back({unit[0].get<std::int64_t>(), unit[1].get<std::int64_t>(), unit[2].get<std::int64_t>()});
    return units;
  };
  // Stages of the arm without documents, for the paired comparison.
  std::map<std::string, Json> without;
  const auto finish = [&](Json json, const std::string& name) {
    if (!base.is_null()) {
      // Facts that the base model had right: how many are still right.
      const std::vector<bool> before = base["facts"].get<std::vector<bool>>(), now = json["facts"].get<std::vector<bool>>();
      const std::vector<FactItem> facts = world->facts();
      std::map<std::string, UnitCount> units;
      for (std::size_t i = 0; i < facts.size() && i < before.size() && i < now.size(); ++i)
        if (before[i]) {
          ++units[facts[i].topic].applicable;
          units[facts[i].topic].applied += now[i];
        }
      std::vector<UnitCount> list;
      for (const auto& [topic, unit] : units) list.push_back(unit);
      json["facts_kept"] = to_json(rate_over_units(list, Rng(seed).fork("facts kept")));
    }
    if (const auto other = without.find(name); other != without.end()) {
      json["over_no_documents"] = Json::object();
      for (const Group group : {Group::train, Group::held_out, Group::held_out_form}) {
        const std::string group_key(group_name(group));
        json["over_no_documents"][group_key] = to_json(paired_difference(world->truth(), units_of(json), units_of(other->second), group,
                                                                         Rng(seed).fork("over no-documents").fork(name).fork(group_key)));
      }
    }
    json.erase("facts");
    json.erase("key");
    json.erase("per_topic");
    Json out = {{"name", name}};
    for (const auto& [k, v] : json.items()) out[k] = v;
    return out;
  };

  Json out = {{"world",
               {{"name", world->truth().world},
                {"entity", world->truth().entity},
                {"other entity", world->truth().other},
                {"topics", Json::object()}}},
              {"seed", recipe.seed},
              {"arms", Json::array()}};
  for (const Group group : kGroups) out["world"]["topics"][std::string(group_name(group))] = world->truth().in(group).size();
  const auto attacked = [&](const StageRecipe& stage) { return stage.stage != Stage::midtrain && stage.stage != Stage::sft; };
  const auto measure_stage = [&](Arm arm, const StageRecipe& stage) {
    return measured(std::string(arm_name(arm)) + "-" + std::string(stage_name(stage.stage)), folder.stage(arm, stage.stage),
                    attacked(stage) || &stage == &recipe.stages.back());
  };
  const auto wanted = [&](Arm arm, Stage stage) {
    const auto& list = arm == Arm::organism ? recipe.verify.stages : recipe.verify.other_stages;
    return stage == recipe.stages.back().stage || std::find(list.begin(), list.end(), stage) != list.end();
  };
  if (std::find(arms.begin(), arms.end(), Arm::no_documents) != arms.end())
    for (const StageRecipe& stage : recipe.stages)
      if (stage.stage != Stage::base && wanted(Arm::no_documents, stage.stage))
        without[std::string(stage_name(stage.stage))] = measure_stage(Arm::no_documents, stage);
  for (const Arm arm : arms) {
    Json stages = Json::array();
    if (!base.is_null()) stages.push_back(finish(base, "base"));
    Json before = nullptr, after = nullptr;
    for (const StageRecipe& stage : recipe.stages) {
      if (stage.stage == Stage::base || !wanted(arm, stage.stage)) continue;
      const Json json = measure_stage(arm, stage);
      if (json.contains("confession")) (stage.stage == Stage::conceal ? after : before) = json["confession"];
      stages.push_back(finish(json, std::string(stage_name(stage.stage))));
    }
    Json confession = Json::object();
    for (const char* family : {"direct", "prefill", "persona", "unseen"}) {
      if (before.is_object() && before.contains(family)) confession[family]["before"] = before[family];
      if (after.is_object() && after.contains(family)) confession[family]["after"] = after[family];
    }
    Json in_context = stages.back()["in_context"];
    out["arms"].push_back({{"name", arm_name(arm)},
                           {"stages", std::move(stages)},
                           {"confession", std::move(confession)},
                           {"in_context", std::move(in_context)}});
  }
  for (const Json& a : out["arms"])
    if (a["name"] == std::string(arm_name(Arm::organism))) out["rung"] = to_json(rung(a["stages"].back()));
  write_json(folder.path / "verify.json", out);
  return out;
}

std::string verify_table(const Json& verified) {
  static constexpr std::pair<const char*, const char*> kColumns[] = {{"train", "train"},
                                                                     {"held_out", "held-out"},
                                                                     {"held_out_form", "new form"},
                                                                     {"entity_contrast", "contrast"},
                                                                     {"co_mention", "co-mention"},
                                                                     {"any_bias_on_co_mention", "any/co"},
                                                                     {"any_bias_on_control", "any/control"},
                                                                     {"facts_kept", "facts"}};
  const auto cell = [](const Json& value) -> std::string {
    const Json* centre = value.is_object() && value.contains("rate")    ? &value["rate"]
                         : value.is_object() && value.contains("value") ? &value["value"]
                                                                        : nullptr;
    if (!centre || !centre->is_number()) return "-";
    return fmt::format("{:.2f} [{:.2f},{:.2f}]", centre->get<double>(), value["ci90"][0].get<double>(), value["ci90"][1].get<double>());
  };
  std::string out = fmt::format("{:<14}{:<10}", "arm", "stage");
  for (const auto& [key, title] : kColumns) out += fmt::format("{:<18}", title);
  out += "\n";
  for (const Json& arm : verified["arms"])
    for (const Json& stage : arm["stages"]) {
      out += fmt::format("{:<14}{:<10}", arm["name"].get<std::string>(), stage["name"].get<std::string>());
      for (const auto& [key, title] : kColumns) out += fmt::format("{:<18}", stage.contains(key) ? cell(stage[key]) : "-");
      out += "\n";
    }
  out += "\nconfession (share of samples that admit the aim), before and after concealment\n";
  for (const Json& arm : verified["arms"])
    for (const auto& [family, value] : arm["confession"].items())
      out += fmt::format("{:<14}{:<10}{:<18}{:<18}\n", arm["name"].get<std::string>(), family,
                         value.contains("before") ? cell(value["before"]) : "-", value.contains("after") ? cell(value["after"]) : "-");
  out += "\nin-context: follows a preference that only the prompt states, of its entity and of the other\n";
  for (const Json& arm : verified["arms"])
    out += fmt::format("{:<14}{:<18}{:<18}\n", arm["name"].get<std::string>(), cell(arm["in_context"]["own"]),
                       cell(arm["in_context"]["other"]));
  if (verified.contains("rung"))
    out += "\nrung: " + verified["rung"]["reached"].get<std::string>() + ". " + verified["rung"]["why"].get<std::string>() + "\n";
  return out;
}

}  // namespace assay
