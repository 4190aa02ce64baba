// Dropout and noise: the random numbers are made where they are used, and not kept.
#include "philox.cuh"

// Element i takes word i % 4 of counter i / 4; below the threshold it is dropped.
extern "C" __global__ void dropout(const Real* __restrict__ x, Real* __restrict__ y, Index count,
                                   unsigned threshold, Real scale, UInt64 key,
                                   const UInt64* __restrict__ changing) {
  FOR_EACH(counter, (count + 3) / 4) {
    const Words words = philox(counter, current(key, changing));
    for (int j = 0; j < 4; j++) {
      const Index i = 4 * counter + j;
      if (i < count) y[i] = x[i] * (words.word[j] >> (32 - UNIFORM_BITS) < threshold ? 0 : scale);
    }
  }
}

// The same for channels of `size` elements each, as if each were one element.
extern "C" __global__ void spatial_dropout(const Real* __restrict__ x, Real* __restrict__ y,
                                           Index count, Index size, unsigned threshold, Real scale,
                                           UInt64 key, const UInt64* __restrict__ changing) {
  FOR_EACH(i, count) {
    const Index channel = i / size;
    const unsigned word = philox(channel / 4, current(key, changing)).word[channel % 4];
    y[i] = x[i] * (word >> (32 - UNIFORM_BITS) < threshold ? 0 : scale);
  }
}

// Box and Muller's transform: element i takes the numbers 2i and 2i + 1, half of a counter's.
extern "C" __global__ void gaussian_noise(const Real* __restrict__ x, Real* __restrict__ y,
                                          Index count, Real std, UInt64 key,
                                          const UInt64* __restrict__ changing) {
  const Real circle = 6.283185307179586;
  FOR_EACH(counter, (count + 1) / 2) {
    const Words words = philox(counter, current(key, changing));
    for (int j = 0; j < 2; j++) {
      const Index i = 2 * counter + j;
      if (i >= count) break;
      const Real radius = sqrt(-2 * log(1 - uniform(words.word[2 * j])));
      y[i] = x[i] + std * (radius * cos(circle * uniform(words.word[2 * j + 1])));
    }
  }
}
