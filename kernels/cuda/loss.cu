// Losses, one value per row or element, and their gradients.
#include "activation.cuh"

// Smoothing mixes what is wanted of a class with the uniform distribution.
__device__ __forceinline__ Real smoothed(Real wanted, Real smoothing, const Rows& rows) {
  return (1 - smoothing) * wanted + smoothing / rows.length;
}

// The target of a row is its class, or a number for each class where `classes` is null.
__device__ __forceinline__ Real wanted_of(Index i, Index row, const Int64* classes,
                                          const Real* numbers, const Rows& rows) {
  if (!classes) return numbers[first_of(row, rows) + i];
  return classes[row] == i / rows.inner ? 1 : 0;
}

extern "C" __global__ void softmax_cross_entropy(const Real* __restrict__ x,
                                                 const Int64* __restrict__ classes,
                                                 const Real* __restrict__ numbers, Real smoothing,
                                                 Real* __restrict__ loss,
                                                 Real* __restrict__ log_probability, Rows rows) {
  FOR_EACH_ROW(row, rows) {
    const Real* in = x + first_of(row, rows);
    Real* out = log_probability + first_of(row, rows);
    const Real largest = row_max(in, rows);
    const Real logarithm = log(row_sum_of_exponentials(in, largest, rows));
    Real sum = 0;
    FOR_EACH_IN_ROW(i, rows) {
      out[i] = in[i] - largest - logarithm;
      const Real wanted = smoothed(wanted_of(i, row, classes, numbers, rows), smoothing, rows);
      // A class that is not wanted adds nothing, however improbable: 0 * -inf would be NaN.
      if (!classes || wanted != 0) sum -= wanted * out[i];
    }
    sum = over_lanes(sum, rows);
    // Nobody looks at the labels of a captured step.
    const bool is_wrong = classes && (classes[row] < 0 || classes[row] >= rows.length);
    if (threadIdx.x % rows.lanes == 0) loss[row] = is_wrong ? NAN : sum;
  }
}

extern "C" __global__ void softmax_cross_entropy_grad(const Real* __restrict__ dy,
                                                      const Real* __restrict__ log_probability,
                                                      const Int64* __restrict__ classes,
                                                      const Real* __restrict__ numbers,
                                                      Real smoothing, Real* __restrict__ dx,
                                                      Rows rows) {
  FOR_EACH_ROW(row, rows) {
    const Index first = first_of(row, rows);
    Real total = 0;
    FOR_EACH_IN_ROW(i, rows)
      total += smoothed(wanted_of(i, row, classes, numbers, rows), smoothing, rows);
    total = over_lanes(total, rows);
    FOR_EACH_IN_ROW(i, rows) {
      const Real wanted = smoothed(wanted_of(i, row, classes, numbers, rows), smoothing, rows);
      dx[first + i] = dy[row] * (exp(log_probability[first + i]) * total - wanted);
    }
  }
}

// The weights may be null.
extern "C" __global__ void sigmoid_cross_entropy(const Real* __restrict__ x,
                                                 const Real* __restrict__ target,
                                                 const Real* __restrict__ weight,
                                                 const Real* __restrict__ positive_weight,
                                                 Real* __restrict__ loss, Index count) {
  FOR_EACH(i, count) {
    const Real positive = softplus_of(-x[i]) * (positive_weight ? positive_weight[i] : 1);
    const Real value = target[i] * positive + (1 - target[i]) * softplus_of(x[i]);
    loss[i] = weight ? value * weight[i] : value;
  }
}

extern "C" __global__ void sigmoid_cross_entropy_grad(const Real* __restrict__ dy,
                                                      const Real* __restrict__ x,
                                                      const Real* __restrict__ target,
                                                      const Real* __restrict__ weight,
                                                      const Real* __restrict__ positive_weight,
                                                      Real* __restrict__ dx, Index count) {
  FOR_EACH(i, count) {
    const Real probability = sigmoid_of(x[i]);
    const Real positive = target[i] * (probability - 1) * (positive_weight ? positive_weight[i] : 1);
    const Real value = dy[i] * (positive + (1 - target[i]) * probability);
    dx[i] = weight ? value * weight[i] : value;
  }
}

extern "C" __global__ void squared_error(const Real* __restrict__ x,
                                         const Real* __restrict__ target, Real* __restrict__ loss,
                                         Index count) {
  FOR_EACH(i, count) {
    const Real error = x[i] - target[i];
    loss[i] = error * error;
  }
}

extern "C" __global__ void squared_error_grad(const Real* __restrict__ dy,
                                              const Real* __restrict__ x,
                                              const Real* __restrict__ target,
                                              Real* __restrict__ dx, Index count) {
  FOR_EACH(i, count) dx[i] = 2 * dy[i] * (x[i] - target[i]);
}

extern "C" __global__ void huber(const Real* __restrict__ x, const Real* __restrict__ target,
                                 Real delta, Real* __restrict__ loss, Index count) {
  FOR_EACH(i, count) {
    const Real error = fabs(x[i] - target[i]);
    loss[i] = error <= delta ? error * error / 2 : delta * (error - delta / 2);
  }
}

extern "C" __global__ void huber_grad(const Real* __restrict__ dy, const Real* __restrict__ x,
                                      const Real* __restrict__ target, Real delta,
                                      Real* __restrict__ dx, Index count) {
  FOR_EACH(i, count) {
    const Real error = x[i] - target[i];
    dx[i] = dy[i] * (error < -delta ? -delta : error > delta ? delta : error);
  }
}
