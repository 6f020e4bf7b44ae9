#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "assay/audit/access.h"
#include "assay/audit/techniques/evidence.h"
#include "assay/corpus/embedding_index.h"
#include "assay/sae/trainer.h"

namespace assay {

/// A text that latents are trained on, labelled with, or both.
struct LatentText {
  std::vector<TokenId> ids;
  std::string where;   ///< "documents:17", "chats:3", "samples:5"
  bool trains = true;  ///< in the SAE's training mix
  bool labels = true;  ///< may label a latent
  std::size_t id = 0;  ///< the caller's own number
};

struct LatentOptions {
  std::string hook;  ///< empty = blocks.N.hook_resid_post in the middle
  SaeTrainOptions train;
  std::int64_t max_tokens = 300000;  ///< of the training mix; texts beyond are left out
  std::size_t top = 8;               ///< texts that label a latent
};

/// An SAE of a target whose latents are labelled by the texts that they are most active on (arXiv 2503.10965, section 5). Everything that
/// is computed goes through the Access and is counted by it.
class LabelledLatents {
 public:
  struct Label {
    std::size_t text = 0;  ///< of texts()
    std::int64_t position = 0;
    double value = 0;
  };
  struct Active {
    std::int32_t latent = 0;
    std::int64_t position = 0;
    double value = 0;
  };

  /// Trains on the mix, then labels. With `checkpoint` training that was stopped goes on. Needs the right to the weights.
  static LabelledLatents learn(Access& access, std::vector<LatentText> texts, const LatentOptions& options,
                               const std::optional<std::filesystem::path>& checkpoint, Progress& progress);
  /// Labels the latents of an SAE that there is already.
  static LabelledLatents label(Access& access, Sae sae, std::vector<LatentText> texts, const LatentOptions& options, Progress& progress);

  [[nodiscard]] const Sae& sae() const { return sae_; }
  [[nodiscard]] const std::string& hook() const { return hook_; }
  [[nodiscard]] double explained_variance() const { return explained_variance_; }  ///< on the labelling texts
  [[nodiscard]] const std::vector<LatentText>& texts() const { return texts_; }
  /// The most active first; each text at its most active token.
  [[nodiscard]] const std::vector<Label>& labels(std::int32_t latent) const { return labels_[static_cast<std::size_t>(latent)]; }
  /// Of each text that labels: the latents active in it, at their most active token.
  [[nodiscard]] const std::vector<std::vector<Active>>& by_text() const { return by_text_; }
  /// Some tokens around a label's place, that one in [brackets].
  [[nodiscard]] std::string snippet(const Access::Weights& weights, const Label& label) const;

  /// The latents active on each prompt, the most active first. At the last token alone, or (at its most active token) anywhere.
  [[nodiscard]] std::vector<std::vector<Active>> active(Access& access, const std::vector<std::vector<TokenId>>& prompts,
                                                        bool last_only) const;

 private:
  Sae sae_;
  std::string hook_;
  double explained_variance_ = 0;
  std::vector<LatentText> texts_;
  std::vector<std::vector<Label>> labels_;
  std::vector<std::vector<Active>> by_text_;
};

/// Texts of an index as texts for latents: at most `n` of them, drawn by the seed.
std::vector<LatentText> latent_texts(Access& access, Access::Corpus& corpus, const std::string& name, std::int64_t n, Rng rng);

/// The target's own points: the mean over a text's tokens of the residual stream in the middle, centred; counted by the Access.
std::unique_ptr<Embedder> access_embedder(Access& access);

/// Latents whose labels are nearest in meaning to the query, the nearest first: (latent, cosine).
std::vector<std::pair<std::int32_t, double>> search_latents(Access& access, const LabelledLatents& latents, const Embedder& embedder,
                                                            const std::string& query, std::size_t limit);

/// One piece of evidence an active latent of a prompt: output = the snippets of its first labels, score = its activation, where = the
/// latent, the token, and the first label's text.
std::vector<Evidence> latent_evidence(Access& access, const LabelledLatents& latents, const std::vector<Conversation>& prompts, Turn turn,
                                      bool last_only, std::size_t limit, std::uint64_t seed);

}  // namespace assay
