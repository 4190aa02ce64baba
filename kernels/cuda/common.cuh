// What all kernels share: number types, the loop over elements, and sums of warps and blocks.
//
// Each source is compiled for Real = float or double, and for Index = int or long long, whichever
// counts the largest array it is given.
#pragma once

typedef REAL Real;
typedef INDEX Index;
typedef long long Int64;
typedef unsigned long long UInt64;

#ifdef __CUDACC_RTC__  // no headers of C are there
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Shared memory whose size the launcher says.
#ifdef MINICNN_EMULATOR
#define DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(emulator_dynamic_shared())
#else
#define DYNAMIC_SHARED(T, name)                            \
  extern __shared__ __align__(16) unsigned char dynamic_[]; \
  T* name = reinterpret_cast<T*>(dynamic_)
#endif

// Each thread takes every so-many-th element; whatever the grid, all of them are taken.
#define FOR_EACH(i, count)                                                             \
  for (Index i = blockIdx.x * (Index)blockDim.x + threadIdx.x, step_ = (Index)gridDim.x * blockDim.x; \
       i < (count); i += step_)

__device__ __forceinline__ int lane() { return threadIdx.x % WARP; }

// A value, multiplied by a slope where another is not above 0. As the activations of their own: NaN
// is not below 0 for a ReLU, and for no other above.
__device__ __forceinline__ Real sloped(Real value, Real sign, Real slope) {
  if (slope == 0) return sign <= 0 ? 0 : value;
  return sign > 0 ? value : slope * value;
}

// The sum over the lanes of a warp, in all of them, always in the same order.
__device__ __forceinline__ Real warp_sum(Real x) {
  for (int bits = WARP / 2; bits; bits /= 2) x += __shfl_xor_sync(ALL_LANES, x, bits);
  return x;
}

// As max, but NaN is larger than everything.
__device__ __forceinline__ Real larger(Real a, Real b) { return b > a || b != b ? b : a; }

__device__ __forceinline__ Real warp_max(Real x) {
  for (int bits = WARP / 2; bits; bits /= 2) x = larger(x, __shfl_xor_sync(ALL_LANES, x, bits));
  return x;
}

// The sum over the threads of a block, in all of them; `shared` holds one value for each warp.
__device__ __forceinline__ Real block_sum(Real x, Real* shared) {
  x = warp_sum(x);
  __syncthreads();  // the last sum may still be read
  if (lane() == 0) shared[threadIdx.x / WARP] = x;
  __syncthreads();
  return warp_sum(lane() < blockDim.x / WARP ? shared[lane()] : 0);
}
