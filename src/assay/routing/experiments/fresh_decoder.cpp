#include "assay/routing/experiments/fresh_decoder.h"

#include <ATen/ATen.h>

#include <numeric>

#include "assay/base/error.h"
#include "assay/routing/experiments/dense_kernels.h"

namespace assay::routing {

Tensor FreshDecoder::reconstruct(const Tensor& encodings, Precision precision) const {
  return routing::reconstruct(net, (encodings - mean) / std, 0, precision);
}

FreshDecoder train_fresh_decoder(const Tensor& encodings, const SplitImages& images, Measure loss, const SplitOptions& options,
                                 Precision precision, Rng rng, const std::string& name, Progress& progress) {
  const std::int64_t n = images.n(), d = encodings.size(1), batch = options.fresh_batch;
  FreshDecoder fresh;
  fresh.mean = encodings.mean(0);
  fresh.std = encodings.std(0, /*unbiased=*/false).clamp_min(1e-12);
  std::vector<std::int64_t> sizes = options.fresh_hidden;
  sizes.insert(sizes.begin(), d);
  sizes.push_back(kPixels);
  fresh.net = DenseNet::random(sizes, /*last_bias=*/true, rng.fork("weights"));
  std::vector<TrainedParameter> parameters;
  fresh.net.add_parameters("fresh", parameters);
  AdamW adam(parameters, {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8});
  const Tensor x = ((encodings - fresh.mean) / fresh.std).contiguous();
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const std::int64_t total = options.fresh_epochs * n;
  progress.begin(name, total, "images");
  std::int64_t done = 0;
  for (std::int64_t epoch = 0; epoch < options.fresh_epochs; ++epoch) {
    rng.fork("epochs").fork(static_cast<std::uint64_t>(epoch)).shuffle(std::span(order));
    for (std::int64_t first = 0; first < n; first += batch) {
      if (progress.stop_requested()) throw Interrupted("route mnist");
      const std::int64_t rows_of = std::min(batch, n - first);
      DensePass pass(fresh.net, precision, rows_of, /*train=*/true, /*to_input=*/false);
      std::vector<double> errors(static_cast<std::size_t>(rows_of));
      fused::for_tiles(rows_of, [&](std::int64_t begin, std::int64_t rows, std::int64_t) {
        const fused::Words y(rows * kPixels), input(rows * d), target(kPixels);
        const auto image = [&](std::int64_t r) { return order[static_cast<std::size_t>(first + begin + r)]; };
        for (std::int64_t r = 0; r < rows; ++r) std::copy_n(x.data_ptr<float>() + image(r) * d, d, input.floats() + r * d);
        pass.forward(begin, rows, input.floats(), d, y.floats());
        const float scale = 1.0F / static_cast<float>(rows_of * kPixels);
        for (std::int64_t r = 0; r < rows; ++r) {
          images.target(image(r), target.floats());
          errors[static_cast<std::size_t>(begin + r)] =
              loss == Measure::mae ? dense::absolute_error(y.floats() + r * kPixels, target.floats(), kPixels, scale)
                                   : dense::squared_error(y.floats() + r * kPixels, target.floats(), kPixels, scale);
        }
        pass.backward(begin, rows, y.floats(), nullptr);
      });
      pass.store_gradients();
      adam.step(options.lr * (1.0 - static_cast<double>(done) / static_cast<double>(total)));
      done += rows_of;
      const double error = std::accumulate(errors.begin(), errors.end(), 0.0) / static_cast<double>(rows_of * kPixels);
      progress.update(done, "error " + std::to_string(error).substr(0, 6));
    }
  }
  progress.end();
  return fresh;
}

}  // namespace assay::routing
