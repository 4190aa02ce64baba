// Runs a CUDA kernel on the CPU: a cooperative fiber for each thread, one block after the other.
//
// One library for all kernels. Built without sanitizers; what is built with them are the kernels. Only one thread of the system
// is at work, so a run is repeatable: the order of threads and blocks is an argument.
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "core.h"

#define WEAK __attribute__((weak))
extern "C" {
// There only where the kernels were linked with that sanitizer.
WEAK void __sanitizer_start_switch_fiber(void**, const void*, size_t);
WEAK void __sanitizer_finish_switch_fiber(void*, const void**, size_t*);
WEAK void __asan_poison_memory_region(void const volatile*, size_t);
WEAK void __asan_unpoison_memory_region(void const volatile*, size_t);
WEAK void* __tsan_get_current_fiber(void);
WEAK void* __tsan_create_fiber(unsigned);
WEAK void __tsan_switch_to_fiber(void*, unsigned);
WEAK void __tsan_acquire(void*);
WEAK void __tsan_release(void*);

EmulatorIndex emulator_thread, emulator_block, emulator_block_size, emulator_grid_size;
}

namespace {

constexpr int WARP = 32;
constexpr int MOST_THREADS = 1024;
constexpr int MOST_MASKS = 8;  // different masks of warp operations in one kernel
constexpr size_t MOST_SHARED = 227 * 1024;
constexpr size_t RED_ZONE = 256;
constexpr uint8_t CANARY = 0xCD, POISON = 0xFF;  // 0xFF.. is NaN, or -1

enum class State { ready, at_barrier, in_warp, done };

struct Fiber {
  void* stack_pointer;
  uint8_t* stack;
  void* tsan;
  ucontext_t context;
  EmulatorIndex thread;
  State state;
  int line;  // of the source, where it waits
};

// Where the lanes of one mask meet. Two sets of slots: a lane may come again before all have read.
struct Meeting {
  unsigned mask, arrived, generation;
  alignas(16) uint8_t slots[2][WARP][EMULATOR_SLOT];
  char happened[2];
};

struct Warp {
  unsigned live;
  int meetings;
};

std::vector<Fiber> fibers;
std::vector<Warp> warps;
// Not allocated as needed: memory that a fiber allocates looks like a race to TSan.
Meeting meetings[MOST_THREADS / WARP][MOST_MASKS];
std::vector<uint8_t> dynamic_memory;
uint8_t* dynamic_shared;
char* static_shared;  // where the linker put the __shared__ variables of the kernels
size_t static_size;
size_t stack_size;
int current = -1, threads, live, arrived, order_of_threads;
unsigned generation;
char barrier_happened[2], block_ended, block_began;
bool failed;
char message[1024];
void (*kernel)(void**);
void** arguments;

void* main_stack_pointer;
void* main_fake_stack;
const void* main_stack;
size_t main_stack_size;
void* main_tsan;

void acquire(char* event) {
  if (__tsan_acquire) __tsan_acquire(event);
}
void release(char* event) {
  if (__tsan_release) __tsan_release(event);
}

#if defined(__x86_64__)
// 40 times faster than swapcontext, which asks the system for the signal mask each time.
extern "C" void emulator_switch(void** save, void* load);
asm(R"(
.text
.type emulator_switch,@function
.hidden emulator_switch
.globl emulator_switch
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch, .-emulator_switch
)");
void switch_to_main(Fiber& fiber) { emulator_switch(&fiber.stack_pointer, main_stack_pointer); }
void switch_to(Fiber& fiber) { emulator_switch(&main_stack_pointer, fiber.stack_pointer); }
void prepare(Fiber& fiber, void (*entry)()) {
  uint64_t* top = reinterpret_cast<uint64_t*>(fiber.stack + stack_size);
  *--top = 0;  // so that the stack is aligned as after a call
  *--top = reinterpret_cast<uint64_t>(entry);
  for (int i = 0; i < 6; i++) *--top = 0;
  fiber.stack_pointer = top;
}
#else
ucontext_t main_context;
void switch_to_main(Fiber& fiber) { swapcontext(&fiber.context, &main_context); }
void switch_to(Fiber& fiber) { swapcontext(&main_context, &fiber.context); }
void prepare(Fiber& fiber, void (*entry)()) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = stack_size;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
}
#endif

void leave(bool forever) {
  void* fake_stack = nullptr;
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(main_tsan, 1);
  if (__sanitizer_start_switch_fiber)
    __sanitizer_start_switch_fiber(forever ? nullptr : &fake_stack, main_stack, main_stack_size);
  switch_to_main(fibers[current]);
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
}

void enter(int number) {
  current = number;
  Fiber& fiber = fibers[number];
  emulator_thread = fiber.thread;
  if (__sanitizer_start_switch_fiber)
    __sanitizer_start_switch_fiber(&main_fake_stack, fiber.stack, stack_size);
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(fiber.tsan, 1);
  switch_to(fiber);
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(main_fake_stack, nullptr, nullptr);
  current = -1;
}

// Notes the first failure; a thread of the kernel that fails does not go on.
void fail(const char* format, ...) {
  if (!failed) {
    va_list values;
    va_start(values, format);
    int length = vsnprintf(message, sizeof message, format, values);
    va_end(values);
    snprintf(message + length, sizeof message - length, " in block (%u, %u, %u)",
             emulator_block.x, emulator_block.y, emulator_block.z);
  }
  failed = true;
  if (current >= 0) {
    fibers[current].state = State::done;
    leave(true);
  }
}

void open_barrier() {
  arrived = 0;
  generation++;
  for (int i = 0; i < threads; i++)
    if (fibers[i].state == State::at_barrier) fibers[i].state = State::ready;
}

void run_thread() {
  if (__sanitizer_finish_switch_fiber)
    __sanitizer_finish_switch_fiber(nullptr, &main_stack, &main_stack_size);
  kernel(arguments);
  fibers[current].state = State::done;
  warps[current / WARP].live &= ~(1u << (current % WARP));
  live--;
  if (live && arrived == live) open_barrier();  // who has left is not waited for, since Volta
  release(&block_ended);
  leave(true);
  abort();
}

uint64_t random_state;
uint32_t random_number() {
  random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
  return random_state >> 33;
}

std::vector<int> in_order(int count, int schedule) {
  std::vector<int> order(count);
  for (int i = 0; i < count; i++) order[i] = schedule == EMULATOR_REVERSE ? count - 1 - i : i;
  if (schedule == EMULATOR_SHUFFLED)
    for (int i = count - 1; i > 0; i--) std::swap(order[i], order[random_number() % (i + 1)]);
  return order;
}

void make_fibers(size_t size) {
  if (size != stack_size) {
    for (Fiber& fiber : fibers) munmap(fiber.stack, stack_size);
    fibers.clear();
    stack_size = size;
  }
  while (static_cast<int>(fibers.size()) < threads) {
    Fiber fiber{};
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) abort();
    fiber.stack = static_cast<uint8_t*>(memory);
    if (__tsan_create_fiber) fiber.tsan = __tsan_create_fiber(0);
    fibers.push_back(fiber);
  }
}

void begin_block(const unsigned* block, size_t shared) {
  acquire(&block_ended);
  if (static_size) memset(static_shared, POISON, static_size);
  memset(dynamic_memory.data(), CANARY, dynamic_memory.size());
  memset(dynamic_shared, POISON, shared);
  live = threads;
  arrived = 0;
  int number = 0;
  for (unsigned z = 0; z < block[2]; z++)
    for (unsigned y = 0; y < block[1]; y++)
      for (unsigned x = 0; x < block[0]; x++) {
        Fiber& fiber = fibers[number];
        if (number % WARP == 0) warps[number / WARP] = {0, 0};
        warps[number / WARP].live |= 1u << number % WARP;
        fiber.thread = {x, y, z};
        fiber.state = State::ready;
        if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(fiber.stack, stack_size);
        prepare(fiber, run_thread);
        number++;
      }
  // Blocks happen one after the other; TSan is to look for races inside them.
  release(&block_began);
  if (__tsan_switch_to_fiber)
    for (int i = 0; i < threads; i++) {
      __tsan_switch_to_fiber(fibers[i].tsan, 1);
      acquire(&block_began);
      __tsan_switch_to_fiber(main_tsan, 1);
    }
}

void report_deadlock() {
  int barrier = -1, warp = -1;
  for (int i = 0; i < threads; i++) {
    if (fibers[i].state == State::at_barrier) barrier = i;
    if (fibers[i].state == State::in_warp) warp = i;
  }
  fail("deadlock: %d of %d threads are left; thread %d waits at __syncthreads in line %d, "
       "thread %d for its warp in line %d",
       live, threads, barrier, barrier < 0 ? 0 : fibers[barrier].line, warp,
       warp < 0 ? 0 : fibers[warp].line);
}

void run_block(const std::vector<int>& order) {
  while (live && !failed) {
    bool progress = false;
    for (int number : order)
      if (fibers[number].state == State::ready && !failed) {
        progress = true;
        enter(number);
      }
    if (!progress) report_deadlock();
  }
}

void check_canaries(size_t shared) {
  for (uint8_t& byte : dynamic_memory)
    if ((&byte < dynamic_shared || &byte >= dynamic_shared + shared) && byte != CANARY) {
      fail("byte %ld of %zu bytes of dynamic shared memory was written", &byte - dynamic_shared,
           shared);
      return;
    }
}

void poison_canaries(size_t shared, bool poisoned) {
  auto change = poisoned ? __asan_poison_memory_region : __asan_unpoison_memory_region;
  if (!change) return;
  uint8_t *first = dynamic_memory.data(), *stop = first + dynamic_memory.size();
  change(first, dynamic_shared - first);
  change(dynamic_shared + shared, stop - dynamic_shared - shared);
}

bool is_launchable(const unsigned* grid, const unsigned* block, size_t shared) {
  unsigned long long count = 1ull * block[0] * block[1] * block[2];
  const char* wrong = nullptr;
  if (!count || count > MOST_THREADS || block[2] > 64) wrong = "no such block";
  if (!grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535)
    wrong = "no such grid";
  if (shared > MOST_SHARED) wrong = "too much shared memory";
  if (wrong)
    snprintf(message, sizeof message, "%s: grid (%u, %u, %u), block (%u, %u, %u), %zu bytes",
             wrong, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared);
  return !wrong;
}

}  // namespace

extern "C" {

const char* emulator_message() { return message; }
void* emulator_dynamic_shared() { return dynamic_shared; }
unsigned emulator_live_lanes() { return warps[current / WARP].live; }
int emulator_lane() { return current % WARP; }
int emulator_schedule() { return order_of_threads; }
void emulator_fail(const char* what, int line) { fail("line %d: %s", line, what); }

void emulator_barrier(int line) {
  fibers[current].line = line;
  char* event = &barrier_happened[generation & 1];
  release(event);
  if (++arrived == live) {
    for (int i = 0; i < threads; i++)
      if (fibers[i].state == State::at_barrier && fibers[i].line != line)
        fail("divergent __syncthreads: thread %d waits in line %d, thread %d in line %d", i,
             fibers[i].line, current, line);
    open_barrier();
  } else {
    fibers[current].state = State::at_barrier;
    leave(false);
  }
  acquire(event);
}

const uint8_t* emulator_meet(unsigned mask, const void* data, size_t bytes, int line) {
  const int me = current, lane = me % WARP, first = me - lane;
  Warp& warp = warps[me / WARP];
  fibers[me].line = line;
  if (!(mask >> lane & 1))
    fail("line %d: mask %08x does not name lane %d, which is there", line, mask, lane);
  if (mask & ~warp.live)
    fail("line %d: mask %08x names lanes that left or never were; %08x are there", line, mask,
         warp.live);
  Meeting* meeting = nullptr;
  Meeting* known = meetings[me / WARP];
  for (int i = 0; i < warp.meetings; i++)
    if (known[i].mask == mask) meeting = &known[i];
  if (!meeting) {
    if (warp.meetings == MOST_MASKS) fail("more than %d masks in one kernel", MOST_MASKS);
    meeting = &known[warp.meetings++];
    meeting->mask = mask;
    meeting->arrived = meeting->generation = 0;
  }
  const unsigned side = meeting->generation & 1;
  if (bytes) memcpy(meeting->slots[side][lane], data, bytes);
  release(&meeting->happened[side]);
  meeting->arrived |= 1u << lane;
  if (meeting->arrived == mask) {
    meeting->arrived = 0;
    meeting->generation++;
    for (int i = 0; i < WARP; i++) {
      if (!(mask >> i & 1) || first + i == me) continue;
      if (fibers[first + i].line != line)
        fail("warp divergence: lanes %d and %d meet in lines %d and %d", i, lane,
             fibers[first + i].line, line);
      fibers[first + i].state = State::ready;
    }
  } else {
    fibers[me].state = State::in_warp;
    leave(false);
  }
  acquire(&meeting->happened[side]);
  return &meeting->slots[side][0][0];
}

// Returns 0, or 1 where `emulator_message` says what went wrong.
int emulator_launch(void (*function)(void**), void** values, const unsigned* grid,
                    const unsigned* block, char* variables, size_t variables_size, size_t shared,
                    int schedule, unsigned long long seed, size_t stack) {
  failed = false;
  message[0] = 0;
  if (!is_launchable(grid, block, shared)) return 1;
  kernel = function;
  static_shared = variables;
  static_size = variables_size;
  arguments = values;
  random_state = 2 * seed + 1;
  order_of_threads = schedule;
  emulator_grid_size = {grid[0], grid[1], grid[2]};
  emulator_block_size = {block[0], block[1], block[2]};
  threads = block[0] * block[1] * block[2];
  make_fibers(stack);
  warps.resize((threads + WARP - 1) / WARP);
  dynamic_memory.resize(shared + 2 * RED_ZONE);
  uintptr_t begin = reinterpret_cast<uintptr_t>(dynamic_memory.data()) + RED_ZONE / 2;
  dynamic_shared = reinterpret_cast<uint8_t*>((begin + 127) / 128 * 128);
  if (__tsan_get_current_fiber) main_tsan = __tsan_get_current_fiber();
  for (int number : in_order(grid[0] * grid[1] * grid[2], schedule)) {
    if (failed) break;
    emulator_block = {number % grid[0], number / grid[0] % grid[1], number / grid[0] / grid[1]};
    begin_block(block, shared);
    poison_canaries(shared, true);
    run_block(in_order(threads, schedule));
    poison_canaries(shared, false);
    if (!failed) check_canaries(shared);
  }
  acquire(&block_ended);
  return failed;
}
}
