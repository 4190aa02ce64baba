// Optimiser steps: many arrays at once, because one launch for each costs more than its work.
#include "vector.cuh"

constexpr int MOST = 24;     // arrays in a launch; what a kernel takes is at most 4 KB
constexpr int SHARE = 4096;  // elements of a block

// Of which array a block has which elements; `whole` is where those end that lie in vectors.
struct Share {
  int array;
  Index first, whole, stop;
};

// The blocks of an array are those from the `end` of the array before it up to its own.
__device__ __forceinline__ Share own_share(const int* end, const Index* size) {
  int array = 0;
  while (blockIdx.x >= end[array]) array++;
  const Index first = (Index)(blockIdx.x - (array ? end[array - 1] : 0)) * SHARE;
  const Index stop = min(first + SHARE, size[array]);
  return {array, first, stop - (stop - first) % VECTOR, stop};
}

struct SgdArrays {
  Real* w[MOST];
  const Real* dw[MOST];
  Real* velocity[MOST];
  Index size[MOST];
  int end[MOST];
};

struct SgdOptions {
  Real lr, momentum, share, weight_decay;
  int has_momentum, nesterov;
};

template <int COUNT>
__device__ __forceinline__ void sgd_steps(Real* w, const Real* dw, Real* velocity, Index first,
                                          Index stop, Real lr, const SgdOptions& options) {
  for (Index i = first + threadIdx.x * COUNT; i < stop; i += blockDim.x * COUNT) {
    const Places<COUNT> places = {i};
    auto x = read(w, places), steps = read(dw, places);
    for (int k = 0; k < COUNT && options.weight_decay != 0; k++)
      steps.at[k] += options.weight_decay * x.at[k];  // 0 * inf is NaN
    if (options.has_momentum) {
      auto speeds = read(velocity, places);
      for (int k = 0; k < COUNT; k++) {
        Real& step = steps.at[k];
        Real& speed = speeds.at[k];
        speed = options.momentum * speed + options.share * step;
        step = options.nesterov ? step + options.momentum * speed : speed;
      }
      write(velocity, places, speeds);
    }
    for (int k = 0; k < COUNT; k++) x.at[k] -= lr * steps.at[k];
    write(w, places, x);
  }
}

// A captured launch finds its learning rate in memory.
extern "C" __global__ void sgd(SgdArrays arrays, SgdOptions options,
                               const double* __restrict__ changing) {
  const Real lr = changing ? changing[0] : options.lr;
  const Share own = own_share(arrays.end, arrays.size);
  Real *w = arrays.w[own.array], *velocity = arrays.velocity[own.array];
  const Real* dw = arrays.dw[own.array];
  const Index whole = are_aligned<VECTOR>(w, dw, velocity) ? own.whole : own.first;
  sgd_steps<VECTOR>(w, dw, velocity, own.first, whole, lr, options);
  sgd_steps<1>(w, dw, velocity, whole, own.stop, lr, options);
}

struct AdamArrays {
  Real* w[MOST];
  const Real* dw[MOST];
  Real* m[MOST];
  Real* v[MOST];
  Index size[MOST];
  int end[MOST];
};

struct AdamOptions {
  Real shrink, weight_decay, share1, share2, rate, scale, eps;
};

template <int COUNT>
__device__ __forceinline__ void adam_steps(Real* w, const Real* dw, Real* m, Real* v, Index first,
                                           Index stop, const AdamOptions& options) {
  for (Index i = first + threadIdx.x * COUNT; i < stop; i += blockDim.x * COUNT) {
    const Places<COUNT> places = {i};
    auto x = read(w, places), grads = read(dw, places), means = read(m, places),
         squares = read(v, places);
    for (int k = 0; k < COUNT; k++) {
      Real &grad = grads.at[k], &mean = means.at[k], &square = squares.at[k];
      x.at[k] *= options.shrink;
      if (options.weight_decay != 0) grad += options.weight_decay * x.at[k];
      mean += options.share1 * (grad - mean);
      square += options.share2 * (grad * grad - square);
      x.at[k] -= options.rate * mean / (sqrt(square) * options.scale + options.eps);
    }
    write(m, places, means);
    write(v, places, squares);
    write(w, places, x);
  }
}

// A captured launch finds in memory what follows from the learning rate and the count of steps.
extern "C" __global__ void adam(AdamArrays arrays, AdamOptions options,
                                const double* __restrict__ changing) {
  if (changing) {
    options.shrink = changing[0];
    options.rate = changing[1];
    options.scale = changing[2];
  }
  const Share own = own_share(arrays.end, arrays.size);
  Real *w = arrays.w[own.array], *m = arrays.m[own.array], *v = arrays.v[own.array];
  const Real* dw = arrays.dw[own.array];
  const Index whole = are_aligned<VECTOR>(w, dw, m, v) ? own.whole : own.first;
  adam_steps<VECTOR>(w, dw, m, v, own.first, whole, options);
  adam_steps<1>(w, dw, m, v, whole, own.stop, options);
}
