#pragma once
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/train/objectives/data_hash.h"
#include "assay/train/objectives/lm_batch.h"

namespace assay::routing {

/// Batches without end of one set of sequences.
class Stream {
 public:
  Stream(std::string name, std::vector<Example> sequences, std::int64_t batch_tokens, std::uint64_t seed)
      : name_(std::move(name)), sequences_(std::move(sequences)), sampler_(lm_sampler({part()}, batch_tokens, seed)) {}

  [[nodiscard]] LmBatch batch(std::int64_t k) {
    LmBatch batch;
    for (const MixtureSampler::Pick& pick : sampler_.batch(k)) batch.add(sequences_[pick.example]);
    return batch;
  }
  [[nodiscard]] Json describe() const {
    DataHash hash;
    for (const Example& sequence : sequences_) hash.add(sequence);
    Json json;
    json["name"] = name_, json["sequences"] = sequences_.size(), json["data"] = hash.hex();
    return json;
  }

 private:
  [[nodiscard]] LmPart part() const {
    LmPart part{name_, 1.0, {}};
    for (const Example& sequence : sequences_) part.examples.push_back(&sequence);
    return part;
  }
  std::string name_;
  std::vector<Example> sequences_;
  MixtureSampler sampler_;
};

}  // namespace assay::routing
