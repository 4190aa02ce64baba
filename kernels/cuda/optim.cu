// Optimiser steps: many arrays at once, because one launch for each costs more than its work.
#include "common.cuh"

constexpr int MOST = 24;  // arrays in a launch; what a kernel takes is at most 4 KB

struct SgdArrays {
  Real* w[MOST];
  const Real* dw[MOST];
  Real* velocity[MOST];
  Index size[MOST];
};

struct SgdOptions {
  Real lr, momentum, share, weight_decay;
  int has_momentum, nesterov;
};

// One row of blocks for each array. A captured launch finds its learning rate in memory.
extern "C" __global__ void sgd(SgdArrays arrays, SgdOptions options,
                               const double* __restrict__ changing) {
  const Real lr = changing ? changing[0] : options.lr;
  Real* w = arrays.w[blockIdx.y];
  const Real* dw = arrays.dw[blockIdx.y];
  Real* velocity = arrays.velocity[blockIdx.y];
  FOR_EACH(i, arrays.size[blockIdx.y]) {
    Real step = dw[i];
    if (options.weight_decay != 0) step += options.weight_decay * w[i];  // 0 * inf is NaN
    if (options.has_momentum) {
      velocity[i] = options.momentum * velocity[i] + options.share * step;
      step = options.nesterov ? step + options.momentum * velocity[i] : velocity[i];
    }
    w[i] -= lr * step;
  }
}

struct AdamArrays {
  Real* w[MOST];
  const Real* dw[MOST];
  Real* m[MOST];
  Real* v[MOST];
  Index size[MOST];
};

struct AdamOptions {
  Real shrink, weight_decay, share1, share2, rate, scale, eps;
};

// A captured launch finds in memory what follows from the learning rate and the count of steps.
extern "C" __global__ void adam(AdamArrays arrays, AdamOptions options,
                                const double* __restrict__ changing) {
  const Real shrink = changing ? changing[0] : options.shrink;
  const Real rate = changing ? changing[1] : options.rate;
  const Real scale = changing ? changing[2] : options.scale;
  Real* w = arrays.w[blockIdx.y];
  const Real* dw = arrays.dw[blockIdx.y];
  Real *m = arrays.m[blockIdx.y], *v = arrays.v[blockIdx.y];
  FOR_EACH(i, arrays.size[blockIdx.y]) {
    const Real x = shrink * w[i];
    const Real grad = options.weight_decay != 0 ? dw[i] + options.weight_decay * x : dw[i];
    m[i] += options.share1 * (grad - m[i]);
    v[i] += options.share2 * (grad * grad - v[i]);
    w[i] = x - rate * m[i] / (sqrt(v[i]) * scale + options.eps);
  }
}
