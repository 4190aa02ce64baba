// Numbers that lie side by side, read and written at once.
#pragma once
#include "common.cuh"

constexpr int VECTOR = 16 / sizeof(Real);  // so many are the most

template <int COUNT> struct __align__(COUNT * sizeof(Real)) Numbers {
  Real at[COUNT];
};

// The places of so many numbers in an array, from the first on.
template <int COUNT> struct Places {
  Index first;
};

template <int COUNT>
__device__ __forceinline__ Numbers<COUNT> read(const Real* array, Places<COUNT> places) {
  return *reinterpret_cast<const Numbers<COUNT>*>(array + places.first);
}

template <int COUNT>
__device__ __forceinline__ void write(Real* array, Places<COUNT> places,
                                      const Numbers<COUNT>& numbers) {
  *reinterpret_cast<Numbers<COUNT>*>(array + places.first) = numbers;
}

// Whether COUNT numbers from each of these on can be read or written at once.
template <int COUNT, class... Pointers>
__device__ __forceinline__ bool are_aligned(Pointers... from) {
  return ((UInt64)from | ...) % sizeof(Numbers<COUNT>) == 0;
}
