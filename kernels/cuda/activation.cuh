// Functions of one number that losses need too, and rows: the values along one axis of an array.
#pragma once
#include "common.cuh"

// 1 / (1 + exp(-x)), without overflow.
__device__ __forceinline__ Real sigmoid_of(Real x) {
  const Real small = exp(-fabs(x));
  return (x >= 0 ? 1 : small) / (1 + small);
}

// log(1 + exp(x)) less the positive part of x, without overflow; NaN goes through.
__device__ __forceinline__ Real soft_positive(Real x) { return log1p(exp(-fabs(x))); }

__device__ __forceinline__ Real softplus_of(Real x) { return (x < 0 ? 0 : x) + soft_positive(x); }

// An array (outer, length, inner): its rows go along the middle axis. Where neighbours in memory
// lie along the row (inner = 1) a warp takes one, else a thread: so neighbouring threads always
// read neighbours.
struct Rows {
  Index count;  // outer * inner
  Index length, inner;
  int lanes;  // how many threads share a row: WARP, or 1
};

// All lanes of a warp come to the same rows, so they may exchange values inside the loop.
#define FOR_EACH_ROW(row, rows)                                                                 \
  for (Index row = (blockIdx.x * (Index)blockDim.x + threadIdx.x) / (rows).lanes,               \
             row_step_ = (Index)gridDim.x * blockDim.x / (rows).lanes;                          \
       row < (rows).count; row += row_step_)

// The offsets of a row's values that this thread takes.
#define FOR_EACH_IN_ROW(i, rows)                                                         \
  for (Index i = (threadIdx.x % (rows).lanes) * (rows).inner; i < (rows).length * (rows).inner; \
       i += (rows).lanes * (rows).inner)

__device__ __forceinline__ Index first_of(Index row, const Rows& rows) {
  return row / rows.inner * rows.length * rows.inner + row % rows.inner;
}

__device__ __forceinline__ Real over_lanes(Real x, const Rows& rows) {
  return rows.lanes == WARP ? warp_sum(x) : x;
}

__device__ __forceinline__ Real row_max(const Real* x, const Rows& rows) {
  Real largest = -INFINITY;
  FOR_EACH_IN_ROW(i, rows) largest = larger(largest, x[i]);
  return rows.lanes == WARP ? warp_max(largest) : largest;
}

__device__ __forceinline__ Real row_sum_of_exponentials(const Real* x, Real largest,
                                                        const Rows& rows) {
  Real sum = 0;
  FOR_EACH_IN_ROW(i, rows) sum += exp(x[i] - largest);
  return over_lanes(sum, rows);
}
