// Random numbers by position, bit for bit those of kernels/reference/philox.py.
#pragma once
#include "common.cuh"

struct Words {
  unsigned word[4];
};

// Philox4x32-10: the four words of a counter under a key.
__device__ __forceinline__ Words philox(UInt64 counter, UInt64 key) {
  unsigned a = counter, b = counter >> 32, c = 0, d = 0, k0 = key, k1 = key >> 32;
  for (int round = 0; round < 10; round++) {
    const unsigned first_high = __umulhi(0xD2511F53u, a), first_low = 0xD2511F53u * a;
    const unsigned second_high = __umulhi(0xCD9E8D57u, c), second_low = 0xCD9E8D57u * c;
    a = second_high ^ b ^ k0;
    b = second_low;
    c = first_high ^ d ^ k1;
    d = first_low;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

// A captured launch finds its key in memory, where the next replay may find another.
__device__ __forceinline__ UInt64 current(UInt64 key, const UInt64* changing) {
  return changing ? *changing : key;
}

constexpr int UNIFORM_BITS = 24;

// A number in [0, 1).
__device__ __forceinline__ Real uniform(unsigned word) {
  return (Real)(word >> (32 - UNIFORM_BITS)) * (Real)(1.0 / (1 << UNIFORM_BITS));
}
