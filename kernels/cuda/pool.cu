// Pooling in four kinds. A thread or a warp takes a window; in the gradient a thread takes a sample
// and gathers from the windows that have it, always in the same order.
#include "windows.cuh"

__device__ __forceinline__ Real over_lanes(Real x, const Windows& w) {
  return w.lanes == WARP ? warp_sum(x) : x;
}

__device__ __forceinline__ Real largest_over_lanes(Real x, const Windows& w) {
  return w.lanes == WARP ? warp_max(x) : x;
}

// Whether this thread writes what all that share a window have found.
__device__ __forceinline__ bool is_writer(const Windows& w) { return threadIdx.x % w.lanes == 0; }

// Whether a sample is the maximum rather than another: the first of the largest, or of NaN.
__device__ __forceinline__ bool precedes(Real x, int index, Real other, int other_index) {
  if (index < 0 || other_index < 0) return other_index < 0;
  const bool is_nan = x != x, other_is_nan = other != other;
  if (is_nan || other_is_nan) return is_nan && (!other_is_nan || index < other_index);
  return x > other || (x == other && index < other_index);
}

// The index, which may be null, is that of the maximum in its plane.
extern "C" __global__ void max_pool(const Real* __restrict__ x, Real* __restrict__ y,
                                    int* __restrict__ index, Windows w) {
  FOR_EACH_WINDOW(i, w) {
    const Place place = place_of(i, w.rows.windows, w.columns.windows);
    const Span rows = samples_of(place.row, w.rows);
    const Span columns = samples_of(place.column, w.columns);
    const Real* plane = x + place.plane * samples_in_plane(w);
    Real best = -INFINITY;
    int where = -1;
    FOR_EACH_TAP(row, column, rows, columns, w.lanes) {
      const int here = row * w.columns.size + column;
      if (precedes(plane[here], here, best, where)) {
        best = plane[here];
        where = here;
      }
    }
    for (int bits = w.lanes / 2; bits; bits /= 2) {
      const Real other = __shfl_xor_sync(ALL_LANES, best, bits);
      const int there = __shfl_xor_sync(ALL_LANES, where, bits);
      if (precedes(other, there, best, where)) {
        best = other;
        where = there;
      }
    }
    if (is_writer(w)) {
      y[i] = best;
      if (index) index[i] = where;
    }
  }
}

extern "C" __global__ void max_pool_grad(const Real* __restrict__ dy,
                                         const int* __restrict__ index, Real* __restrict__ dx,
                                         Windows w) {
  FOR_EACH(i, w.planes * samples_in_plane(w)) {
    const Place place = place_of(i, w.rows.size, w.columns.size);
    const int here = place.row * w.columns.size + place.column;
    Real sum = 0;
    FOR_EACH_WINDOW_AT(window, place, w) if (index[window] == here) sum += dy[window];
    dx[i] = sum;
  }
}

extern "C" __global__ void avg_pool(const Real* __restrict__ x, Real* __restrict__ y, Windows w) {
  FOR_EACH_WINDOW(i, w) {
    const Place place = place_of(i, w.rows.windows, w.columns.windows);
    const Span rows = samples_of(place.row, w.rows);
    const Span columns = samples_of(place.column, w.columns);
    const Real* plane = x + place.plane * samples_in_plane(w);
    Real sum = 0;
    FOR_EACH_TAP(row, column, rows, columns, w.lanes) sum += plane[offset_of(row, column, w)];
    sum = over_lanes(sum, w);
    const int count = counted(place.row, w.rows) * counted(place.column, w.columns);
    if (is_writer(w)) y[i] = sum / count;
  }
}

extern "C" __global__ void avg_pool_grad(const Real* __restrict__ dy, Real* __restrict__ dx,
                                         Windows w) {
  FOR_EACH(i, w.planes * samples_in_plane(w)) {
    const Place place = place_of(i, w.rows.size, w.columns.size);
    Real sum = 0;
    FOR_EACH_WINDOW_AT(window, place, w) {
      const Place at = place_of(window, w.rows.windows, w.columns.windows);
      sum += dy[window] / (counted(at.row, w.rows) * counted(at.column, w.columns));
    }
    dx[i] = sum;
  }
}

__device__ __forceinline__ Real power(Real x, Real p) {
  return p == 1 ? x : p == 2 ? x * x : pow(x, p);
}

extern "C" __global__ void lp_pool(const Real* __restrict__ x, Real p, Real* __restrict__ y,
                                   Windows w) {
  FOR_EACH_WINDOW(i, w) {
    const Place place = place_of(i, w.rows.windows, w.columns.windows);
    const Span rows = samples_of(place.row, w.rows);
    const Span columns = samples_of(place.column, w.columns);
    const Real* plane = x + place.plane * samples_in_plane(w);
    // Powers of numbers up to 1 cannot overflow: the largest of each window is taken out.
    Real scale = 0;
    FOR_EACH_TAP(row, column, rows, columns, w.lanes)
      scale = larger(scale, fabs(plane[offset_of(row, column, w)]));
    scale = largest_over_lanes(scale, w);
    if (!(scale > 0 && scale < INFINITY)) scale = 1;
    Real sum = 0;
    FOR_EACH_TAP(row, column, rows, columns, w.lanes)
      sum += power(fabs(plane[offset_of(row, column, w)]) / scale, p);
    sum = over_lanes(sum, w);
    if (is_writer(w)) y[i] = scale * pow(sum, 1 / p);
  }
}

extern "C" __global__ void lp_pool_grad(const Real* __restrict__ dy, const Real* __restrict__ x,
                                        const Real* __restrict__ y, Real p, Real* __restrict__ dx,
                                        Windows w) {
  FOR_EACH(i, w.planes * samples_in_plane(w)) {
    const Place place = place_of(i, w.rows.size, w.columns.size);
    const Real sign = x[i] > 0 ? 1 : x[i] < 0 ? -1 : x[i];
    Real sum = 0;
    FOR_EACH_WINDOW_AT(window, place, w) {
      const bool is_safe = y[window] > 0;
      const Real slope = (is_safe ? dy[window] : 0) * sign;
      sum += slope * pow(fabs(x[i]) / (is_safe ? y[window] : 1), p - 1);
    }
    dx[i] = sum;
  }
}

// The standard deviation y, and what its gradient wants to know of a window: its largest sample and
// the mean of the differences to it. Each may be null. From the largest first: the mean of equal
// samples may round to something else than they are.
extern "C" __global__ void std_pool(const Real* __restrict__ x, Real* __restrict__ y,
                                    Real* __restrict__ largest_of, Real* __restrict__ mean_of,
                                    Windows w) {
  FOR_EACH_WINDOW(i, w) {
    const Place place = place_of(i, w.rows.windows, w.columns.windows);
    const Span rows = samples_of(place.row, w.rows);
    const Span columns = samples_of(place.column, w.columns);
    const Real* plane = x + place.plane * samples_in_plane(w);
    const int count = length(rows) * length(columns);
    Real largest = -INFINITY, sum = 0, squares = 0;
    FOR_EACH_TAP(row, column, rows, columns, w.lanes)
      largest = larger(largest, plane[offset_of(row, column, w)]);
    largest = largest_over_lanes(largest, w);
    FOR_EACH_TAP(row, column, rows, columns, w.lanes)
      sum += plane[offset_of(row, column, w)] - largest;
    const Real mean = over_lanes(sum, w) / count;
    FOR_EACH_TAP(row, column, rows, columns, w.lanes) {
      const Real deviation = plane[offset_of(row, column, w)] - largest - mean;
      squares += deviation * deviation;
    }
    squares = over_lanes(squares, w);
    if (!is_writer(w)) continue;
    if (y) y[i] = sqrt(squares / count);
    if (largest_of) largest_of[i] = largest;
    if (mean_of) mean_of[i] = mean;
  }
}

extern "C" __global__ void std_pool_grad(const Real* __restrict__ dy, const Real* __restrict__ x,
                                         const Real* __restrict__ y,
                                         const Real* __restrict__ largest,
                                         const Real* __restrict__ mean, Real* __restrict__ dx,
                                         Windows w) {
  FOR_EACH(i, w.planes * samples_in_plane(w)) {
    const Place place = place_of(i, w.rows.size, w.columns.size);
    Real sum = 0;
    FOR_EACH_WINDOW_AT(window, place, w) {
      const Place at = place_of(window, w.rows.windows, w.columns.windows);
      const int count =
          length(samples_of(at.row, w.rows)) * length(samples_of(at.column, w.columns));
      const bool is_safe = y[window] > 0;
      const Real slope = (is_safe ? dy[window] : 0) / ((is_safe ? y[window] : 1) * count);
      sum += slope * (x[i] - largest[window] - mean[window]);
    }
    dx[i] = sum;
  }
}
