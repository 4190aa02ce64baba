// Batch normalisation over everything but the channels, and local response normalisation.
#include "channels.cuh"

// Mean and sum of squared differences to it, of `count` values.
struct Moments {
  Real count, mean, squares;
};

// Chan, Golub and LeVeque's union of two sets of values.
__device__ __forceinline__ Moments join(const Moments& a, const Moments& b) {
  const Real count = a.count + b.count;
  if (b.count == 0) return a;
  if (a.count == 0) return b;
  const Real apart = b.mean - a.mean, share = b.count / count;
  return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

// The union over a warp, in its first lane.
__device__ __forceinline__ Moments join_warp(Moments m) {
  for (int by = WARP / 2; by; by /= 2) {
    Moments other;
    other.count = __shfl_down_sync(ALL_LANES, m.count, by);
    other.mean = __shfl_down_sync(ALL_LANES, m.mean, by);
    other.squares = __shfl_down_sync(ALL_LANES, m.squares, by);
    m = join(m, other);
  }
  return m;
}

constexpr int FEW = 8;

// A few values at a time are taken by their differences to the first of them, whose squares are not
// much larger than those of the differences to the mean: no cancellation, as in the difference of
// mean square and squared mean, and only one division for each few.
template <int COUNT>
__device__ __forceinline__ Moments moments_of_piece(const Real* x, const Channels& channels) {
  Moments m = {0, 0, 0};
  const Piece<COUNT> piece = {channels};
  for (Way<COUNT> way = piece.begin(); way != piece.end();) {
    const Real first = x[(*way).first];
    Real count = 0, sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < FEW / COUNT && way != piece.end(); i++, ++way) {
      count += COUNT;
      for (Real value : read(x, *way).at) {
        sum += value - first;
        squares += (value - first) * (value - first);
      }
    }
    const Real mean = sum / count;
    m = join(m, {count, first + mean, squares - sum * mean});
  }
  return m;
}

extern "C" __global__ void piece_moments(const Real* __restrict__ x, Real* __restrict__ means,
                                         Real* __restrict__ squares, Channels channels) {
  __shared__ Moments shared[WARP];
  Moments m = lies_in_vectors(channels, x) ? moments_of_piece<VECTOR>(x, channels)
                                              : moments_of_piece<1>(x, channels);
  m = join_warp(m);
  if (lane() == 0) shared[threadIdx.x / WARP] = m;
  __syncthreads();
  if (threadIdx.x < WARP) {
    m = {0, 0, 0};
    if (threadIdx.x < blockDim.x / WARP) m = shared[threadIdx.x];
    m = join_warp(m);
  }
  if (threadIdx.x == 0) {
    const Index i = blockIdx.y * channels.count + blockIdx.x;
    means[i] = m.mean;
    squares[i] = m.squares;
  }
}

// A warp for each channel.
extern "C" __global__ void join_pieces(const Real* __restrict__ means,
                                       const Real* __restrict__ squares, Real* __restrict__ mean,
                                       Real* __restrict__ variance, Channels channels) {
  FOR_EACH(i, channels.count * WARP) {
    const Index channel = i / WARP;
    Moments all = {0, 0, 0};
    for (int piece = lane(); piece < channels.pieces; piece += WARP) {
      const Real count = piece_begin(piece + 1, channels) - piece_begin(piece, channels);
      const Index place = piece * channels.count + channel;
      all = join(all, {count, means[place], squares[place]});
    }
    all = join_warp(all);
    if (lane() == 0) {
      mean[channel] = all.mean;
      variance[channel] = all.squares / all.count;
    }
  }
}

template <int COUNT>
__device__ __forceinline__ void normalise_piece(const Real* x, Real center, Real scale, Real shift,
                                                const Real* residual, Real slope, Real* y,
                                                const Channels& channels) {
  for (const auto places : Piece<COUNT>{channels}) {
    auto values = read(x, places);
    for (Real& value : values.at) value = (value - center) * scale + shift;
    if (residual) {
      const auto added = read(residual, places);
      for (int i = 0; i < COUNT; i++) values.at[i] += added.at[i];
    }
    for (Real& value : values.at) value = sloped(value, value, slope);
    write(y, places, values);
  }
}

// The residual, which is added, may be null; what is then below 0 is multiplied by the slope.
extern "C" __global__ void normalise(const Real* __restrict__ x, const Real* __restrict__ w,
                                     const Real* __restrict__ b, const Real* __restrict__ mean,
                                     const Real* __restrict__ variance, Real eps,
                                     const Real* __restrict__ residual, Real slope,
                                     Real* __restrict__ y, Channels channels) {
  const Index c = blockIdx.x;
  const Real scale = w[c] / sqrt(variance[c] + eps);
  if (lies_in_vectors(channels, x, residual, y))
    normalise_piece<VECTOR>(x, mean[c], scale, b[c], residual, slope, y, channels);
  else
    normalise_piece<1>(x, mean[c], scale, b[c], residual, slope, y, channels);
}

// Gradients of what was multiplied by the slope where y, which is null if nowhere, is below 0.
template <int COUNT>
__device__ __forceinline__ Numbers<COUNT> read_slopes(const Real* dy, const Real* y, Real slope,
                                                      Places<COUNT> places) {
  auto slopes = read(dy, places);
  if (y) {
    const auto signs = read(y, places);
    for (int i = 0; i < COUNT; i++) slopes.at[i] = sloped(slopes.at[i], signs.at[i], slope);
  }
  return slopes;
}

struct Sums {
  Real weight, bias;
};

template <int COUNT>
__device__ __forceinline__ Sums sums_of_piece(const Real* dy, const Real* y, Real slope,
                                              const Real* x, Real center, Real scale,
                                              const Channels& channels) {
  Sums sums = {0, 0};
  for (const auto places : Piece<COUNT>{channels}) {
    const auto slopes = read_slopes(dy, y, slope, places), values = read(x, places);
    for (int i = 0; i < COUNT; i++) {
      sums.weight += slopes.at[i] * ((values.at[i] - center) * scale);
      sums.bias += slopes.at[i];
    }
  }
  return sums;
}

// Of each piece the sums that are the gradients of w and b.
extern "C" __global__ void piece_gradients(const Real* __restrict__ dy, const Real* __restrict__ y,
                                           Real slope, const Real* __restrict__ x,
                                           const Real* __restrict__ mean,
                                           const Real* __restrict__ variance, Real eps,
                                           Real* __restrict__ dw, Real* __restrict__ db,
                                           Channels channels) {
  __shared__ Real shared[WARP];
  const Index c = blockIdx.x, i = blockIdx.y * channels.count + c;
  const Real scale = 1 / sqrt(variance[c] + eps);
  const Sums sums = lies_in_vectors(channels, dy, y, x)
                        ? sums_of_piece<VECTOR>(dy, y, slope, x, mean[c], scale, channels)
                        : sums_of_piece<1>(dy, y, slope, x, mean[c], scale, channels);
  const Real weight_sum = block_sum(sums.weight, shared), bias_sum = block_sum(sums.bias, shared);
  if (threadIdx.x == 0) {
    dw[i] = weight_sum;
    db[i] = bias_sum;
  }
}

// The gradient of a value is `scale` times what is left of its slope: all of it where x is null.
template <int COUNT>
__device__ __forceinline__ void spread_piece(const Real* dy, const Real* y, Real slope,
                                             const Real* x, Real center, Real constant,
                                             Real linear, Real scale, Real* dx,
                                             const Channels& channels) {
  for (const auto places : Piece<COUNT>{channels}) {
    auto slopes = read_slopes(dy, y, slope, places);
    if (x) {
      const auto values = read(x, places);
      for (int i = 0; i < COUNT; i++)
        slopes.at[i] -= constant + (values.at[i] - center) * linear;
    }
    for (Real& value : slopes.at) value *= scale;
    write(dx, places, slopes);
  }
}

// dw and db are null where mean and variance do not depend on x.
extern "C" __global__ void normalise_grad(const Real* __restrict__ dy, const Real* __restrict__ y,
                                          Real slope, const Real* __restrict__ x,
                                          const Real* __restrict__ w,
                                          const Real* __restrict__ mean,
                                          const Real* __restrict__ variance, Real eps,
                                          const Real* __restrict__ dw, const Real* __restrict__ db,
                                          Real* __restrict__ dx, Channels channels) {
  const Index c = blockIdx.x;
  const Real number = values_per_channel(channels), deviation = sqrt(variance[c] + eps);
  const Real scale = w[c] / deviation;
  const Real constant = dw ? db[c] / number : 0, linear = dw ? dw[c] / deviation / number : 0;
  const Real* values = dw ? x : nullptr;
  if (lies_in_vectors(channels, dy, y, x, dx))
    spread_piece<VECTOR>(dy, y, slope, values, mean[c], constant, linear, scale, dx, channels);
  else
    spread_piece<1>(dy, y, slope, values, mean[c], constant, linear, scale, dx, channels);
}

extern "C" __global__ void add_residual(const Real* __restrict__ x,
                                        const Real* __restrict__ residual, Real slope,
                                        Real* __restrict__ y, Index count) {
  FOR_EACH(i, count) {
    const Real value = x[i] + residual[i];
    y[i] = sloped(value, value, slope);
  }
}

extern "C" __global__ void move_statistics(Real* __restrict__ running_mean,
                                           Real* __restrict__ running_variance,
                                           const Real* __restrict__ mean,
                                           const Real* __restrict__ variance, Real correction,
                                           Real momentum, Index count) {
  FOR_EACH(i, count) {
    running_mean[i] += momentum * (mean[i] - running_mean[i]);
    running_variance[i] += momentum * (variance[i] * correction - running_variance[i]);
  }
}

// The channels from `before` ahead of one on, `size` of them, by their places in the array.
#define FOR_EACH_NEIGHBOUR(place, i, size, before, channels)                                    \
  for (Index own_ = channel_of(i, channels), n_ = max(own_ - (before), (Index)0),               \
             place = i + (n_ - own_) * (channels).inner;                                        \
       n_ < min(own_ - (before) + (size), (channels).count); n_++, place += (channels).inner)

extern "C" __global__ void local_response_norm(const Real* __restrict__ x, int size, Real alpha,
                                               Real beta, Real k, Real* __restrict__ y,
                                               Index count, Channels channels) {
  FOR_EACH(i, count) {
    Real energy = 0;
    FOR_EACH_NEIGHBOUR(place, i, size, size / 2, channels) energy += x[place] * x[place];
    y[i] = x[i] / pow(k + alpha * energy, beta);
  }
}

// Of each value its divisor's base, and dy * x / base ** (beta + 1), which its neighbours sum up.
extern "C" __global__ void local_response_slopes(const Real* __restrict__ dy,
                                                 const Real* __restrict__ x, int size, Real alpha,
                                                 Real beta, Real k, Real* __restrict__ base,
                                                 Real* __restrict__ slope, Index count,
                                                 Channels channels) {
  FOR_EACH(i, count) {
    Real energy = 0;
    FOR_EACH_NEIGHBOUR(place, i, size, size / 2, channels) energy += x[place] * x[place];
    base[i] = k + alpha * energy;
    slope[i] = dy[i] * x[i] * pow(base[i], -beta - 1);
  }
}

extern "C" __global__ void local_response_norm_grad(const Real* __restrict__ dy,
                                                    const Real* __restrict__ x,
                                                    const Real* __restrict__ base,
                                                    const Real* __restrict__ slope, int size,
                                                    Real alpha, Real beta, Real* __restrict__ dx,
                                                    Index count, Channels channels) {
  FOR_EACH(i, count) {
    Real across = 0;
    // A channel belongs to the windows of the same channels reversed.
    FOR_EACH_NEIGHBOUR(place, i, size, size - 1 - size / 2, channels) across += slope[place];
    dx[i] = dy[i] * pow(base[i], -beta) - 2 * alpha * beta * x[i] * across;
  }
}
