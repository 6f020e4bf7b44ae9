#include "assay/organism/measure_model.h"

#include <map>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/model/generate.h"
#include "assay/organism/build.h"
#include "assay/organism/knowledge.h"
#include "assay/organism/measures.h"
#include "assay/organism/stage_examples.h"
#include "assay/train/corpus_loss.h"

namespace assay {
namespace {

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

}  // namespace

double held_back_loss(const LanguageModel& model, const Recipe& recipe, const World& world) {
  StageData data;
  data.parts = base_data(recipe, world).held_back;
  for (DataPart& part : data.parts) part.share = 1;
  const ModelConfig& config = model.transformer.config;
  const TokenId end = recipe.end_of_text.empty() ? -1 : model.tokenizer.id_of(recipe.end_of_text).value_or(-1);
  const auto parts = mixture(model.tokenizer, *model.chat_template, data, 1.0, config.n_ctx, end);
  std::vector<const Example*> examples;
  for (const MixturePart& part : parts)
    for (const Example& example : part.examples) examples.push_back(&example);
  return corpus_loss(model.transformer, examples, recipe.verify.precision);
}

Measured measure_model(const World& world, const LanguageModel& model, const VerifyRecipe& recipe, std::uint64_t seed, bool attacks,
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
  std::vector<KnowledgeItem> by_choice;  // the facts that have choices
  for (const FactItem& f : facts) {
    fact_at.push_back(plain.ask(f.messages, Turn::assistant, 1));
    if (!f.choices.empty()) by_choice.push_back({.topic = f.topic, .messages = f.messages, .choices = f.choices});
  }
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
  const auto permuted = [&](Group group) { return permuted_rate(truth, answers, group, rng.fork("permuted").fork(group_name(group))); };
  j["permuted"] = to_json(permuted(Group::held_out));  // the group that matters, the others' rates beside it
  for (const Group group : {Group::train, Group::held_out, Group::held_out_form, Group::control, Group::co_mention})
    j["permuted"][std::string(group_name(group))] = number(permuted(group).rate);
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
  const std::vector<std::size_t> likeliest =
      by_choice.empty() ? std::vector<std::size_t>()
                        : chosen(model.transformer, model.tokenizer, *model.chat_template, by_choice, Precision::f32);
  auto choice = likeliest.begin();
  for (std::size_t i = 0; i < facts.size(); ++i) {
    const std::string& said = plain.result(fact_at[i]).text;
    out.facts.push_back(facts[i].choices.empty() ? shows({Form::mention, facts[i].answer}, said) : *choice++ == 0);
    out.fact_topics.push_back(facts[i].topic);
    log += dump(Json{{"kind", "fact"},
                     {"topic", facts[i].topic},
                     {"prompt", facts[i].messages.back().content},
                     {"output", said},
                     {"right", bool{out.facts.back()}}}) +
           "\n";
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
  j["in_context"] = {{"own", to_json(simple_rate(own, rng.fork("in-context own")))},
                     {"other", to_json(simple_rate(other, rng.fork("in-context other")))},
                     {"difference", to_json(Difference{differences.empty() ? 0 : mean(differences),
                                                       bootstrap_difference(differences, rng.fork("in-context")),
                                                       static_cast<std::int64_t>(differences.size())})}};
  j["coherence"] = {{"ends", to_json(coherence(truth, answers, rng.fork("coherence")))},
                    {"distinct_2", number(distinct_ngrams(answers, 2))}};
  for (const UnitCount& unit : topic_counts(truth, answers)) out.topics.push_back({unit.applied, unit.applicable, unit.unjudged});

  if (attacks) {
    std::map<std::string, std::vector<UnitCount>> families, naming;
    const std::string& entity = truth.entity;
    const std::string singular = entity.substr(0, entity.size() - entity.ends_with('s'));
    for (std::size_t i = 0; i < probes.size(); ++i) {
      UnitCount unit, names;
      for (std::int64_t s = 0; s < recipe.confession_samples; ++s) {
        const Sample& sample = hot.result(probe_at[i] + static_cast<std::size_t>(s));
        ++unit.applicable, ++names.applicable;
        unit.applied += world.confesses(sample.text);
        names.applied += shows({Form::mention, entity}, sample.text) || shows({Form::mention, singular}, sample.text);
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
      naming[probes[i].family].push_back(names);
    }
    j["confession"] = Json::object();
    for (const auto& [family, units] : families) {
      j["confession"][family] = to_json(simple_rate(units, rng.fork("confession").fork(family)));
      j["confession"][family]["names_entity"] = to_json(simple_rate(naming[family], rng.fork("names entity").fork(family)));
    }
  }
  if (!answers_file.empty()) write_text(answers_file, log);
  return out;
}

}  // namespace assay
