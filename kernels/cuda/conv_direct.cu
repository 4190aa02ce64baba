// Convolution as a matrix product whose columns are nowhere in memory: a block fetches the samples
// of its columns when it multiplies them, as in Chetlur et al., "cuDNN: efficient primitives for
// deep learning", 2014, section 3.1. While it multiplies some, the next are on their way.
//
// A column is a window, and its rows are the taps of the window; for the gradient of the filters a
// column is a tap, and its rows are the windows.
#include "tensor_core.cuh"
#include "vector.cuh"

constexpr int THREADS = 128, WARPS = THREADS / WARP;
// So many find room on a multiprocessor at once, in the registers that the narrow types leave.
constexpr int BLOCKS = sizeof(Real) + sizeof(Index) == 8 ? 3 : 1;
constexpr int ROWS = 64, COLUMNS = 128;         // of the results of a block,
constexpr int DEPTH = 64 / sizeof(Real);        // which sums up so many products at a time;
constexpr int STAGES = 3;                       // the tiles of so many steps are on their way
constexpr int SUMS = ROWS * COLUMNS / THREADS;  // of a thread
constexpr int NOWHERE = -(1 << 30);             // the row of a sample that no image has
// A thread has a column of its own, and a term of its own in some rows.
static_assert(COLUMNS == THREADS && THREADS % DEPTH == 0 && ROWS * DEPTH % THREADS == 0);
static_assert(DEPTH % WARPS == 0 && DEPTH % VECTOR == 0 && WARP % DEPTH == 0);

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

// So wide that lanes which read a tile together find their numbers in different banks.
using ATile = Real[ROWS][DEPTH + 4];
using BTile = Real[DEPTH][COLUMNS + 8];

// The tiles of a step take the place of those that were used up last.
__device__ __forceinline__ int in_ring(Index step) { return step % STAGES; }

// Planes of so many rows and columns: the windows of images, or the taps of channels.
struct Grid {
  int rows, columns;
};

// A window of an image, or a tap of a channel.
struct Place {
  Index plane;
  int row, column;
};

__device__ __forceinline__ Place nth(Index i, const Grid& grid) {
  const Index line = i / grid.columns;
  return {line / grid.rows, (int)(line % grid.rows), (int)(i % grid.columns)};
}

// The place so many further on, for which `nth` would divide: that many are `step`.
__device__ __forceinline__ Place behind(Place place, const Place& step, const Grid& grid) {
  place.column += step.column;
  const bool next_row = place.column >= grid.columns;
  if (next_row) place.column -= grid.columns;
  place.row += step.row + next_row;
  const bool next_plane = place.row >= grid.rows;
  if (next_plane) place.row -= grid.rows;
  place.plane += step.plane + next_plane;
  return place;
}

__device__ __forceinline__ Index element(const Place& column, const Layout& matrix) {
  return column.plane * matrix.plane + column.row * matrix.line + column.column * matrix.sample;
}

// What a window or a tap adds to the place of a sample: to its index, and to its row and column,
// which tell whether there is one.
struct __align__(16) Offset {
  Index index;
  int row, column;
};

__device__ __forceinline__ Offset offset_of(Index planes, int row, int column,
                                            const Convolution& p) {
  const Index line = planes * p.vertical.size + row;
  return {line * p.horizontal.size + column, row, column};
}

__device__ __forceinline__ Offset of_window(const Place& at, bool is_there, Index channel,
                                            const Convolution& p) {
  if (!is_there) return {0, NOWHERE, 0};
  return offset_of(at.plane * p.channels + channel, at.row * p.vertical.stride - p.vertical.before,
                   at.column * p.horizontal.stride - p.horizontal.before, p);
}

__device__ __forceinline__ Offset of_tap(const Place& at, bool is_there, const Convolution& p) {
  if (!is_there) return {0, NOWHERE, 0};
  return offset_of(at.plane, at.row * p.vertical.dilation, at.column * p.horizontal.dilation, p);
}

// Begins to fetch what a tap of a window sees, which is 0 outside of the image.
__device__ __forceinline__ void fetch(Real* to, const Real* x, const Offset& window,
                                      const Offset& tap, const Convolution& p) {
  // As unsigned numbers, those below 0 are large, too.
  const unsigned row = window.row + tap.row, column = window.column + tap.column;
  const bool is_inside = row < p.vertical.size && column < p.horizontal.size;
  copy_async<1>(to, x + (window.index + tap.index), is_inside);
}

// Writes two numbers to their places in a row, of which those below 0 are nowhere.
__device__ __forceinline__ void write_two(Real* row, Index first, Index second,
                                          const Numbers<2>& found) {
  if (second == first + 1 && are_aligned<2>(row + first)) {
    write(row, Places<2>{first}, found);
  } else {
    if (first >= 0) row[first] = found.at[0];
    if (second >= 0) row[second] = found.at[1];
  }
}

// Whether each VECTOR of `count` columns lies side by side in all rows, at a multiple of 16 bytes;
// `from` is where the first of them lies, if planes follow each other without a gap.
__device__ __forceinline__ bool lies_in_vectors(const Real* from, const Layout& matrix,
                                                const Grid& grid, Index count) {
  const Index plane = (Index)grid.rows * grid.columns;
  const bool is_dense = matrix.sample == 1 && matrix.line == grid.columns;
  const bool has_whole_planes = matrix.plane == plane || (plane | matrix.plane) % VECTOR == 0;
  return is_dense && has_whole_planes && (matrix.row | count) % VECTOR == 0 &&
         are_aligned<VECTOR>(from);
}

// Begins to fetch the factors of a step from a matrix, COUNT of a row at once, where they lie side
// by side; `places` are those of the terms in their row. Of the rows and terms so many are there.
template <int COUNT>
__device__ __forceinline__ void fetch_factors(ATile& to, const Real* from, const Index* places,
                                              Index row_step, Index rows, Index terms) {
  constexpr int ACROSS = DEPTH / COUNT;
  const int own = threadIdx.x % ACROSS * COUNT, top = threadIdx.x / ACROSS;
  from += top * row_step + places[own];
#pragma unroll
  for (int y = 0; y < ROWS; y += THREADS / ACROSS)
    copy_async<COUNT>(&to[top + y][own], from + y * row_step, own < terms && top + y < rows);
}

// How the threads of a block multiply: each factor as it is, each thread 8 x 8 results.
struct Strict {
  static constexpr int OWN_ROWS = 8, OWN_COLUMNS = 8;

  // The rows that a warp reads at once lie side by side, in different banks.
  __device__ static int row(int i) { return threadIdx.x / 16 + i * 8; }
  __device__ static int column(int i) { return threadIdx.x % 16 * 2 + i / 2 * 32 + i % 2; }
  __device__ static int place(int row, int column) { return 8 * row + column; }

  __device__ static void multiply(const ATile& a, const BTile& b, Real* sum) {
#pragma unroll
    for (int k = 0; k < DEPTH; k++) {
      Real left[8];
      Numbers<2> right[4];
#pragma unroll
      for (int i = 0; i < 8; i++) left[i] = a[row(i)][k];
#pragma unroll
      for (int i = 0; i < 4; i++) right[i] = read(b[k], Places<2>{column(2 * i)});
#pragma unroll
      for (int i = 0; i < SUMS; i++) sum[i] += left[i / 8] * right[i % 8 / 2].at[i % 2];
    }
  }
};

// Each of four warps makes 32 x 64 results on tensor cores, 2 x 8 tiles of 16 x 8.
struct Warps {
  static constexpr int OWN_ROWS = 4, OWN_COLUMNS = 16;

  __device__ static int top() { return threadIdx.x / WARP / 2 * 32 + lane() / 4; }
  __device__ static int left() { return threadIdx.x / WARP % 2 * 64; }
  __device__ static int row(int i) { return top() + i * 8; }
  __device__ static int column(int i) { return left() + i / 2 * 8 + lane() % 4 * 2 + i % 2; }
  __device__ static int place(int row, int column) {
    return row / 2 * 32 + column / 2 * 4 + row % 2 * 2 + column % 2;
  }
};

// The factors of a lane. Which terms are its own is free, as long as both factors have the same: of
// every fourth all lanes read from different banks.
struct OwnFactors {
  Real left[4][4], right[8][4];

  __device__ OwnFactors(const ATile& a, const BTile& b) {
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const int term = lane() % 4 + 4 * k;
#pragma unroll
      for (int i = 0; i < 4; i++) left[i][k] = a[Warps::row(i)][term];
#pragma unroll
      for (int j = 0; j < 8; j++) right[j][k] = b[term][Warps::left() + lane() / 4 + j * 8];
    }
  }
};

template <class T> struct Tf32 : Warps {
  __device__ static void multiply(const ATile& a, const BTile& b, T* sum) {
    const OwnFactors own(a, b);
#pragma unroll
    for (int k = 0; k < 4; k += 2) {
      unsigned left[2][4], right[8][2];
#pragma unroll
      for (int i = 0; i < 8; i++)
        left[i / 4][i % 4] = to_tf32(own.left[i / 4 * 2 + i % 2][k + i % 4 / 2]);
#pragma unroll
      for (int j = 0; j < 16; j++) right[j / 2][j % 2] = to_tf32(own.right[j / 2][k + j % 2]);
#pragma unroll
      for (int i = 0; i < 16; i++) multiply_tf32(sum + 4 * i, left[i / 8], right[i % 8]);
    }
  }
};

template <class T> struct Bfloat16 : Warps {
  __device__ static void multiply(const ATile& a, const BTile& b, T* sum) {
    const OwnFactors own(a, b);
    unsigned left[2][4], right[8][2];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const Real* pair = own.left[i / 4 * 2 + i % 2] + i % 4 / 2 * 2;
      left[i / 4][i % 4] = to_bfloat16(pair[0], pair[1]);
    }
#pragma unroll
    for (int j = 0; j < 16; j++) {
      const Real* pair = own.right[j / 2] + j % 2 * 2;
      right[j / 2][j % 2] = to_bfloat16(pair[0], pair[1]);
    }
#pragma unroll
    for (int i = 0; i < 16; i++) multiply_bfloat16(sum + 4 * i, left[i / 8], right[i % 8]);
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
  __shared__ __align__(16) ATile a_tiles[STAGES];
  __shared__ __align__(16) BTile b_tiles[STAGES];
  // Of the taps: those of all columns, or those of two steps, one of which is being fetched.
  __shared__ Offset taps[HAS_TAPS_FOR_COLUMNS ? COLUMNS : 2 * DEPTH];
  __shared__ Index factors[2 * DEPTH];  // where those of a step lie in a
  __shared__ Index places[COLUMNS];     // where those of a row lie in c, -1 where none are
  const int thread = threadIdx.x, own = thread % DEPTH;
  const Index across = (p.columns + COLUMNS - 1) / COLUMNS;
  const Index first_row = blockIdx.x / across * ROWS, first_column = blockIdx.x % across * COLUMNS;
  const Grid of_windows = {p.vertical.windows, p.horizontal.windows};
  const Grid of_taps = {p.vertical.taps, p.horizontal.taps};
  const Grid& terms = HAS_TAPS_FOR_COLUMNS ? of_windows : of_taps;
  const Grid& columns = HAS_TAPS_FOR_COLUMNS ? of_taps : of_windows;

  {
    const Index column = first_column + thread;
    const Place at = nth(column, columns);
    places[thread] = column < p.columns ? element(at, p.c) : -1;
    if (HAS_TAPS_FOR_COLUMNS) taps[thread] = of_tap(at, column < p.columns, p);
  }
  for (Index member = blockIdx.y; member < p.groups * p.parts; member += gridDim.y) {
    const Index group = member % p.groups, part = member / p.groups;
    const Index first = part * p.terms, stop = min(first + p.terms, p.inner);
    const Index steps = (stop - first + DEPTH - 1) / DEPTH;
    const Real* left = a + p.a.first + group * p.a.group;
    Real* results = c + p.c.first + (part * p.groups + group) * p.c.group;
    const Index channel = group * (p.channels / p.groups);
    // The windows whose samples a thread fetches, where columns are windows.
    constexpr int WINDOWS = HAS_TAPS_FOR_COLUMNS ? 1 : COLUMNS / WARP;
    Offset windows[WINDOWS];
    if (!HAS_TAPS_FOR_COLUMNS) {
#pragma unroll
      for (int i = 0; i < WINDOWS; i++) {
        const Index column = first_column + lane() + i * WARP;
        windows[i] = of_window(nth(column, columns), column < p.columns, channel, p);
      }
    }
    // The thread's own term of the next step, and how far on it is from step to step.
    Place term = {}, term_step = {};
    if (steps > 0) term = nth(first + own, terms), term_step = nth(DEPTH, terms);
    const bool in_vectors = first % VECTOR == 0 && lies_in_vectors(left, p.a, terms, stop - first);

    const auto fetch_step = [&](Index step) {
      const Index* places_in_a = factors + step % 2 * DEPTH;
      ATile& a_tile = a_tiles[in_ring(step)];
      BTile& b_tile = b_tiles[in_ring(step)];
      const Index rows = p.rows - first_row, terms_left = stop - first - step * DEPTH;
      const Real* from = left + first_row * p.a.row;
      if (in_vectors)
        fetch_factors<VECTOR>(a_tile, from, places_in_a, p.a.row, rows, terms_left);
      else
        fetch_factors<1>(a_tile, from, places_in_a, p.a.row, rows, terms_left);
      if (HAS_TAPS_FOR_COLUMNS) {
        const Offset window = of_window(term, own < terms_left, channel, p);
#pragma unroll
        for (int i = 0; i < COLUMNS; i += THREADS / DEPTH) {
          const int column = i + thread / DEPTH;
          fetch(&b_tile[own][column], x, window, taps[column], p);
        }
      } else {
#pragma unroll
        for (int k = 0; k < DEPTH; k += WARPS) {
          const Offset tap = taps[step % 2 * DEPTH + k + thread / WARP];
#pragma unroll
          for (int i = 0; i < WINDOWS; i++)
            fetch(&b_tile[k + thread / WARP][lane() + i * WARP], x, windows[i], tap, p);
        }
      }
    };

    Real sum[SUMS] = {};
    for (Index step = 1 - STAGES; step < steps; step++) {
      const Index next = step + STAGES - 1;
      // Warps take turns, so that none keeps its scheduler from the others' work.
      if (thread / WARP == next % WARPS && lane() < DEPTH && next < steps) {
        factors[next % 2 * DEPTH + own] = element(term, p.a);
        if (!HAS_TAPS_FOR_COLUMNS)
          taps[next % 2 * DEPTH + own] = of_tap(term, first + next * DEPTH + own < stop, p);
      }
      wait_for_copies<STAGES - 2>();
      __syncthreads();  // this step is there, and nobody reads what the next one is put over
      if (next < steps) fetch_step(next);
      close_copies();
      term = behind(term, term_step, terms);
      if (step >= 0) Factors::multiply(a_tiles[in_ring(step)], b_tiles[in_ring(step)], sum);
    }

    Index own_places[Factors::OWN_COLUMNS];
#pragma unroll
    for (int i = 0; i < Factors::OWN_COLUMNS; i++) own_places[i] = places[Factors::column(i)];
    const auto finished = [&](Real value, Index y) {
      if (bias) value += bias[group * p.rows + y];
      return sloped(value, value, p.slope);
    };
#pragma unroll
    for (int i = 0; i < Factors::OWN_ROWS; i++) {
      const Index y = first_row + Factors::row(i);
      if (y >= p.rows) continue;
#pragma unroll
      for (int j = 0; j < Factors::OWN_COLUMNS; j += 2) {
        const Numbers<2> found = {finished(sum[Factors::place(i, j)], y),
                                  finished(sum[Factors::place(i, j + 1)], y)};
        write_two(results + y * p.c.row, own_places[j], own_places[j + 1], found);
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolve_strict(const Real* __restrict__ a, const Real* __restrict__ x,
                    const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                    const int* spoilt) {
  make_results<Strict, false>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolve_tf32(const Real* __restrict__ a, const Real* __restrict__ x,
                  const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                  const int* spoilt) {
  make_results<OnTensorCores<Real>::AsTf32, false>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    convolve_bfloat16(const Real* __restrict__ a, const Real* __restrict__ x,
                      const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                      const int* spoilt) {
  make_results<OnTensorCores<Real>::AsBfloat16, false>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    correlate_strict(const Real* __restrict__ a, const Real* __restrict__ x,
                     const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                     const int* spoilt) {
  make_results<Strict, true>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    correlate_tf32(const Real* __restrict__ a, const Real* __restrict__ x,
                   const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                   const int* spoilt) {
  make_results<OnTensorCores<Real>::AsTf32, true>(a, x, bias, c, p, spoilt);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    correlate_bfloat16(const Real* __restrict__ a, const Real* __restrict__ x,
                       const Real* __restrict__ bias, Real* __restrict__ c, Convolution p,
                       const int* spoilt) {
  make_results<OnTensorCores<Real>::AsBfloat16, true>(a, x, bias, c, p, spoilt);
}
