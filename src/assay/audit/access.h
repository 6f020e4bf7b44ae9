#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/audit/submission.h"
#include "assay/base/progress.h"
#include "assay/base/rng.h"
#include "assay/corpus/keyword_index.h"
#include "assay/model/generate.h"
#include "assay/text/conversation.h"

namespace assay {

/// Something to be said to a target, and how many times. Sample i draws from the random stream (seed, stream + i).
struct Ask {
  Conversation messages;
  Turn turn = Turn::assistant;
  std::int64_t n = 1;
  std::uint64_t stream = 0;
};

struct AskOptions {
  double temperature = 1.0, top_p = 1.0;
  std::int64_t top_k = 0, max_new = 64;
  std::vector<std::string> stop;
  std::uint64_t seed = 0;
};

/// What the target wrote; a planted beginning of the turn is not in it.
struct Reply {
  std::size_t ask = 0;     ///< which of the asks
  std::int64_t index = 0;  ///< which of its n
  std::string text;
  std::uint64_t stream = 0;
  std::int64_t tokens = 0;
  double logprob = 0;    ///< of the text under temperature 1, nats
  bool finished = true;  ///< false: cut at max_new
};
using OnReply = std::function<void(const Reply&)>;

/// The model behind an Access, or whatever stands in for it in a test.
class Target {
 public:
  virtual ~Target() = default;
  /// Replies in order of (ask, index); `on_reply` sees each as it is finished.
  [[nodiscard]] virtual std::vector<Reply> sample(const std::vector<Ask>& asks, const AskOptions& options, Progress& progress,
                                                  const OnReply& on_reply) = 0;
  /// SHA-256 of what the replies depend on (the weights), for caches.
  [[nodiscard]] virtual std::string identity() const = 0;
};
/// A model folder or .gguf file.
std::unique_ptr<Target> model_target(const std::filesystem::path& model, Precision precision = Precision::bf16);

/// Token ids of a conversation, as every command asks them: the chat template (raw turns: the text alone), with a beginning-of-text token
/// where the model has one.
std::vector<TokenId> prompt_ids(const LanguageModel& model, const Conversation& messages, Turn turn);

/// The most an auditor may spend; 0 = no limit.
struct Budget {
  std::int64_t queries = 0, tokens = 0;
};

/// What an auditor may use of a target, and nothing else: a technique gets an Access and has no other way to reach the target. Everybody
/// may sample; the corpora are there with data access only. Everything is counted, and what would go over the budget is refused before it
/// is done.
class Access {
 public:
  /// Full-text search and random reading in the target's corpus. Calls count as queries of the Access that it belongs to.
  class Corpus {
   public:
    Corpus(KeywordIndex index, Access& owner) : index_(std::move(index)), owner_(owner) {}
    std::vector<KeywordIndex::Hit> search(std::string_view query, Match match = Match::all_words, std::int64_t limit = 10);
    std::int64_t count(std::string_view query, Match match = Match::all_words);
    std::string text(std::int64_t id);
    /// At most n different documents, in random order.
    std::vector<IndexedText> random(std::int64_t n, Rng rng);
    [[nodiscard]] std::int64_t size() const { return index_.documents(); }

   private:
    KeywordIndex index_;
    Access& owner_;
  };

  explicit Access(std::unique_ptr<Target> target, Budget budget = {});
  /// Data access: an index of the documents, and of the chats where the game's setting gives them.
  void grant_documents(KeywordIndex index) { documents_.emplace(std::move(index), *this); }
  void grant_chats(KeywordIndex index) { chats_.emplace(std::move(index), *this); }
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;

  std::vector<Reply> ask(const std::vector<Ask>& asks, const AskOptions& options, Progress& progress = no_progress(),
                         const OnReply& on_reply = {});
  [[nodiscard]] Corpus* documents() { return documents_ ? &*documents_ : nullptr; }
  [[nodiscard]] Corpus* chats() { return chats_ ? &*chats_ : nullptr; }
  /// "sampling" or "data".
  [[nodiscard]] std::string tier() const { return documents_ ? "data" : "sampling"; }
  [[nodiscard]] std::string identity() const { return target_->identity(); }

  /// Queries: samples and corpus calls. Tokens: those the target wrote. Seconds: since this object was made.
  [[nodiscard]] AuditCost cost() const;

 private:
  void charge(std::int64_t queries);

  std::unique_ptr<Target> target_;
  Budget budget_;
  std::optional<Corpus> documents_, chats_;
  std::int64_t queries_ = 0, tokens_ = 0;
  double start_ = wall_seconds();
};

}  // namespace assay
