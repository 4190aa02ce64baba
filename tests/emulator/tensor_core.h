// Models of what tensor_core.cuh writes in PTX.
#pragma once

// ---- Copies are made as late as they may be, so that who waits for too few of them reads what was
// there before; or at once, so that who still needs what was there misses it. Each thread has its
// own, in memory that lasts: TSan takes what a fiber allocates for a race.
#define EMULATOR_COPIES 256
#define EMULATOR_GROUPS 16

struct EmulatorCopy {
  void* to;
  const void* from;
  int bytes;
  bool is_there;
};

struct EmulatorCopies {
  EmulatorCopy copies[EMULATOR_COPIES];
  int count, groups, ends[EMULATOR_GROUPS];  // how many copies there are up to the end of a group
};

inline EmulatorCopies& emulator_copies() {
  static EmulatorCopies all[1024];
  return all[threadIdx.x];
}

inline bool emulator_copies_at_once() { return emulator_schedule() == EMULATOR_REVERSE; }

inline void emulator_make(const EmulatorCopy& copy) {
  if (copy.is_there)
    memcpy(copy.to, copy.from, copy.bytes);
  else
    memset(copy.to, 0, copy.bytes);
}

template <int COUNT, class T> inline void copy_async(T* to, const T* from, bool is_there) {
  EmulatorCopies& open = emulator_copies();
  constexpr int BYTES = COUNT * sizeof(T);
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
  if (open.count == EMULATOR_COPIES) emulator_fail("more than 256 copies on their way", __LINE__);
  if ((size_t)to % BYTES || (is_there && (size_t)from % BYTES))
    emulator_fail("a copy is not aligned", __LINE__);
  open.copies[open.count++] = {to, from, BYTES, is_there};
  if (emulator_copies_at_once()) emulator_make(open.copies[open.count - 1]);
}

inline void close_copies() {
  EmulatorCopies& open = emulator_copies();
  if (open.groups == EMULATOR_GROUPS) emulator_fail("more than 16 groups of copies", __LINE__);
  open.ends[open.groups++] = open.count;
}

inline void emulator_wait_for_copies(int groups_left) {
  EmulatorCopies& open = emulator_copies();
  const int done = max(open.groups - groups_left, 0);
  const int made = done ? open.ends[done - 1] : 0;
  for (int i = 0; i < made && !emulator_copies_at_once(); i++) emulator_make(open.copies[i]);
  open.count -= made;
  open.groups -= done;
  memmove(open.copies, open.copies + made, open.count * sizeof(EmulatorCopy));
  for (int i = 0; i < open.groups; i++) open.ends[i] = open.ends[i + done] - made;
}
template <int OPEN> inline void wait_for_copies() { emulator_wait_for_copies(OPEN); }

// A thread begins without copies, and must have waited for all of its own at its end.
inline void emulator_begin_thread() { emulator_copies().count = emulator_copies().groups = 0; }
inline void emulator_end_thread() {
  if (emulator_copies().count) emulator_fail("a thread ends before its copies", __LINE__);
}

// ---- Tensor cores: who has which factor is coded once more here, from the PTX manual
inline unsigned to_tf32(float x) {
  const unsigned bits = __float_as_uint(x);
  const bool is_finite = (bits & 0x7f800000u) != 0x7f800000u;
  return is_finite ? (bits + 0x1000u) & ~0x1fffu : bits;
}

inline unsigned emulator_bfloat16(float x) {
  const unsigned bits = __float_as_uint(x);
  if (x != x) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
inline unsigned to_bfloat16(float low, float high) {
  return emulator_bfloat16(low) | emulator_bfloat16(high) << 16;
}

struct EmulatorFactors {
  unsigned a[4], b[2];
};

// Lane (row % 8) * 4 + term has a at (row, term), lane column * 4 + term has b at (term, column);
// `terms` factors are to a register, and the second register of b and the third of a have the
// second half of the terms.
template <class Factor>
inline void emulator_multiply(float* sum, const unsigned* a, const unsigned* b, int terms,
                              Factor factor, int line) {
  EmulatorFactors own;
  memcpy(own.a, a, sizeof own.a);
  memcpy(own.b, b, sizeof own.b);
  const uint8_t* slots = emulator_meet(0xffffffffu, &own, sizeof own, line);
  const auto of_lane = [&](int lane) {
    return emulator_bits<EmulatorFactors>(slots + EMULATOR_SLOT * lane);
  };
  float added[4];
  for (int i = 0; i < 4; i++) {
    const int row = emulator_lane() / 4 + i / 2 * 8, column = emulator_lane() % 4 * 2 + i % 2;
    added[i] = sum[i];
    for (int term = 0; term < 8 * terms; term++) {
      const int half = term / (4 * terms), quarter = term / terms % 4, place = term % terms;
      const unsigned left = of_lane(row % 8 * 4 + quarter).a[row / 8 + 2 * half];
      const unsigned right = of_lane(column * 4 + quarter).b[half];
      added[i] += factor(left, place) * factor(right, place);
    }
  }
  memcpy(sum, added, sizeof added);
}

inline void multiply_tf32(float* sum, const unsigned* a, const unsigned* b) {
  const auto factor = [](unsigned bits, int) { return __uint_as_float(bits & ~0x1fffu); };
  emulator_multiply(sum, a, b, 1, factor, __LINE__);
}
inline void multiply_bfloat16(float* sum, const unsigned* a, const unsigned* b) {
  const auto factor = [](unsigned bits, int place) {
    return __uint_as_float(place ? bits & 0xffff0000u : bits << 16);
  };
  emulator_multiply(sum, a, b, 2, factor, __LINE__);
}
