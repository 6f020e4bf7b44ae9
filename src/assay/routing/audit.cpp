#include "assay/routing/audit.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstring>

#include "assay/base/error.h"
#include "assay/base/progress.h"

namespace assay::routing {
namespace {

/// A running hash over f32 runs: four lanes of multiply and rotate, eight bytes each, so that it reads at memory speed. Not cryptographic:
/// it guards against mistakes.
class RunHash {
 public:
  void add(const float* values, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
      std::uint64_t words[4];
      std::memcpy(words, values + i, sizeof words);
      for (int lane = 0; lane < 4; ++lane) {
        lanes_[lane] = (lanes_[lane] ^ words[lane]) * 0x9E3779B97F4A7C15ULL;
        lanes_[lane] ^= lanes_[lane] >> 29;
      }
    }
    for (; i < n; ++i) {
      std::uint32_t word;
      std::memcpy(&word, values + i, sizeof word);
      lanes_[0] = (lanes_[0] ^ word) * 0xC2B2AE3D27D4EB4FULL;
      lanes_[0] ^= lanes_[0] >> 31;
    }
    n_ += static_cast<std::uint64_t>(n);
  }
  [[nodiscard]] std::uint64_t value() const {
    std::uint64_t h = n_;
    for (const auto lane : lanes_) h = ((h ^ lane) * 0xD6E8FEB86659FD93ULL) ^ (h >> 32);
    return h;
  }
  [[nodiscard]] std::uint64_t bytes() const { return n_ * sizeof(float); }

 private:
  std::uint64_t lanes_[4] = {1, 2, 3, 4}, n_ = 0;
};

/// add(first element, n) for the runs of a matrix [rows, columns] that a block's slices cover, or (inverse) that no slice covers.
template <class Add>
void each_run(const Tensor& value, const std::vector<const ParameterSlice*>& slices, bool inverse, const Add& add) {
  const std::int64_t rows = value.size(0), columns = value.numel() / std::max<std::int64_t>(rows, 1);
  std::vector<char> row_in(static_cast<std::size_t>(rows), 0), column_in(static_cast<std::size_t>(columns), 0);
  for (const ParameterSlice* s : slices) {
    auto& in = s->axis == 0 ? row_in : column_in;
    std::fill(in.begin() + s->begin, in.begin() + s->end, char{1});
  }
  const bool any_column = std::find(column_in.begin(), column_in.end(), 1) != column_in.end();
  for (std::int64_t r = 0; r < rows; ++r) {
    if (!any_column || row_in[static_cast<std::size_t>(r)] != 0) {
      if ((row_in[static_cast<std::size_t>(r)] != 0) != inverse) add(r * columns, columns);
      continue;
    }
    for (std::int64_t c = 0; c < columns;) {
      auto end = c;
      while (end < columns && column_in[static_cast<std::size_t>(end)] == column_in[static_cast<std::size_t>(c)]) ++end;
      if ((column_in[static_cast<std::size_t>(c)] != 0) != inverse) add(r * columns + c, end - c);
      c = end;
    }
  }
}

}  // namespace

std::uint64_t Audit::hash(const AdamW& optimizer, std::size_t block) const {
  RunHash all;
  const NamedTensors state = optimizer.state();
  for (const TrainedParameter& p : optimizer.parameters()) {
    std::vector<const ParameterSlice*> slices;
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
      if (block != 0 && b + 1 != block) continue;
      for (const ParameterSlice& s : blocks_[b].slices) {
        if (s.parameter == p.name) slices.push_back(&s);
      }
    }
    if (block != 0 && slices.empty()) continue;
    const Tensor here[] = {p.value.detach().cpu(), state.at("exp_avg/" + p.name).cpu(), state.at("exp_avg_sq/" + p.name).cpu()};
    const float* arrays[] = {here[0].const_data_ptr<float>(), here[1].const_data_ptr<float>(), here[2].const_data_ptr<float>()};
    each_run(p.value, slices, block == 0, [&](std::int64_t first, std::int64_t n) {
      for (const float* array : arrays) all.add(array + first, n);
    });
  }
  bytes_ += all.bytes();
  return all.value();
}

void Audit::before(const AdamW& optimizer, std::int64_t step, const std::vector<bool>& frozen) {
  active_ = every_ > 0 && step % every_ == 0;
  hashes_.resize(frozen.size());
  frozen_ = frozen;
  const double start = cpu_seconds();
  for (std::size_t b = 0; b < frozen.size(); ++b) {
    if (!frozen[b]) {
      hashes_[b].reset();
    } else if (active_ && !hashes_[b]) {
      hashes_[b] = hash(optimizer, b);
    }
  }
  cpu_s_ += cpu_seconds() - start;
}

void Audit::after(const AdamW& optimizer, std::int64_t step) {
  if (!active_) return;
  const double start = cpu_seconds();
  for (std::size_t b = 0; b < frozen_.size(); ++b) {
    if (!frozen_[b]) continue;
    ++checks_;
    if (hash(optimizer, b) != *hashes_[b]) {
      throw Error("audit", "block '" + name(b) + "' moved at step " + std::to_string(step) + ", and no token of the step reaches it",
                  "this is a fault of the program or of what runs beside it; the last checkpoint is untouched");
    }
  }
  ++steps_;
  cpu_s_ += cpu_seconds() - start;
}

Json Audit::report() const { return Json{{"every", every_}, {"steps", steps_}, {"checks", checks_}, {"bytes", bytes_}, {"cpu_s", cpu_s_}}; }

}  // namespace assay::routing
