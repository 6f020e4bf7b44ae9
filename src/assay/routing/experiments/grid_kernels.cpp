#include "assay/routing/experiments/grid_kernels.h"

#include <cstring>

#include "assay/routing/experiments/grid_value.h"

namespace assay::routing::grid {
namespace {

// GCC's vectors, a compile-time width: the same code is 8 lanes on AVX2 and two registers of 4 elsewhere.
constexpr std::int64_t kLanes = 8;
using Vf = float __attribute__((vector_size(kLanes * 4)));
using Vi = std::int32_t __attribute__((vector_size(kLanes * 4)));
using Vh = std::uint16_t __attribute__((vector_size(kLanes * 2)));

Vf vload(const float* p) {
  Vf v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
void vstore(float* p, Vf v) { std::memcpy(p, &v, sizeof v); }
Vf where_positive(Vf condition, Vf v) { return (Vf)((Vi)v & (condition > 0)); }
float lanes_sum(Vf v) {
  float s = 0;
  for (std::int64_t i = 0; i < kLanes; ++i) s += v[i];
  return s;
}

/// 1s where a unit's result, as bits, is not +0.
Vi given_mask(const std::uint32_t* p) {
  Vi v;
  std::memcpy(&v, p, sizeof v);
  return v != 0;
}
Vi given_mask(const std::uint16_t* p) {
  Vh v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, Vi) != 0;
}

template <class T>
void table_gradient(const T* given, const float* dz, const GridActive& active, float* table) {
  float* rows[5];
  for (int i = 0; i < active.n; ++i) rows[i] = table + active.input[static_cast<std::size_t>(i)] * kGridWidth;
  if (active.n == 3) {  // nearly always at low oversight
    for (std::int64_t c = 0; c < kGridWidth; c += kLanes) {
      const Vf v = (Vf)((Vi)vload(dz + c) & given_mask(given + c));
      for (int i = 0; i < 3; ++i) vstore(rows[i] + c, vload(rows[i] + c) + v);
    }
    return;
  }
  for (std::int64_t c = 0; c < kGridWidth; c += kLanes) {
    const Vf v = (Vf)((Vi)vload(dz + c) & given_mask(given + c));
    for (int i = 0; i < active.n; ++i) vstore(rows[i] + c, vload(rows[i] + c) + v);
  }
}

}  // namespace

void first_layer(const float* table, const float* bias, const GridActive& active, float* z) {
  const float* rows[5];
  for (int i = 0; i < active.n; ++i) rows[i] = table + active.input[static_cast<std::size_t>(i)] * kGridWidth;
  for (std::int64_t c = 0; c < kGridWidth; c += kLanes) {
    Vf v = vload(bias + c) + vload(rows[0] + c) + vload(rows[1] + c) + vload(rows[2] + c);
    for (int i = 3; i < active.n; ++i) v += vload(rows[i] + c);
    vstore(z + c, where_positive(v, v));
  }
}

void first_layer_gradient(const std::uint32_t* given, const float* dz, const GridActive& active, float* table) {
  table_gradient(given, dz, active, table);
}
void first_layer_gradient(const std::uint16_t* given, const float* dz, const GridActive& active, float* table) {
  table_gradient(given, dz, active, table);
}

void add_bias_relu(float* y, const float* bias, std::int64_t rows) {
  for (std::int64_t r = 0; r < rows; ++r, y += kGridWidth)
    for (std::int64_t c = 0; c < kGridWidth; c += kLanes) {
      const Vf v = vload(y + c) + vload(bias + c);
      vstore(y + c, where_positive(v, v));
    }
}

void add_scaled(float* y, const float* x, float scale, std::int64_t n) {
  std::int64_t c = 0;
  for (; c + kLanes <= n; c += kLanes) vstore(y + c, vload(y + c) + vload(x + c) * scale);
  for (; c < n; ++c) y[c] += x[c] * scale;
}

float dot(const float* a, const float* b) {
  Vf s{}, t{};
  for (std::int64_t c = 0; c < kGridWidth; c += 2 * kLanes) {
    s += vload(a + c) * vload(b + c);
    t += vload(a + c + kLanes) * vload(b + c + kLanes);
  }
  return lanes_sum(s + t);
}

void gate_out_gradient(const float* a, const float* w, float scale, float* dz, float* dw) {
  for (std::int64_t c = 0; c < kGridWidth; c += kLanes) {
    const Vf v = vload(a + c);
    vstore(dz + c, where_positive(v, vload(w + c) * scale));
    vstore(dw + c, vload(dw + c) + v * scale);
  }
}

void head(const float* d, const float* e, float g, const float* W, const float* b, float* logits) {
  Vf s[kGridActions] = {};
  for (std::int64_t c = 0; c < kGridWidth; c += kLanes) {
    const Vf h = e ? vload(d + c) * g + vload(e + c) * (1 - g) : vload(d + c);
    for (int j = 0; j < kGridActions; ++j) s[j] += h * vload(W + j * kGridWidth + c);
  }
  for (int j = 0; j < kGridActions; ++j) logits[j] = lanes_sum(s[j]) + b[j];
}

float head_gradient(const float* d, const float* e, float g, const float* W, const HeadGradient& gradient, float* dW, float* dd,
                    float* de) {
  float all[kGridActions], diamond[kGridActions], ghost[kGridActions];
  for (int j = 0; j < kGridActions; ++j) {
    all[j] = gradient.open[j] + gradient.diamond[j] + gradient.ghost[j];
    diamond[j] = gradient.open[j] + gradient.diamond[j];
    ghost[j] = gradient.open[j] + gradient.ghost[j];
  }
  Vf dg{};
  for (std::int64_t c = 0; c < kGridWidth; c += kLanes) {
    const Vf at_d = vload(d + c), at_e = e ? vload(e + c) : Vf{}, h = e ? at_d * g + at_e * (1 - g) : at_d;
    Vf open{}, to_d{}, to_e{};
    for (int j = 0; j < kGridActions; ++j) {
      const Vf w = vload(W + j * kGridWidth + c);
      open += w * gradient.open[j];
      if (gradient.routed) to_d += w * diamond[j], to_e += w * ghost[j];
      vstore(dW + j * kGridWidth + c, vload(dW + j * kGridWidth + c) + h * all[j]);
    }
    if (!gradient.routed) to_d = to_e = open;
    vstore(dd + c, where_positive(at_d, e ? to_d * g : to_d));
    if (e) {
      vstore(de + c, where_positive(at_e, to_e * (1 - g)));
      dg += (at_d - at_e) * open;
    }
  }
  return lanes_sum(dg);
}

}  // namespace assay::routing::grid
