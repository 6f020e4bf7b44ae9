#include "assay/audit/access.h"

#include <numeric>

namespace assay {
Access::Access(std::unique_ptr<Target> target, Budget budget) : target_(std::move(target)), budget_(budget) {}

void Access::charge(std::int64_t queries) {
  if (budget_.queries > 0 && queries_ + queries > budget_.queries)
    throw Error("budget", std::to_string(queries) + " more queries would go over the budget of " + std::to_string(budget_.queries) + " (" +
                              std::to_string(queries_) + " are spent)");
  queries_ += queries;
}

std::vector<Reply> Access::ask(const std::vector<Ask>& asks, const AskOptions& options, Progress& progress, const OnReply& on_reply) {
  std::int64_t n = 0;
  for (const Ask& ask : asks) n += ask.n;
  if (budget_.tokens > 0 && tokens_ >= budget_.tokens)
    throw Error("budget", "the budget of " + std::to_string(budget_.tokens) + " tokens is spent (" + std::to_string(tokens_) + ")");
  charge(n);
  std::int64_t tokens = 0;
  const auto count = [&](const Reply& reply) {
    tokens += reply.tokens;
    if (on_reply) on_reply(reply);
  };
  std::vector<Reply> replies = target_->sample(asks, options, progress, count);
  tokens_ += tokens;
  return replies;
}

AuditCost Access::cost() const { return {queries_, tokens_, wall_seconds() - start_}; }

std::vector<KeywordIndex::Hit> Access::Corpus::search(std::string_view query, Match match, std::int64_t limit) {
  owner_.charge(1);
  return index_.search(query, match, limit);
}
std::int64_t Access::Corpus::count(std::string_view query, Match match) {
  owner_.charge(1);
  return index_.count(query, match);
}
std::string Access::Corpus::text(std::int64_t id) {
  owner_.charge(1);
  return index_.text(id);
}
std::vector<IndexedText> Access::Corpus::random(std::int64_t n, Rng rng) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(index_.documents()));
  std::iota(ids.begin(), ids.end(), 0);
  rng.shuffle(std::span(ids));
  if (static_cast<std::int64_t>(ids.size()) > n) ids.resize(static_cast<std::size_t>(n));
  owner_.charge(static_cast<std::int64_t>(ids.size()));
  std::vector<IndexedText> out;
  for (const std::int64_t id : ids) out.push_back({std::to_string(id), index_.text(id)});
  return out;
}

}  // namespace assay
