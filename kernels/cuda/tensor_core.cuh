// Tensor cores, and copies that go on while a thread computes: all that is written in PTX.
//
// The emulator has models of these functions in its tensor_core.h.
#pragma once
#include "common.cuh"

// GPUs before compute capability 8.0 copy by hand, and their tensor cores know neither format.
#if defined(MINICNN_EMULATOR) || __CUDA_ARCH__ >= 800
constexpr bool HAS_TENSOR_CORES = true;
#else
constexpr bool HAS_TENSOR_CORES = false;
#endif

#if !defined(MINICNN_EMULATOR) && __CUDA_ARCH__ >= 800

// Begins to copy numbers of together 4, 8 or 16 bytes to shared memory, or zeros where they are not
// there: then `from` is not read, and may be anything.
template <int COUNT, class T>
__device__ __forceinline__ void copy_async(T* to, const T* from, bool is_there) {
  constexpr int BYTES = COUNT * sizeof(T);
  const unsigned place = (unsigned)__cvta_generic_to_shared(to);
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(place), "l"(from), "n"(BYTES),
               "r"(is_there ? BYTES : 0)
               : "memory");
}

// Closes a group of all copies that this thread began since the last one.
__device__ __forceinline__ void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the last `OPEN` groups of this thread are there.
template <int OPEN> __device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(OPEN) : "memory");
}

// A factor with 10 bits behind the leading one, rounded to nearest, ties away from 0.
__device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

// Two factors with 7 bits behind the leading one, rounded to nearest, ties to even.
__device__ __forceinline__ unsigned to_bfloat16(float low, float high) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

// A warp adds a (16, 8) times b (8, 8) to sum (16, 8). With g = lane / 4 and t = lane % 4 a lane
// has a at (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), b at (t, g), (t + 4, g), and of the sum
// (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1). PTX, "mma.m16n8k8".
__device__ __forceinline__ void multiply_tf32(float* sum, const unsigned* a, const unsigned* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same for a (16, 16) and b (16, 8), two factors of neighbouring terms to a register: a at
// (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8), b at (2t, g), (2t + 8, g). "mma.m16n8k16".
__device__ __forceinline__ void multiply_bfloat16(float* sum, const unsigned* a,
                                                  const unsigned* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#elif !defined(MINICNN_EMULATOR)

template <int COUNT, class T>
__device__ __forceinline__ void copy_async(T* to, const T* from, bool is_there) {
  for (int i = 0; i < COUNT; i++) to[i] = is_there ? from[i] : 0;
}
__device__ __forceinline__ void close_copies() {}
template <int OPEN> __device__ __forceinline__ void wait_for_copies() {}
// Never called there: what follows is only named, by code that is made for newer GPUs.
__device__ __forceinline__ unsigned to_tf32(float) { return 0; }
__device__ __forceinline__ unsigned to_bfloat16(float, float) { return 0; }
__device__ __forceinline__ void multiply_tf32(float*, const unsigned*, const unsigned*) {}
__device__ __forceinline__ void multiply_bfloat16(float*, const unsigned*, const unsigned*) {}

#endif
