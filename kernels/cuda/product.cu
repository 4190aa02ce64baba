// Matrix products in single or double precision, as they are asked: no tensor cores. And what is
// left to do after a product that was made elsewhere.
#include "common.cuh"

constexpr int THREADS = 256;
constexpr int TILE = 64;   // a block computes TILE x TILE results,
constexpr int DEPTH = 16;  // DEPTH products of each at a time,
constexpr int PER_THREAD = 4;  // and a thread PER_THREAD x PER_THREAD of them

// How far apart neighbours along each axis lie in memory.
struct Strides {
  Index batch, group, term, row, column;
};

// For each batch and group, c = sum over terms of a (rows, inner) times b (inner, columns), plus a
// bias, which may be null; results below 0 are multiplied by the slope.
struct Product {
  Index batches, groups, terms, rows, columns, inner;
  Strides a, b, c, bias;
  Real slope;
};

__device__ __forceinline__ const Real* matrix(const Real* x, const Strides& strides, Index batch,
                                              Index group) {
  return x + batch * strides.batch + group * strides.group;
}

// Copies a tile (TILE, DEPTH) of a matrix, with zeros beyond its end, to shared memory, where its
// columns become rows. Neighbouring threads read neighbours in memory.
__device__ __forceinline__ void load_tile(const Real* x, Index row_stride, Index column_stride,
                                          Index rows, Index columns,
                                          Real (*tile)[TILE + PER_THREAD]) {
  for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
    const int row = column_stride == 1 ? i / DEPTH : i % TILE;
    const int column = column_stride == 1 ? i % DEPTH : i / TILE;
    const bool is_inside = row < rows && column < columns;
    tile[column][row] = is_inside ? x[row * row_stride + column * column_stride] : 0;
  }
}

__device__ __forceinline__ void multiply_tiles(const Real (*a)[TILE + PER_THREAD],
                                               const Real (*b)[TILE + PER_THREAD], int row,
                                               int column, Real (*sum)[PER_THREAD]) {
#pragma unroll
  for (int k = 0; k < DEPTH; k++)
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++)
#pragma unroll
      for (int j = 0; j < PER_THREAD; j++) sum[i][j] += a[k][row + i] * b[k][column + j];
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    multiply(const Real* __restrict__ a, const Real* __restrict__ b, const Real* __restrict__ bias,
             Real* __restrict__ c, Product p) {
  __shared__ Real a_tile[DEPTH][TILE + PER_THREAD], b_tile[DEPTH][TILE + PER_THREAD];
  const Index across = (p.columns + TILE - 1) / TILE;
  const Index first_row = blockIdx.x / across * TILE, first_column = blockIdx.x % across * TILE;
  const int row = threadIdx.x / (TILE / PER_THREAD) * PER_THREAD;
  const int column = threadIdx.x % (TILE / PER_THREAD) * PER_THREAD;
  for (Index member = blockIdx.y; member < p.batches * p.groups; member += gridDim.y) {
    const Index batch = member / p.groups, group = member % p.groups;
    const Real* left = matrix(a, p.a, batch, group) + first_row * p.a.row;
    const Real* right = matrix(b, p.b, batch, group) + first_column * p.b.column;
    Real sum[PER_THREAD][PER_THREAD] = {};
    for (Index term = 0; term < p.terms; term++)
      for (Index k = 0; k < p.inner; k += DEPTH) {
        load_tile(left + term * p.a.term + k * p.a.column, p.a.row, p.a.column, p.rows - first_row,
                  p.inner - k, a_tile);
        load_tile(right + term * p.b.term + k * p.b.row, p.b.column, p.b.row,
                  p.columns - first_column, p.inner - k, b_tile);
        __syncthreads();
        multiply_tiles(a_tile, b_tile, row, column, sum);
        __syncthreads();
      }
    for (int i = 0; i < PER_THREAD; i++)
      for (int j = 0; j < PER_THREAD; j++) {
        const Index y = first_row + row + i, x = first_column + column + j;
        if (y >= p.rows || x >= p.columns) continue;
        Real value = sum[i][j];
        if (bias) value += bias[group * p.bias.group + y * p.bias.row + x * p.bias.column];
        c[batch * p.c.batch + group * p.c.group + y * p.c.row + x * p.c.column] =
            sloped(value, value, p.slope);
      }
  }
}

// Adds a bias, which may be null, to the channels of y (..., channels, inner); results below 0 are
// multiplied by the slope.
extern "C" __global__ void add_bias(const Real* __restrict__ bias, Real* __restrict__ y,
                                    Index channels, Index inner, Index count, Real slope) {
  FOR_EACH(i, count) {
    Real value = y[i];
    if (bias) value += bias[i / inner % channels];
    y[i] = sloped(value, value, slope);
  }
}
