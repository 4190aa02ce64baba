// From columns back to images.
#include "windows.cuh"

// Columns are (planes, kernel rows, kernel columns, window rows, window columns).
__device__ __forceinline__ Index column_of(const Place& window, Index plane, int tap_row,
                                           int tap_column, const Windows& w) {
  const Index tap = (plane * w.rows.kernel + tap_row) * w.columns.kernel + tap_column;
  return tap * windows_in_plane(w) + (Index)window.row * w.columns.windows + window.column;
}

// Each sample gathers from the columns that have it. The bias (channels,) may be null.
extern "C" __global__ void col2im(const Real* __restrict__ columns, const Real* __restrict__ bias,
                                  int channels, Real* __restrict__ x, Windows w) {
  FOR_EACH(i, w.planes * samples_in_plane(w)) {
    const Place place = place_of(i, w.rows.size, w.columns.size);
    Real sum = 0;
    FOR_EACH_WINDOW_AT(window, place, w) {
      const Place at = place_of(window, w.rows.windows, w.columns.windows);
      const int row = place.row + w.rows.before - at.row * w.rows.stride;
      const int column = place.column + w.columns.before - at.column * w.columns.stride;
      sum += columns[column_of(at, place.plane, row / w.rows.dilation,
                               column / w.columns.dilation, w)];
    }
    x[i] = bias ? sum + bias[place.plane % channels] : sum;
  }
}
