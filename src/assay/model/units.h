#pragma once
#include <cstdint>
#include <vector>

#include "assay/model/transformer.h"

namespace assay {

/// Hidden units of a model's blocks, by layer: MLP neurons and query heads.
struct Units {
  std::vector<std::vector<std::int64_t>> neurons, heads;  ///< [n_layers][any number of indices]

  static Units none(std::int64_t n_layers);
  [[nodiscard]] std::int64_t count() const;
};
/// Throws an Error that names `where` for another number of layers and for indices that the model does not have, or has twice.
void check_units(const Units& units, const ModelConfig& config, const std::string& where);

/// For a pass in which what these units write is 0.
void silence(Hooks& hooks, const Units& units);

/// Neurons and heads of every layer in a random order (KV heads with their groups, heads within each); the model computes what it did, up
/// to the rounding of sums. Returns for each layer the old index of each new unit.
Units shuffle_units(Transformer& model, Rng rng);
/// The same units after shuffle_units: `order` is what it returned. Ascending.
Units after_shuffle(const Units& units, const Units& order);

}  // namespace assay
