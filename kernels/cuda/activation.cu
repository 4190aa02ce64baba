// Nonlinearities, element by element, and the softmax along one axis.
#include "activation.cuh"

extern "C" __global__ void relu(const Real* __restrict__ x, Real* __restrict__ y, Index count) {
  FOR_EACH(i, count) y[i] = x[i] <= 0 ? 0 : x[i];  // NaN goes through
}

extern "C" __global__ void relu_grad(const Real* __restrict__ dy, const Real* __restrict__ y,
                                     Real* __restrict__ dx, Index count) {
  FOR_EACH(i, count) dx[i] = y[i] <= 0 ? 0 : dy[i];
}

extern "C" __global__ void leaky_relu(const Real* __restrict__ x, Real slope, Real* __restrict__ y,
                                      Index count) {
  FOR_EACH(i, count) y[i] = x[i] > 0 ? x[i] : slope * x[i];
}

extern "C" __global__ void leaky_relu_grad(const Real* __restrict__ dy, const Real* __restrict__ x,
                                           Real slope, Real* __restrict__ dx, Index count) {
  FOR_EACH(i, count) dx[i] = x[i] > 0 ? dy[i] : slope * dy[i];
}

extern "C" __global__ void elu(const Real* __restrict__ x, Real alpha, Real* __restrict__ y,
                               Index count) {
  FOR_EACH(i, count) y[i] = x[i] > 0 ? x[i] : alpha * expm1(x[i]);
}

extern "C" __global__ void elu_grad(const Real* __restrict__ dy, const Real* __restrict__ x,
                                    Real alpha, Real* __restrict__ dx, Index count) {
  FOR_EACH(i, count) dx[i] = x[i] > 0 ? dy[i] : dy[i] * alpha * exp(x[i]);
}

extern "C" __global__ void sigmoid(const Real* __restrict__ x, Real* __restrict__ y, Index count) {
  FOR_EACH(i, count) y[i] = sigmoid_of(x[i]);
}

extern "C" __global__ void sigmoid_grad(const Real* __restrict__ dy, const Real* __restrict__ y,
                                        Real* __restrict__ dx, Index count) {
  FOR_EACH(i, count) dx[i] = dy[i] * y[i] * (1 - y[i]);
}

extern "C" __global__ void scaled_tanh(const Real* __restrict__ x, Real amplitude, Real slope,
                                       Real* __restrict__ y, Index count) {
  FOR_EACH(i, count) y[i] = amplitude * tanh(slope * x[i]);
}

extern "C" __global__ void scaled_tanh_grad(const Real* __restrict__ dy, const Real* __restrict__ y,
                                            Real amplitude, Real slope, Real* __restrict__ dx,
                                            Index count) {
  FOR_EACH(i, count) dx[i] = dy[i] * slope * (amplitude - y[i] * y[i] / amplitude);
}

extern "C" __global__ void softplus(const Real* __restrict__ x, Real beta, Real* __restrict__ y,
                                    Index count) {
  FOR_EACH(i, count) {
    const Real scaled = beta * x[i];
    y[i] = (scaled > 0 ? x[i] : 0) + soft_positive(scaled) / beta;
  }
}

extern "C" __global__ void softplus_grad(const Real* __restrict__ dy, const Real* __restrict__ x,
                                         Real beta, Real* __restrict__ dx, Index count) {
  FOR_EACH(i, count) dx[i] = dy[i] * sigmoid_of(beta * x[i]);
}

extern "C" __global__ void softmax(const Real* __restrict__ x, Real* __restrict__ y, Rows rows) {
  FOR_EACH_ROW(row, rows) {
    const Real* in = x + first_of(row, rows);
    Real* out = y + first_of(row, rows);
    const Real largest = row_max(in, rows);
    const Real sum = row_sum_of_exponentials(in, largest, rows);
    FOR_EACH_IN_ROW(i, rows) out[i] = exp(in[i] - largest) / sum;
  }
}

extern "C" __global__ void softmax_grad(const Real* __restrict__ dy, const Real* __restrict__ y,
                                        Real* __restrict__ dx, Rows rows) {
  FOR_EACH_ROW(row, rows) {
    const Index first = first_of(row, rows);
    Real sum = 0;
    FOR_EACH_IN_ROW(i, rows) sum += dy[first + i] * y[first + i];
    sum = over_lanes(sum, rows);
    FOR_EACH_IN_ROW(i, rows) dx[first + i] = y[first + i] * (dy[first + i] - sum);
  }
}

extern "C" __global__ void log_softmax(const Real* __restrict__ x, Real* __restrict__ y,
                                       Rows rows) {
  FOR_EACH_ROW(row, rows) {
    const Real* in = x + first_of(row, rows);
    Real* out = y + first_of(row, rows);
    const Real largest = row_max(in, rows);
    const Real logarithm = log(row_sum_of_exponentials(in, largest, rows));
    FOR_EACH_IN_ROW(i, rows) out[i] = in[i] - largest - logarithm;
  }
}

extern "C" __global__ void log_softmax_grad(const Real* __restrict__ dy,
                                            const Real* __restrict__ y, Real* __restrict__ dx,
                                            Rows rows) {
  FOR_EACH_ROW(row, rows) {
    const Index first = first_of(row, rows);
    Real sum = 0;
    FOR_EACH_IN_ROW(i, rows) sum += dy[first + i];
    sum = over_lanes(sum, rows);
    FOR_EACH_IN_ROW(i, rows) dx[first + i] = dy[first + i] - exp(y[first + i]) * sum;
  }
}
