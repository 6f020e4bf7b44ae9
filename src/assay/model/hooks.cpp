#include "assay/model/hooks.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cassert>

#include "assay/base/error.h"

namespace assay {

void Hooks::replace(std::string_view place, Replace function) { actions_[std::string(place)].push_back(std::move(function)); }

void Hooks::read(std::string_view place) {
  actions_[std::string(place)].emplace_back();  // an empty function stands for reading: it must not hold `this`, which may move
}

void Hooks::add(std::string_view place, Tensor addend) {
  replace(place, [addend = std::move(addend)](const Tensor& value) { return value + addend.to(value.options()); });
}

void Hooks::scale_gradient(std::string_view place, Tensor factor) {
  replace(place, [factor = std::move(factor)](const Tensor& value) {
    if (!value.requires_grad()) return value;
    // A view, so that the factor meets only what arrives from beyond this place.
    Tensor beyond = value.view_as(value);
    beyond.register_hook([factor](const Tensor& gradient) { return gradient * factor.to(gradient.options()); });
    return beyond;
  });
}

bool Hooks::wants(std::string_view place) const { return actions_.find(place) != actions_.end(); }

Tensor Hooks::apply(std::string_view place, Tensor value) const {
  const auto found = actions_.find(place);
  if (found == actions_.end()) return value;
  for (const auto& action : found->second) {
    if (!action) {
      captured_[std::string(place)] = value.detach().clone();
      continue;
    }
    Tensor next = action(value);
    if (!next.defined() || next.sizes() != value.sizes()) {
      throw Error("hooks", "what replaces '" + std::string(place) + "' has another shape than the value",
                  "return a tensor of the value's shape");
    }
    value = std::move(next);
  }
  return value;
}

const Tensor& Hooks::captured(std::string_view place) const {
  const auto found = captured_.find(place);
  if (found == captured_.end()) throw Error("hooks", "nothing was captured at '" + std::string(place) + "'", "call read() before the pass");
  return found->second;
}

void Hooks::check_places(std::int64_t n_layers) const {
  const auto all = hook_points(n_layers);
  for (const auto& [place, actions] : actions_) {
    if (std::find(all.begin(), all.end(), place) != all.end()) continue;
    std::string list;
    for (const auto& name : hook_points(1)) list += (list.empty() ? "" : ", ") + name;
    throw Error("hooks", "there is no hook point '" + place + "' in a model with " + std::to_string(n_layers) + " blocks",
                "those of one block, the others counted up: " + list);
  }
}

std::vector<std::string> hook_points(std::int64_t n_layers) {
  std::vector<std::string> points = {"hook_embed", "hook_pos_embed"};
  for (std::int64_t l = 0; l < n_layers; ++l) {
    for (const char* name : {"hook_resid_pre", "ln1.hook_scale",      "ln1.hook_normalized", "attn.hook_q",           "attn.hook_k",
                             "attn.hook_v",    "attn.hook_rot_q",     "attn.hook_rot_k",     "attn.hook_attn_scores", "attn.hook_pattern",
                             "attn.hook_z",    "hook_attn_out",       "hook_resid_mid",      "ln2.hook_scale",        "ln2.hook_normalized",
                             "mlp.hook_pre",   "mlp.hook_pre_linear", "mlp.hook_post",       "hook_mlp_out",          "hook_resid_post"}) {
      points.push_back("blocks." + std::to_string(l) + "." + name);
    }
  }
  points.insert(points.end(), {"ln_final.hook_scale", "ln_final.hook_normalized"});
  return points;
}

}  // namespace assay
