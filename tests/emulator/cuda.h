// The vocabulary of CUDA C++ for g++: included before a .cu file that the emulator runs.
#pragma once
#include <math.h>

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core.h"

#define MINICNN_EMULATOR 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// In a section of their own, so that the core can fill them with NaN before each block. ASan puts
// red zones around variables, which it cannot there.
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static
#else
#define __shared__ static __attribute__((section("shared")))
#endif

#define threadIdx emulator_thread
#define blockIdx emulator_block
#define blockDim emulator_block_size
#define gridDim emulator_grid_size
#define warpSize 32
#define __syncthreads() emulator_barrier(__LINE__)
#define __syncwarp() ((void)emulator_meet(0xffffffffu, nullptr, 0, __LINE__))
#define __trap() emulator_fail("__trap()", __LINE__)

using std::max;
using std::min;

template <class T> inline T emulator_bits(const void* bits) {
  T value;
  memcpy(&value, bits, sizeof value);
  return value;
}
inline float __uint_as_float(unsigned bits) { return emulator_bits<float>(&bits); }
inline unsigned __float_as_uint(float x) { return emulator_bits<unsigned>(&x); }
inline float __int_as_float(int bits) { return emulator_bits<float>(&bits); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
template <class T> inline T __ldg(const T* p) { return *p; }

// ---- Warps
template <class T> inline T emulator_shuffle(unsigned mask, T value, int lane, int line) {
  static_assert(sizeof value <= EMULATOR_SLOT);
  const uint8_t* slots = emulator_meet(mask, &value, sizeof value, line);
  if (!(mask >> lane & 1)) emulator_fail("a shuffle reads a lane outside its mask", line);
  return emulator_bits<T>(slots + EMULATOR_SLOT * lane);
}
// Beyond the end of the warp a shuffle up or down gives the lane its own value.
#define __shfl_sync(mask, value, lane) emulator_shuffle(mask, value, (lane) & 31, __LINE__)
#define __shfl_xor_sync(mask, value, bits) \
  emulator_shuffle(mask, value, emulator_lane() ^ (bits), __LINE__)
#define __shfl_down_sync(mask, value, by) \
  emulator_shuffle(mask, value, emulator_lane() + (emulator_lane() + (by) < 32 ? (by) : 0), __LINE__)
#define __shfl_up_sync(mask, value, by) \
  emulator_shuffle(mask, value, emulator_lane() - (emulator_lane() < (by) ? 0 : (by)), __LINE__)
inline unsigned emulator_ballot(unsigned mask, int vote, int line) {
  const uint8_t* slots = emulator_meet(mask, &vote, sizeof vote, line);
  unsigned votes = 0;
  for (int lane = 0; lane < 32; lane++)
    if (mask >> lane & 1 && emulator_bits<int>(slots + EMULATOR_SLOT * lane)) votes |= 1u << lane;
  return votes;
}
#define __ballot_sync(mask, vote) emulator_ballot(mask, (vote) != 0, __LINE__)
#define __activemask() emulator_live_lanes()

// ---- Atomics: real ones, so that TSan knows them
template <class T> inline T atomicAdd(T* target, std::common_type_t<T> value) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static_assert(sizeof(T) == sizeof(Bits));
  Bits* bits = reinterpret_cast<Bits*>(target);
  Bits before = __atomic_load_n(bits, __ATOMIC_RELAXED), after;
  do {
    T sum = emulator_bits<T>(&before) + value;
    memcpy(&after, &sum, sizeof sum);
  } while (!__atomic_compare_exchange_n(bits, &before, after, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
  return emulator_bits<T>(&before);
}

inline int atomicOr(int* target, int bits) {
  return __atomic_fetch_or(target, bits, __ATOMIC_RELAXED);
}

#include "tensor_core.h"

// ---- Where the linker put __shared__ variables, if there are any
extern "C" {
extern char __start_shared[] __attribute__((weak)), __stop_shared[] __attribute__((weak));
char* emulator_variables() { return __start_shared; }
size_t emulator_variables_size() { return __start_shared ? __stop_shared - __start_shared : 0; }
}

// ---- Launching: a kernel `k` becomes `k_launch(values)`, with pointers to its arguments, and
// `k_sizes`, how many bytes each of them takes
template <class... Arguments, size_t... I>
inline void emulator_call(void (*kernel)(Arguments...), void** values, std::index_sequence<I...>) {
  emulator_begin_thread();
  kernel(*static_cast<std::remove_reference_t<Arguments>*>(values[I])...);
  emulator_end_thread();
}
template <class... Arguments> inline void emulator_call(void (*kernel)(Arguments...), void** values) {
  emulator_call(kernel, values, std::index_sequence_for<Arguments...>{});
}
template <class... Arguments> inline const int* emulator_sizes(void (*)(Arguments...)) {
  static const int sizes[] = {static_cast<int>(sizeof(Arguments))..., -1};
  return sizes;
}
#define EMULATOR_KERNEL(name)                                                  \
  extern "C" void name##_launch(void** values) { emulator_call(name, values); } \
  extern "C" const int* name##_sizes() { return emulator_sizes(name); }
