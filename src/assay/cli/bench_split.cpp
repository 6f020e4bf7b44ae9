#include <memory>

#include "assay/cli/bench.h"
#include "assay/routing/experiments/split_autoencoder.h"
#include "assay/train/adamw.h"

namespace assay::cli {

/// A step of `assay route mnist` in its published size, setting 1, on random images: losses, gradients, Adam.
Benchmark split_benchmark() {
  struct State {
    routing::SplitOptions options;
    routing::ImageSet images;
    std::unique_ptr<routing::SplitImages> pixels;
    routing::SplitAutoencoder model;
    std::unique_ptr<AdamW> adam;
    std::vector<std::int64_t> batch;
  };
  return {"train-split", "a step of the split autoencoder of MNIST, 10.7 M parameters, 2048 images", [](const Context& context) -> Work {
            const auto state = std::make_shared<State>();
            Rng rng = Rng(context.seed).fork("bench");
            for (std::int64_t i = 0; i < state->options.batch; ++i) {
              state->batch.push_back(i);
              state->images.labels.push_back(static_cast<std::uint8_t>(rng.below(10)));
              for (std::int64_t p = 0; p < routing::kPixels; ++p)
                state->images.pixels.push_back(rng.chance(0.8) ? std::uint8_t{0} : static_cast<std::uint8_t>(rng.below(256)));
            }
            const Precision precision = context.precision();
            const routing::SplitSetting& setting = routing::split_setting(1);
            state->pixels = std::make_unique<routing::SplitImages>(state->images, 0, precision);
            state->model = routing::SplitAutoencoder::random(setting, state->options, rng.fork("weights"));
            state->adam = std::make_unique<AdamW>(state->model.parameters(),
                                                  AdamWOptions{.beta2 = 0.999, .weight_decay = 5e-5, .coupled_decay = true});
            return {"images", static_cast<double>(state->options.batch),
                    [state, precision, &setting] {
                      routing::split_gradients(state->model, setting, *state->pixels, state->batch, precision);
                      state->adam->step(state->options.lr);
                    },
                    Json{{"hidden", state->options.hidden}, {"half", state->options.half}, {"batch", state->options.batch}}};
          }};
}

}  // namespace assay::cli
