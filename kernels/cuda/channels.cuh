// The values of one channel of an array (outer, channels, inner), in pieces.
//
// A block takes one piece of one channel; what blocks find of the pieces is put together by another
// kernel in the order of the pieces. So results have the same bits each time.
#pragma once
#include "vector.cuh"

struct Channels {
  Index outer, count, inner;
  int pieces;
};

__device__ __forceinline__ Index values_per_channel(const Channels& channels) {
  return channels.outer * channels.inner;
}

// Pieces are cut between vectors, whether these can be read at once or not.
__device__ __forceinline__ Index piece_begin(Index piece, const Channels& channels) {
  const Index size = (values_per_channel(channels) + channels.pieces - 1) / channels.pieces;
  const Index vectors = (size + VECTOR - 1) / VECTOR;
  return min(piece * vectors * VECTOR, values_per_channel(channels));
}

// The way of a thread through this block's piece of its channel, COUNT values at a time. From one
// to the next it only adds: to divide would take longer than to fetch.
template <int COUNT> struct Way {
  Index i, row_size, column, place, columns_on, places_on, to_next_row;

  __device__ __forceinline__ Way(const Channels& channels)
      : i(piece_begin(blockIdx.y, channels) / COUNT + threadIdx.x),
        row_size(channels.inner / COUNT),
        column(i % row_size),
        place((i / row_size * channels.count + blockIdx.x) * row_size + column),
        columns_on(blockDim.x % row_size),
        places_on(blockDim.x / row_size * channels.count * row_size + columns_on),
        to_next_row((channels.count - 1) * row_size) {}

  __device__ __forceinline__ Places<COUNT> operator*() const { return {place * COUNT}; }
  __device__ __forceinline__ bool operator!=(Index stop) const { return i < stop; }
  __device__ __forceinline__ void operator++() {
    i += blockDim.x;
    column += columns_on;
    place += places_on;
    if (column >= row_size) {
      column -= row_size;
      place += to_next_row;
    }
  }
};

// What a thread takes of this block's piece.
template <int COUNT> struct Piece {
  const Channels& channels;

  __device__ __forceinline__ Way<COUNT> begin() const { return Way<COUNT>(channels); }
  __device__ __forceinline__ Index end() const {
    return piece_begin(blockIdx.y + 1, channels) / COUNT;
  }
};

// Whether the values of a channel of these arrays can be read and written in vectors.
template <class... Arrays>
__device__ __forceinline__ bool lies_in_vectors(const Channels& channels, Arrays... arrays) {
  return channels.inner % VECTOR == 0 && are_aligned<VECTOR>(arrays...);
}

__device__ __forceinline__ Index channel_of(Index place, const Channels& channels) {
  return place / channels.inner % channels.count;
}
