// Convolution as a matrix product whose columns are nowhere in memory: a block fetches the samples
// of its columns when it multiplies them, as in Chetlur et al., "cuDNN: efficient primitives for
// deep learning", 2014, section 3.1. While it multiplies some, the next are on their way.
//
// A column is a window, and its rows are the taps of the window; for the gradient of the filters a
// column is a tap, and its rows are the windows.
#include "tensor_core.cuh"

constexpr int THREADS = 128;
constexpr int ROWS = 64, COLUMNS = 128;        // of the results of a block,
constexpr int DEPTH = 64 / sizeof(Real);       // which sums up so many products at a time;
constexpr int STAGES = 3;                      // the tiles of so many steps are on their way
constexpr int SUMS = ROWS * COLUMNS / THREADS;  // of a thread
constexpr int NOWHERE = -(1 << 30);            // the row of a sample that no image has
// A thread has a column of its own, and a term of its own in some rows.
static_assert(COLUMNS == THREADS && THREADS % DEPTH == 0 && ROWS * DEPTH % THREADS == 0);

// Tap t of window i has the sample i * stride + t * dilation - before.
struct Axis {
  int windows, taps, size, stride, dilation, before;
};

// Where the elements of a matrix lie: the first, and the steps to the next group and row. Columns
// are windows, or taps: the steps to the next image or channel, and to the next line and sample.
struct Layout {
  Index first, group, row, plane, line, sample;
};

// For each group, c (rows, columns) is a (rows, inner) times the samples, plus a bias (groups,
// rows), which may be null; results below 0 are multiplied by the slope. The terms are cut into
// parts of `terms`, each with results of its own.
struct Convolution {
  Index groups, parts, terms, rows, columns, inner, channels;
  Axis vertical, horizontal;
  Layout a, c;
  Real slope;
};

using ATile = Real[ROWS][DEPTH + 4];
using BTile = Real[DEPTH][COLUMNS + 8];

// The tiles of a step take the place of those that were used up last.
__device__ __forceinline__ int in_ring(Index step) { return step % STAGES; }

// A window of an image, a tap of a channel, or what they add to the place of a sample.
struct Place {
  Index plane;
  int row, column;
};

__device__ __forceinline__ Place nth_window(Index i, const Convolution& p) {
  const Index line = i / p.horizontal.windows;
  return {line / p.vertical.windows, (int)(line % p.vertical.windows),
          (int)(i % p.horizontal.windows)};
}

__device__ __forceinline__ Place nth_tap(Index i, const Convolution& p) {
  const Index line = i / p.horizontal.taps;
  return {line / p.vertical.taps, (int)(line % p.vertical.taps), (int)(i % p.horizontal.taps)};
}

__device__ __forceinline__ Index element(const Place& column, const Layout& matrix) {
  return column.plane * matrix.plane + column.row * matrix.line + column.column * matrix.sample;
}

__device__ __forceinline__ Place of_window(Index i, const Convolution& p) {
  if (i < 0) return {0, NOWHERE, 0};
  const Place at = nth_window(i, p);
  return {at.plane * p.channels * p.vertical.size, at.row * p.vertical.stride - p.vertical.before,
          at.column * p.horizontal.stride - p.horizontal.before};
}

__device__ __forceinline__ Place of_tap(Index i, const Convolution& p) {
  if (i < 0) return {0, NOWHERE, 0};
  const Place at = nth_tap(i, p);
  return {at.plane * p.vertical.size, at.row * p.vertical.dilation,
          at.column * p.horizontal.dilation};
}

// Begins to fetch what a tap of a window sees, which is 0 outside of the image.
__device__ __forceinline__ void fetch(Real* to, const Real* x, const Place& window,
                                      const Place& tap, const Convolution& p) {
  const int row = window.row + tap.row, column = window.column + tap.column;
  const bool is_inside =
      0 <= row && row < p.vertical.size && 0 <= column && column < p.horizontal.size;
  const Index line = window.plane + tap.plane + row;
  copy_async(to, is_inside ? x + line * p.horizontal.size + column : x, is_inside);
}

// How the threads of a block multiply: each factor as it is, each thread 8 x 8 results.
struct Strict {
  // The rows that a warp reads at once lie side by side, in different banks.
  __device__ static int row(int i) { return threadIdx.x / 16 + i / 8 * 8; }
  __device__ static int column(int i) { return threadIdx.x % 16 + i % 8 * 16; }

  __device__ static void multiply(const ATile& a, const BTile& b, Real* sum) {
#pragma unroll
    for (int k = 0; k < DEPTH; k++) {
      Real left[8], right[8];
#pragma unroll
      for (int i = 0; i < 8; i++) {
        left[i] = a[row(8 * i)][k];
        right[i] = b[k][column(i)];
      }
#pragma unroll
      for (int i = 0; i < SUMS; i++) sum[i] += left[i / 8] * right[i % 8];
    }
  }
};

// Each of four warps makes 32 x 64 results on tensor cores, 2 x 8 tiles of 16 x 8.
struct Warps {
  __device__ static int top() { return threadIdx.x / WARP / 2 * 32; }
  __device__ static int left() { return threadIdx.x / WARP % 2 * 64; }
  __device__ static int row(int i) { return top() + i / 32 * 16 + lane() / 4 + i % 4 / 2 * 8; }
  __device__ static int column(int i) { return left() + i / 4 % 8 * 8 + lane() % 4 * 2 + i % 2; }
};

template <class T> struct Tf32 : Warps {
  __device__ static void multiply(const ATile& a, const BTile& b, T* sum) {
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int k = 0; k < DEPTH; k += 8) {
      unsigned left_factors[2][4], right_factors[8][2];
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const int y = top() + i / 4 * 16 + g + i % 2 * 8;
        left_factors[i / 4][i % 4] = to_tf32(a[y][k + t + i % 4 / 2 * 4]);
      }
#pragma unroll
      for (int j = 0; j < 16; j++)
        right_factors[j / 2][j % 2] = to_tf32(b[k + t + j % 2 * 4][left() + j / 2 * 8 + g]);
#pragma unroll
      for (int i = 0; i < 16; i++)
        multiply_tf32(sum + 4 * i, left_factors[i / 8], right_factors[i % 8]);
    }
  }
};

template <class T> struct Bfloat16 : Warps {
  __device__ static void multiply(const ATile& a, const BTile& b, T* sum) {
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int k = 0; k < DEPTH; k += 16) {
      unsigned left_factors[2][4], right_factors[8][2];
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const Real* pair = a[top() + i / 4 * 16 + g + i % 2 * 8] + k + 2 * t + i % 4 / 2 * 8;
        left_factors[i / 4][i % 4] = to_bfloat16(pair[0], pair[1]);
      }
#pragma unroll
      for (int j = 0; j < 16; j++) {
        const int y = k + 2 * t + j % 2 * 8, x = left() + j / 2 * 8 + g;
        right_factors[j / 2][j % 2] = to_bfloat16(b[y][x], b[y + 1][x]);
      }
#pragma unroll
      for (int i = 0; i < 16; i++)
        multiply_bfloat16(sum + 4 * i, left_factors[i / 8], right_factors[i % 8]);
    }
  }
};

// Tensor cores are for float, where there are any; double keeps to its own precision.
template <class T, bool IS_POSSIBLE = HAS_TENSOR_CORES> struct OnTensorCores {
  using AsTf32 = Strict;
  using AsBfloat16 = Strict;
};
template <> struct OnTensorCores<float, true> {
  using AsTf32 = Tf32<float>;
  using AsBfloat16 = Bfloat16<float>;
};

// A block makes ROWS x COLUMNS results of a group: as `convolve` or, where taps and windows have
// changed places, as `correlate`. Where `spoilt` is not null, only if it is not 0: else the results
// are there already, from a faster algorithm.
template <class Factors, bool HAS_TAPS_FOR_COLUMNS>
__device__ __forceinline__ void make_results(const Real* __restrict__ a,
                                             const Real* __restrict__ x,
                                             const Real* __restrict__ bias, Real* __restrict__ c,
                                             const Convolution& p, const int* spoilt) {
  if (spoilt && !*spoilt) return;
  __shared__ ATile a_tiles[STAGES];
  __shared__ BTile b_tiles[STAGES];
  // Of the taps: those of all columns, or those of two steps, one of which is being fetched.
  __shared__ Place taps[HAS_TAPS_FOR_COLUMNS ? COLUMNS : 2 * DEPTH];
  __shared__ Index factors[2 * DEPTH];  // where those of a step lie in a
  const int thread = threadIdx.x, own = thread % DEPTH;
  const Index across = (p.columns + COLUMNS - 1) / COLUMNS;
  const Index first_row = blockIdx.x / across * ROWS, first_column = blockIdx.x % across * COLUMNS;
  const Index own_column = first_column + thread < p.columns ? first_column + thread : -1;
  const Index plane = (Index)p.vertical.size * p.horizontal.size;
  for (Index member = blockIdx.y; member < p.groups * p.parts; member += gridDim.y) {
    const Index group = member % p.groups, part = member / p.groups;
    const Index first = part * p.terms, stop = min(first + p.terms, p.inner);
    const Index steps = (stop - first + DEPTH - 1) / DEPTH;
    const Real* left = a + p.a.first + group * p.a.group;
    Real* results = c + p.c.first + (part * p.groups + group) * p.c.group;
    const Real* images = x + group * (p.channels / p.groups) * plane;
    const Place own_window = of_window(own_column, p);
    if (HAS_TAPS_FOR_COLUMNS) taps[thread] = of_tap(own_column, p);

    const auto fetch_step = [&](Index step) {
      const Index term = first + step * DEPTH + own;
      const Index place = factors[step % 2 * DEPTH + own];
      for (int y = thread / DEPTH; y < ROWS; y += THREADS / DEPTH) {
        const bool is_there = term < stop && first_row + y < p.rows;
        copy_async(&a_tiles[in_ring(step)][y][own],
                   is_there ? left + (first_row + y) * p.a.row + place : left, is_there);
      }
      BTile& tile = b_tiles[in_ring(step)];
      if (HAS_TAPS_FOR_COLUMNS) {
        const Place window = of_window(term < stop ? term : -1, p);
        for (int column = thread / DEPTH; column < COLUMNS; column += THREADS / DEPTH)
          fetch(&tile[own][column], images, window, taps[column], p);
      } else {
#pragma unroll
        for (int k = 0; k < DEPTH; k++)
          fetch(&tile[k][thread], images, own_window, taps[step % 2 * DEPTH + k], p);
      }
    };

    Real sum[SUMS] = {};
    for (Index step = 1 - STAGES; step < steps; step++) {
      const Index next = step + STAGES - 1;
      if (thread < DEPTH && next < steps) {
        const Index term = first + next * DEPTH + thread;
        factors[next % 2 * DEPTH + thread] =
            element(HAS_TAPS_FOR_COLUMNS ? nth_window(term, p) : nth_tap(term, p), p.a);
        if (!HAS_TAPS_FOR_COLUMNS)
          taps[next % 2 * DEPTH + thread] = of_tap(term < stop ? term : -1, p);
      }
      wait_for_copies<STAGES - 2>();
      __syncthreads();  // this step is there, and nobody reads what the next one is put over
      if (next < steps) fetch_step(next);
      close_copies();
      if (step >= 0) Factors::multiply(a_tiles[in_ring(step)], b_tiles[in_ring(step)], sum);
    }

#pragma unroll
    for (int i = 0; i < SUMS; i++) {
      const Index y = first_row + Factors::row(i), column = first_column + Factors::column(i);
      if (y >= p.rows || column >= p.columns) continue;
      Real value = sum[i];
      if (bias) value += bias[group * p.rows + y];
      if (value < 0) value = p.slope == 0 ? 0 : p.slope * value;  // NaN, of an infinity times 0
      const Place at = HAS_TAPS_FOR_COLUMNS ? nth_tap(column, p) : nth_window(column, p);
      results[y * p.c.row + element(at, p.c)] = value;
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    convolve_strict(const Real* __restrict__ a, const Real* __restrict__ x,
                    const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                  const int* spoilt) {
  make_results<Strict, false>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    convolve_tf32(const Real* __restrict__ a, const Real* __restrict__ x,
                  const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                  const int* spoilt) {
  make_results<OnTensorCores<Real>::AsTf32, false>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    convolve_bfloat16(const Real* __restrict__ a, const Real* __restrict__ x,
                      const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                  const int* spoilt) {
  make_results<OnTensorCores<Real>::AsBfloat16, false>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    correlate_strict(const Real* __restrict__ a, const Real* __restrict__ x,
                     const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                  const int* spoilt) {
  make_results<Strict, true>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    correlate_tf32(const Real* __restrict__ a, const Real* __restrict__ x,
                   const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                  const int* spoilt) {
  make_results<OnTensorCores<Real>::AsTf32, true>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    correlate_bfloat16(const Real* __restrict__ a, const Real* __restrict__ x,
                       const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                  const int* spoilt) {
  make_results<OnTensorCores<Real>::AsBfloat16, true>(a, x, bias, c, p, spoilt);
}
