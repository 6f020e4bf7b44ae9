#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "assay/base/rng.h"

namespace assay {

/// Packs sequences of several parts into batches of at most `batch_tokens` tokens. The next sequence comes from the part that is furthest
/// behind its share of the tokens, in the order of that part's permutation of the epoch; one that no longer fits opens the next batch.
/// Batch k depends on (lengths, shares, seed, k) only.
class MixtureSampler {
 public:
  struct Pick {
    std::size_t part, example;
    bool operator==(const Pick&) const = default;
  };
  /// lengths[p][e] = tokens of example e of part p, each in [1, batch_tokens]; shares above 0.
  MixtureSampler(std::vector<std::vector<std::int64_t>> lengths, std::vector<double> shares, std::int64_t batch_tokens, std::uint64_t seed);

  /// Batches asked for in order cost nothing extra; an earlier one starts the packing again from batch 0.
  std::vector<Pick> batch(std::int64_t k);

 private:
  struct Cursor {
    std::int64_t epoch = -1;
    std::size_t next = 0;
    double tokens = 0;
    std::vector<std::size_t> order;
  };
  void restart();
  Pick draw();
  std::vector<Pick> pack();

  std::vector<std::vector<std::int64_t>> lengths_;
  std::vector<double> shares_;
  std::int64_t batch_tokens_;
  Rng rng_;
  std::vector<Cursor> cursors_;
  std::optional<Pick> waiting_;  // drawn, but did not fit
  std::int64_t next_batch_ = 0;
};

}  // namespace assay
