// Sums over everything but the channels.
#include "channels.cuh"

extern "C" __global__ void piece_sums(const Real* __restrict__ x, Real* __restrict__ sums,
                                      Channels channels) {
  __shared__ Real shared[WARP];
  Real sum = 0;
  FOR_EACH_IN_PIECE(place, channels) sum += x[place];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) sums[blockIdx.y * channels.count + blockIdx.x] = sum;
}

extern "C" __global__ void add_pieces(const Real* __restrict__ sums, Real* __restrict__ total,
                                      Channels channels) {
  FOR_EACH(channel, channels.count) {
    Real sum = 0;
    for (int piece = 0; piece < channels.pieces; piece++)
      sum += sums[piece * channels.count + channel];
    total[channel] = sum;
  }
}
