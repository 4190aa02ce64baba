// Batch normalisation over everything but the channels, and local response normalisation.
#include "channels.cuh"

// Mean and sum of squared differences to it, of `count` values.
struct Moments {
  Real count, mean, squares;
};

// Welford's step: no cancellation, as in the difference of mean square and squared mean.
__device__ __forceinline__ void take(Moments& m, Real x) {
  m.count += 1;
  const Real before = x - m.mean;
  m.mean += before / m.count;
  m.squares += before * (x - m.mean);
}

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

extern "C" __global__ void piece_moments(const Real* __restrict__ x, Real* __restrict__ means,
                                         Real* __restrict__ squares, Channels channels) {
  __shared__ Moments shared[WARP];
  Moments m = {0, 0, 0};
  FOR_EACH_IN_PIECE(place, channels) take(m, x[place]);
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

extern "C" __global__ void join_pieces(const Real* __restrict__ means,
                                       const Real* __restrict__ squares, Real* __restrict__ mean,
                                       Real* __restrict__ variance, Channels channels) {
  FOR_EACH(channel, channels.count) {
    Moments all = {0, 0, 0};
    for (int piece = 0; piece < channels.pieces; piece++) {
      const Real count = piece_begin(piece + 1, channels) - piece_begin(piece, channels);
      const Index i = piece * channels.count + channel;
      all = join(all, {count, means[i], squares[i]});
    }
    mean[channel] = all.mean;
    variance[channel] = all.squares / all.count;
  }
}

extern "C" __global__ void normalise(const Real* __restrict__ x, const Real* __restrict__ w,
                                     const Real* __restrict__ b, const Real* __restrict__ mean,
                                     const Real* __restrict__ variance, Real eps,
                                     Real* __restrict__ y, Index count, Channels channels) {
  FOR_EACH(i, count) {
    const Index c = channel_of(i, channels);
    y[i] = (x[i] - mean[c]) * (w[c] / sqrt(variance[c] + eps)) + b[c];
  }
}

// Of each piece the sums that are the gradients of w and b.
extern "C" __global__ void piece_gradients(const Real* __restrict__ dy, const Real* __restrict__ x,
                                           const Real* __restrict__ mean,
                                           const Real* __restrict__ variance, Real eps,
                                           Real* __restrict__ dw, Real* __restrict__ db,
                                           Channels channels) {
  __shared__ Real shared[WARP];
  const Real center = mean[blockIdx.x], deviation = sqrt(variance[blockIdx.x] + eps);
  Real weight_sum = 0, bias_sum = 0;
  FOR_EACH_IN_PIECE(place, channels) {
    weight_sum += dy[place] * ((x[place] - center) / deviation);
    bias_sum += dy[place];
  }
  weight_sum = block_sum(weight_sum, shared);
  bias_sum = block_sum(bias_sum, shared);
  if (threadIdx.x == 0) {
    const Index i = blockIdx.y * channels.count + blockIdx.x;
    dw[i] = weight_sum;
    db[i] = bias_sum;
  }
}

// dw and db are null where mean and variance do not depend on x.
extern "C" __global__ void normalise_grad(const Real* __restrict__ dy, const Real* __restrict__ x,
                                          const Real* __restrict__ w,
                                          const Real* __restrict__ mean,
                                          const Real* __restrict__ variance, Real eps,
                                          const Real* __restrict__ dw, const Real* __restrict__ db,
                                          Real* __restrict__ dx, Index count, Channels channels) {
  const Real number = values_per_channel(channels);
  FOR_EACH(i, count) {
    const Index c = channel_of(i, channels);
    const Real deviation = sqrt(variance[c] + eps);
    Real slope = dy[i];
    if (dw) slope -= (db[c] + (x[i] - mean[c]) / deviation * dw[c]) / number;
    dx[i] = slope * (w[c] / deviation);
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
