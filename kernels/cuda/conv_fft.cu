// Convolution through the Fourier transform: what is done before and after cuFFT and cuBLAS.
#include "common.cuh"

// Signals cut out of an array (images, all_channels, size), or joined to one: of each image `blocks`
// blocks, of each block `channels` channels, of each channel every `stride`-th sample from each of
// `stride` phases on. Phases are counted from `before` samples ahead of the array. A block has
// `window` samples of a phase, from `first + block * step` on; `position` is the first of `positions`
// blocks, `channel` the first channel. In memory a signal takes `length` numbers, and its samples
// begin behind `start` others.
struct Signals {
  Index position, positions, channel, channels, all_channels;
  int size, stride, before, blocks, first, step, window, start, length;
};

__device__ __forceinline__ Index count_of(const Signals& s) {
  return s.positions * s.channels * s.stride;
}

__device__ __forceinline__ Index channel_of(Index signal, const Signals& s) {
  return s.channel + signal / s.stride % s.channels;
}

// Where a sample of a signal lies in the array, -1 where it is none of it.
__device__ __forceinline__ Index place_of(Index signal, int sample, const Signals& s) {
  const Index position = s.position + signal / s.stride / s.channels;
  const Index in_phase = s.first + position % s.blocks * (Index)s.step + sample;
  const Index at = in_phase * s.stride + signal % s.stride - s.before;
  if (sample >= s.window || at < 0 || at >= s.size) return -1;
  return (position / s.blocks * s.all_channels + channel_of(signal, s)) * s.size + at;
}

extern "C" __global__ void cut_signals(const Real* __restrict__ x, Real* __restrict__ signals,
                                       Signals s) {
  FOR_EACH(i, count_of(s) * s.length) {
    const Index place = place_of(i / s.length, i % s.length, s);
    signals[i] = place < 0 ? 0 : x[place];
  }
}

// Adds a bias (all_channels,), which may be null, and multiplies what is then below 0 by the slope.
// It tells in `spoilt` whether a number that is not finite may have come to where it does not belong.
extern "C" __global__ void join_signals(const Real* __restrict__ signals,
                                        const Real* __restrict__ bias, Real* __restrict__ x,
                                        int* __restrict__ spoilt, Signals s, Real slope) {
  FOR_EACH(i, count_of(s) * s.window) {
    const Index signal = i / s.window;
    const int sample = i % s.window;
    const Index place = place_of(signal, sample, s);
    if (place < 0) continue;
    Real value = signals[signal * s.length + s.start + sample] / s.length;
    if (value - value != 0) atomicOr(spoilt, 1);
    if (bias) value += bias[channel_of(signal, s)];
    x[place] = sloped(value, value, slope);
  }
}

struct __align__(2 * sizeof(Real)) Complex {
  Real real, imaginary;
};

constexpr int TILE = 32, LINES = 8;  // a block turns TILE x TILE numbers, so many lines at a time

// Transposes a matrix (rows, columns) of complex numbers, and conjugates them where `sign` is -1.
extern "C" __global__ void turn_spectra(const Real* __restrict__ from, Real* __restrict__ to,
                                        Index rows, Index columns, int sign) {
  __shared__ Real real[TILE][TILE + 1], imaginary[TILE][TILE + 1];
  const int x = threadIdx.x % TILE, y = threadIdx.x / TILE;
  const Index across = (columns + TILE - 1) / TILE, tiles = across * ((rows + TILE - 1) / TILE);
  for (Index tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const Index top = tile / across * TILE, left = tile % across * TILE;
    for (int line = y; line < TILE && top + line < rows && left + x < columns; line += LINES) {
      const Complex value =
          reinterpret_cast<const Complex*>(from)[(top + line) * columns + left + x];
      real[line][x] = value.real;
      imaginary[line][x] = value.imaginary;
    }
    __syncthreads();
    for (int line = y; line < TILE && left + line < columns && top + x < rows; line += LINES)
      reinterpret_cast<Complex*>(to)[(left + line) * rows + top + x] = {real[x][line],
                                                                        sign * imaginary[x][line]};
    __syncthreads();  // the next tile takes the place of this one
  }
}
