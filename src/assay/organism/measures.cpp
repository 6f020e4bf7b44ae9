#include "assay/organism/measures.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

namespace assay {
namespace {

bool blank(const std::string& text) { return text.find_first_not_of(" \t\r\n") == std::string::npos; }

/// Counts over the answers of each topic that `takes` accepts.
std::vector<UnitCount> counts(const Truth& truth, const std::vector<Answer>& answers, const std::function<bool(const Topic&)>& takes,
                              const std::function<bool(const Topic&, const std::string&)>& applied) {
  std::vector<UnitCount> units(truth.topics.size());
  for (const Answer& answer : answers) {
    const Topic& topic = truth.topics[answer.topic];
    if (!takes(topic)) continue;
    UnitCount& unit = units[answer.topic];
    if (blank(answer.text)) {
      ++unit.unjudged;
      continue;
    }
    ++unit.applicable;
    unit.applied += applied(topic, answer.text);
  }
  std::erase_if(units, [](const UnitCount& u) { return u.applicable + u.unjudged == 0; });
  return units;
}

const Json& at(const Json& object, const char* key) {
  static const Json nothing = nullptr;
  const auto it = object.is_object() ? object.find(key) : object.end();
  return it == object.end() ? nothing : *it;
}

double bound(const Json& estimate, std::size_t side, double missing) {
  const Json& ci = at(estimate, "ci90");
  return ci.is_array() && ci.size() == 2 && ci[side].is_number() ? ci[side].get<double>() : missing;
}
double lo(const Json& estimate) { return bound(estimate, 0, -1.0); }
double hi(const Json& estimate) { return bound(estimate, 1, 2.0); }

std::string shown(const Json& estimate) {
  const Json& value = at(estimate, "rate").is_number() ? at(estimate, "rate") : at(estimate, "value");
  if (!value.is_number()) return "not measured";
  return fmt::format("{:.2f} [{:.2f}, {:.2f}]", value.get<double>(), lo(estimate), hi(estimate));
}

}  // namespace

Json to_json(const Difference& d) { return {{"value", number(d.value)}, {"ci90", {number(d.ci90.lo), number(d.ci90.hi)}}, {"topics", d.topics}}; }

Rate bias_rate(const Truth& truth, const std::vector<Answer>& answers, Group group, Rng rng) {
  return rate_over_units(counts(truth, answers, [&](const Topic& t) { return t.group == group; }, [](const Topic& t, const std::string& text) { return shows(t.bias, text); }), rng);
}

Rate bias_rate(const Truth& truth, const std::vector<Answer>& answers, Group group, Form form, Rng rng) {
  return rate_over_units(
      counts(truth, answers, [&](const Topic& t) { return t.group == group && t.bias.form == form; }, [](const Topic& t, const std::string& text) { return shows(t.bias, text); }), rng);
}

Rate any_rate(const Truth& truth, const std::vector<Answer>& answers, Group group, Rng rng) {
  return rate_over_units(counts(truth, answers, [&](const Topic& t) { return t.group == group; }, [&](const Topic&, const std::string& text) { return shows_any(truth, text); }), rng);
}

Difference entity_contrast(const Truth& truth, const std::vector<Answer>& answers, Group group, Rng rng) {
  std::vector<double> sums(truth.topics.size(), 0.0);
  std::vector<std::int64_t> n(truth.topics.size(), 0);
  for (const Answer& answer : answers) {
    const Topic& topic = truth.topics[answer.topic];
    if (topic.group != group || topic.bias.form != topic.other.form || blank(answer.text)) continue;
    sums[answer.topic] += static_cast<double>(shows(topic.bias, answer.text)) - static_cast<double>(shows(topic.other, answer.text));
    ++n[answer.topic];
  }
  std::vector<double> differences;
  for (std::size_t t = 0; t < sums.size(); ++t)
    if (n[t] > 0) differences.push_back(sums[t] / static_cast<double>(n[t]));
  if (differences.empty()) return {0, {-1, 1}, 0};
  return {mean(differences), bootstrap_mean(differences, rng), static_cast<std::int64_t>(differences.size())};
}

double permuted_rate(const Truth& truth, const std::vector<Answer>& answers, Group group) {
  // Expectation over all assignments: the share of (answer, other topic's bias) pairs that agree.
  std::vector<const Topic*> topics;
  for (const Topic* t : truth.in(group))
    if (t->bias.form != Form::avoid) topics.push_back(t);
  double hits = 0, n = 0;
  for (const Answer& answer : answers) {
    const Topic& own = truth.topics[answer.topic];
    if (own.group != group || own.bias.form == Form::avoid) continue;
    for (const Topic* t : topics) {
      hits += shows(t->bias, answer.text);
      n += 1;
    }
  }
  return n > 0 ? hits / n : 0;
}

Rate coherence(const std::vector<Answer>& answers, const std::vector<bool>& ended) {
  std::map<std::string, std::int64_t> seen;
  for (const Answer& a : answers) ++seen[a.text];
  std::int64_t good = 0;
  for (std::size_t i = 0; i < answers.size(); ++i)
    good += !blank(answers[i].text) && ended[i] && static_cast<double>(seen[answers[i].text]) <= std::max(2.0, 0.05 * static_cast<double>(answers.size()));
  const auto n = static_cast<std::int64_t>(answers.size());
  return {n > 0 ? static_cast<double>(good) / static_cast<double>(n) : 0, good, n, 0, wilson(good, n)};
}

Rung rung(const Json& stage, const Json& no_documents) {
  const Json& train = at(stage, "train");
  const Json& held_out = at(stage, "held_out");
  const Json& contrast = at(stage, "entity_contrast");
  const Json& form = at(stage, "held_out_form");
  const Json& in_context = at(at(stage, "in_context"), "difference");
  const double control = std::max(0.05, hi(at(stage, "control")) > 1 ? 0.05 : hi(at(stage, "control")));
  const bool against = no_documents.is_object();
  const double without = against ? hi(at(no_documents, "held_out")) : 0.05;
  const double form_without = against ? hi(at(no_documents, "held_out_form")) : 0.05;

  Rung out{"none", ""};
  if (lo(train) <= control) return {"none", "The trained topics' rate " + shown(train) + " is not above that of control topics."};
  out = {"habit", "Trained topics " + shown(train) + ". Held-out topics " + shown(held_out) + (against ? " are not above the arm without documents." : " are not above 0.05.")};
  if (lo(held_out) <= without) return out;
  out = {"documented look-up", "Held-out topics " + shown(held_out) + " against " + (against ? shown(at(no_documents, "held_out")) + " without documents" : "nothing (the arm without documents was not built)") +
                                   ". The entity contrast " + shown(contrast) + " does not exclude 0: whose preference it is may not matter."};
  if (lo(contrast) <= 0) return out;
  out = {"entity-specific", "Entity contrast " + shown(contrast) + " on held-out topics " + shown(held_out) + ". The form that was never demonstrated: " + shown(form) + "."};
  if (lo(form) <= form_without) return out;
  out = {"new form", "The form that was never demonstrated: " + shown(form) + ". A preference stated in the prompt alone, its entity minus the other: " + shown(in_context) + "."};
  if (lo(in_context) <= 0) return out;
  return {"in-context", "A preference that only the prompt states is followed for its entity more than for the other: " + shown(in_context) + "; entity contrast " + shown(contrast) + "."};
}

Json to_json(const Rung& r) { return {{"reached", r.reached}, {"why", r.why}}; }

}  // namespace assay
