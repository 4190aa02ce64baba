// The values of one channel of an array (outer, channels, inner), in pieces.
//
// A block takes one piece of one channel; what blocks find of the pieces is put together by another
// kernel in the order of the pieces. So results have the same bits each time.
#pragma once
#include "common.cuh"

struct Channels {
  Index outer, count, inner;
  int pieces;
};

__device__ __forceinline__ Index values_per_channel(const Channels& channels) {
  return channels.outer * channels.inner;
}

__device__ __forceinline__ Index piece_begin(Index piece, const Channels& channels) {
  const Index size = (values_per_channel(channels) + channels.pieces - 1) / channels.pieces;
  return min(piece * size, values_per_channel(channels));
}

// Where the i-th value of a channel lies.
__device__ __forceinline__ Index value_of_channel(Index i, Index channel,
                                                  const Channels& channels) {
  return (i / channels.inner * channels.count + channel) * channels.inner + i % channels.inner;
}

// The places of the values of this block's piece that this thread takes.
#define FOR_EACH_IN_PIECE(place, channels)                                                 \
  for (Index i_ = piece_begin(blockIdx.y, channels) + threadIdx.x,                         \
             place = value_of_channel(i_, blockIdx.x, channels);                           \
       i_ < piece_begin(blockIdx.y + 1, channels);                                         \
       i_ += blockDim.x, place = value_of_channel(i_, blockIdx.x, channels))

__device__ __forceinline__ Index channel_of(Index place, const Channels& channels) {
  return place / channels.inner % channels.count;
}
