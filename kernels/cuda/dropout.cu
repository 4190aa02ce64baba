// Dropout and noise: the random numbers are made where they are used, and not kept.
#include "philox.cuh"
#include "vector.cuh"

// Element i takes word i % 4 of counter i / 4; below the threshold it is dropped.
extern "C" __global__ void dropout(const Real* __restrict__ x, Real* __restrict__ y, Index count,
                                   unsigned threshold, Real scale, UInt64 key,
                                   const UInt64* __restrict__ changing) {
  const bool in_vectors = are_aligned<VECTOR>(x, y);
  FOR_EACH(counter, (count + 3) / 4) {
    const Words words = philox(counter, current(key, changing));
    Real factors[4];
    for (int j = 0; j < 4; j++)
      factors[j] = words.word[j] >> (32 - UNIFORM_BITS) < threshold ? 0 : scale;
    const Index first = 4 * counter;
    if (in_vectors && first + 4 <= count) {
      for (int j = 0; j < 4; j += VECTOR) {
        const Places<VECTOR> places = {first + j};
        auto values = read(x, places);
        for (int k = 0; k < VECTOR; k++) values.at[k] *= factors[j + k];
        write(y, places, values);
      }
    } else {
      for (int j = 0; j < 4 && first + j < count; j++) y[first + j] = x[first + j] * factors[j];
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
