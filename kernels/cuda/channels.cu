// Sums over everything but the channels.
#include "channels.cuh"

template <int COUNT>
__device__ __forceinline__ Real sum_of_piece(const Real* x, const Channels& channels) {
  Real sum = 0;
  for (const auto places : Piece<COUNT>{channels})
    for (Real value : read(x, places).at) sum += value;
  return sum;
}

extern "C" __global__ void piece_sums(const Real* __restrict__ x, Real* __restrict__ sums,
                                      Channels channels) {
  __shared__ Real shared[WARP];
  Real sum = lies_in_vectors(channels, x) ? sum_of_piece<VECTOR>(x, channels)
                                             : sum_of_piece<1>(x, channels);
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) sums[blockIdx.y * channels.count + blockIdx.x] = sum;
}

// A warp shares the pieces of a channel, if they are many; else a thread has all of them.
extern "C" __global__ void add_pieces(const Real* __restrict__ sums, Real* __restrict__ total,
                                      int lanes, Channels channels) {
  FOR_EACH(i, channels.count * lanes) {
    const Index channel = i / lanes;
    Real sum = 0;
    for (int piece = i % lanes; piece < channels.pieces; piece += lanes)
      sum += sums[piece * channels.count + channel];
    if (lanes == WARP) sum = warp_sum(sum);
    if (i % lanes == 0) total[channel] = sum;
  }
}
