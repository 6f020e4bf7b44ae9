#pragma once
#include <functional>
#include <string>
#include <vector>

#include "assay/cli/command.h"
#include "assay/model/config.h"

namespace assay::cli {

/// What one benchmark counts, and one call of it.
struct Work {
  std::string unit;
  double amount = 0;  ///< units a call
  std::function<void()> call;
  Json config = Json::object();
};

struct Benchmark {
  std::string name, about;
  std::function<Work(const Context&)> make;
};

/// A Llama-shaped model's sizes.
ModelConfig bench_config(std::int64_t n_layers, std::int64_t d_model, std::int64_t n_heads, std::int64_t n_kv_heads, std::int64_t d_mlp,
                         std::int64_t d_vocab, std::int64_t n_ctx, bool tied);

/// The split autoencoder of MNIST (bench_split.cpp).
Benchmark split_benchmark();
/// Sampling (bench_generate.cpp).
std::vector<Benchmark> generation_benchmarks();

}  // namespace assay::cli
