// What a kernel that was built for the CPU asks of the emulator's core.
#pragma once
#include <cstddef>
#include <cstdint>

#define EMULATOR_SLOT 64  // bytes that a lane can show the others of its warp
enum { EMULATOR_FORWARD, EMULATOR_REVERSE, EMULATOR_SHUFFLED };

struct EmulatorIndex {
  unsigned x, y, z;
};

extern "C" {
extern EmulatorIndex emulator_thread, emulator_block, emulator_block_size, emulator_grid_size;
void emulator_barrier(int line);
// Shows this lane's bytes to all lanes of the mask, waits for theirs, and returns those of lane 0;
// the others' follow EMULATOR_SLOT bytes apart.
const uint8_t* emulator_meet(unsigned mask, const void* data, size_t bytes, int line);
unsigned emulator_live_lanes();
int emulator_lane();
int emulator_schedule();
void* emulator_dynamic_shared();
void emulator_fail(const char* what, int line);
}
