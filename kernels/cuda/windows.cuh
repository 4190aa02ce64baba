// Windows over images: which samples one has, and which windows have a sample.
#pragma once
#include "common.cuh"

// One axis of an image and the windows along it. They are `stride` apart, the first begins `before`
// samples ahead of the image, and each has `kernel` taps, `dilation` apart. A kernel of 0 means
// adaptive windows, which cut the axis into almost equal parts. Averages divide by the number of
// taps in the image and in the padding up to `counted_before` and `counted_after`.
struct Axis {
  int size, windows, kernel, stride, before, dilation, counted_before, counted_after;
};

struct Windows {
  Index planes;
  Axis rows, columns;
  int lanes;  // how many threads share a window: WARP, or 1
};

// Every `step`-th number from `first` on, up to `stop`.
struct Span {
  int first, stop, step;
};

__device__ __forceinline__ int divide_up(Int64 a, int b) { return (a + b - 1) / b; }

// The samples of a window.
__device__ __forceinline__ Span samples_of(int window, const Axis& axis) {
  if (!axis.kernel) {
    const int first = (Int64)window * axis.size / axis.windows;
    return {first, divide_up((Int64)(window + 1) * axis.size, axis.windows), 1};
  }
  const int start = window * axis.stride - axis.before;
  const int skipped = start < 0 ? divide_up(-start, axis.dilation) : 0;
  return {start + skipped * axis.dilation, min(start + axis.kernel * axis.dilation, axis.size),
          axis.dilation};
}

__device__ __forceinline__ int length(const Span& span) {
  return max(divide_up(span.stop - span.first, span.step), 0);
}

// The windows that may have a sample; `has_sample` tells whether one does.
__device__ __forceinline__ Span windows_at(int sample, const Axis& axis) {
  if (!axis.kernel) {
    const int first = (Int64)sample * axis.windows / axis.size;
    return {first, divide_up((Int64)(sample + 1) * axis.windows, axis.size), 1};
  }
  const int last = sample + axis.before;
  const int reach = last - (axis.kernel - 1) * axis.dilation;
  return {reach > 0 ? divide_up(reach, axis.stride) : 0,
          min(last / axis.stride + 1, axis.windows), 1};
}

__device__ __forceinline__ bool has_sample(int window, int sample, const Axis& axis) {
  return !axis.kernel || (sample + axis.before - window * axis.stride) % axis.dilation == 0;
}

// The number of taps that an average counts.
__device__ __forceinline__ int counted(int window, const Axis& axis) {
  if (!axis.kernel) return length(samples_of(window, axis));
  const int start = window * axis.stride - axis.before;
  return max(min(start + axis.kernel, axis.size + axis.counted_after) -
                 max(start, -axis.counted_before), 0);
}

// An element of an array (planes, rows, columns).
struct Place {
  Index plane;
  int row, column;
};

__device__ __forceinline__ Place place_of(Index i, int rows, int columns) {
  return {i / columns / rows, (int)(i / columns % rows), (int)(i % columns)};
}

__device__ __forceinline__ Index samples_in_plane(const Windows& w) {
  return (Index)w.rows.size * w.columns.size;
}

__device__ __forceinline__ Index windows_in_plane(const Windows& w) {
  return (Index)w.rows.windows * w.columns.windows;
}

// Where a sample lies in its plane.
__device__ __forceinline__ Index offset_of(int row, int column, const Windows& w) {
  return (Index)row * w.columns.size + column;
}

// All lanes of a warp come to the same windows, so they may exchange values inside the loop.
#define FOR_EACH_WINDOW(i, w)                                                        \
  for (Index i = (blockIdx.x * (Index)blockDim.x + threadIdx.x) / (w).lanes,         \
             step_ = (Index)gridDim.x * blockDim.x / (w).lanes;                      \
       i < (w).planes * windows_in_plane(w); i += step_)

// The samples of a window that this thread takes.
#define FOR_EACH_TAP(row, column, rows, columns, lanes)                                      \
  for (int row = (rows).first; row < (rows).stop; row += (rows).step)                        \
    for (int column = (columns).first + (int)(threadIdx.x % (lanes)) * (columns).step;       \
         column < (columns).stop; column += (lanes) * (columns).step)

// The windows that have a sample, by their index in the array of windows.
#define FOR_EACH_WINDOW_AT(i, place, w)                                                       \
  for (Span rows_ = windows_at((place).row, (w).rows),                                        \
            columns_ = windows_at((place).column, (w).columns);                               \
       rows_.first < rows_.stop; rows_.first++)                                               \
    if (has_sample(rows_.first, (place).row, (w).rows))                                       \
      for (int column_ = columns_.first; column_ < columns_.stop; column_++)                  \
        if (const Index i = (place).plane * windows_in_plane(w) +                             \
                            (Index)rows_.first * (w).columns.windows + column_;               \
            has_sample(column_, (place).column, (w).columns))
