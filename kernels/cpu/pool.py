"""Maximum and average of strided windows, for all windows of a row at once, in vectors.

Vectors want neighbours: a row is dealt out into lanes, so that what one tap meets in all windows
lies side by side; with a stride of 2, the even samples and the odd ones. Lanes begin with the
padding, which fills them from the start: no loop needs to look for the border.
"""

import numpy as np

from .. import memory, reference
from ..geometry import output_size, window_counts
from .compiled import compiled
from .lanes import collect, deal, empty_lanes, first_lane
from .parallel import in_parts

# Rows of an image that are too short to be worth a loop each.
SHORT = 32


def max_pool2d(x, *, kernel_size, stride, padding, dilation):
    """Return the maximum of each window (n, c, oh, ow), and where it was: its index in h * w."""
    if x.shape[2] * x.shape[3] > np.iinfo(np.int32).max:  # no index of 32 bits reaches its end
        windows = dict(kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation)
        return reference.max_pool2d(x, **windows)
    y = memory.empty(_shape(x, kernel_size, stride, padding, dilation), x.dtype)
    index = memory.empty(y.shape, np.int32)
    axes = _long_rows(x.shape[2:], y.shape[2:], kernel_size, stride, padding, dilation)
    size, windows, kernel_size, stride, padding, dilation = axes
    planes = _planes(x, size)
    largest, where = _planes(y, windows), _planes(index, windows)
    first = (padding[0][0], padding[1][0])
    reach = (windows[1] - 1) * stride[1] + (kernel_size[1] - 1) * dilation[1] + 1
    reach = max(reach, first[1] + size[1])  # of a row with its padding

    if (kernel_size, stride, dilation) == ((3, 3), (1, 1), (1, 1)) and size[1] <= SHORT:
        arrays = planes, largest, where, *_places_of_threes(size, windows, first)
        in_parts(lambda a, z: _threes(*arrays, first, a, z), len(planes), x.size + y.size)
        return y, index

    def some(start, stop):
        padded = np.empty(reach // 2 * 2 + 2, x.dtype)
        begins, here = np.empty(windows[1], np.int32), slice(start, stop)
        _max(
            planes[here], largest[here], where[here], padded, begins, reach,
            kernel_size, stride, first, dilation,
        )  # fmt: skip

    in_parts(some, len(planes), x.size + y.size)
    return y, index


def max_pool2d_grad(dy, index, size, *, kernel_size, stride, padding, dilation):
    """Return the gradient (n, c, h, w): each dy goes to where its maximum was."""
    dx = memory.empty((*dy.shape[:2], *size), dy.dtype)
    planes = dx.reshape(-1, size[0] * size[1])
    slopes = np.ascontiguousarray(dy).reshape(len(planes), dy.shape[2] * dy.shape[3])
    where = index.reshape(slopes.shape)

    def some(start, stop):
        _scatter(planes[start:stop], slopes[start:stop], where[start:stop])

    in_parts(some, len(planes), dx.size + dy.size)
    return dx


def avg_pool2d(x, *, kernel_size, stride, padding, counted):
    """Return the average of each window (n, c, oh, ow), over the cells that count."""
    y = memory.empty(_shape(x, kernel_size, stride, padding, (1, 1)), x.dtype)
    axes = _long_rows(x.shape[2:], y.shape[2:], kernel_size, stride, padding, counted)
    size, windows, kernel_size, stride, padding, counted = axes
    planes, means = _planes(x, size), _planes(y, windows)
    rows, cols = _counts(x.dtype, size, kernel_size, stride, padding, counted)
    first = (padding[0][0], padding[1][0])

    def some(start, stop):
        _average(planes[start:stop], means[start:stop], rows, cols, kernel_size, stride, first)

    in_parts(some, len(planes), x.size + y.size)
    return y


def avg_pool2d_grad(dy, size, *, kernel_size, stride, padding, counted):
    """Return the gradient (n, c, h, w) for an input of this size (h, w)."""
    dx = memory.empty((*dy.shape[:2], *size), dy.dtype)
    axes = _long_rows(size, dy.shape[2:], kernel_size, stride, padding, counted)
    size, windows, kernel_size, stride, padding, counted = axes
    planes, slopes = _planes(dx, size), _planes(dy, windows)
    rows, cols = _counts(dy.dtype, size, kernel_size, stride, padding, counted)
    first = (padding[0][0], padding[1][0])

    def some(start, stop):
        _spread(planes[start:stop], slopes[start:stop], rows, cols, kernel_size, stride, first)

    in_parts(some, len(planes), dx.size + dy.size)
    return dx


def _shape(x, kernel_size, stride, padding, dilation):
    size = map(output_size, x.shape[2:], kernel_size, stride, padding, dilation)
    return (*x.shape[:2], *size)


def _planes(x, size):
    """Return images (n, c, h, w) as planes (n * c, *size), without gaps."""
    return np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], *size)


def _long_rows(size, windows, kernel_size, stride, padding, other):
    """Return the axes of pooling in longer rows, if windows lie the same in them.

    A column is laid down; rows that windows divide without a rest are joined. `other` is what else
    comes with each axis.
    """
    axes = [size, windows, kernel_size, stride, padding, other]
    if (size[1], windows[1], kernel_size[1], padding[1]) == (1, 1, 1, (0, 0)):
        axes = [axis[::-1] for axis in axes]
    size, windows, kernel_size, stride, padding, other = axes
    divided = stride[1] == kernel_size[1] and stride[1] * windows[1] == size[1]
    if divided and (kernel_size[0], stride[0], *padding) == (1, 1, (0, 0), (0, 0)):
        size, windows = (1, size[0] * size[1]), (1, windows[0] * windows[1])
    return size, windows, kernel_size, stride, padding, other


def _places_of_threes(size, windows, before):
    """Return where the first tap of each 3x3 window is in its plane, and its first sample.

    Windows stand in rows that are as long as the padded image's.
    """
    corners = [np.arange(n + 2 * axis) - before[axis] for axis, n in enumerate(windows)]
    first, samples = [], []
    for corner, extent in zip(corners, size, strict=True):
        first.append(corner)
        samples.append(np.clip(corner, 0, extent - 1))
    places, nearest = (np.add.outer(rows * size[1], cols) for rows, cols in (first, samples))
    return places.astype(np.int32).reshape(-1), nearest.astype(np.int32).reshape(-1)


def _counts(dtype, size, kernel_size, stride, padding, counted):
    """Return how many rows and columns of each window its average counts."""
    counts = (
        window_counts(size[axis], kernel_size[axis], stride[axis], padding[axis], 1, counted[axis])
        for axis in (0, 1)
    )
    return tuple(np.array(along, dtype) for along in counts)


@compiled(inline="always")
def _inside(start, extent, taps, dilation):
    """Return the first tap of a window that meets a sample, and the first behind that does not."""
    # Divisions take as long as a short row, and most windows need none.
    first = 0 if start >= 0 else (-start + dilation - 1) // dilation
    whole = start + (taps - 1) * dilation < extent
    return first, taps if whole else (extent - 1 - start) // dilation + 1


# Without Numba's memory manager, which counts references to every slice of an array, with a lock:
# that takes longer than a short row, and more so on two cores.
@compiled(_nrt=False)
def _max(x, y, index, padded, begins, reach, kernel_size, stride, before, dilation):
    """Let all windows of a row meet one row of samples after the other."""
    planes, h, w = x.shape
    taps, step, spread, left = kernel_size[1], stride[1], dilation[1], before[1]
    _first_columns(begins, w, taps, step, spread, left)
    padded[:] = -np.inf
    outside, paired = reach > w, spread == 1 and taps == 3 and step == 2
    for p in range(planes):
        for i in range(y.shape[1]):
            largest, at, top = y[p, i], index[p, i], i * stride[0] - before[0]
            r0, r1 = _inside(top, h, kernel_size[0], dilation[0])
            _begin(largest, at, begins, (top + r0 * dilation[0]) * w, r0 < r1)
            for r in range(r0, r1):
                row = top + r * dilation[0]
                if paired:
                    _deal(x[p, row], padded, left)
                    _three_of_pairs(padded, largest, at, row * w - left)
                    continue
                if outside:
                    _copy(x[p, row], padded[left:])
                met = padded if outside else x[p, row]
                _meet(met, largest, at, row * w - left, taps, step, spread)


@compiled()
def _threes(x, y, index, places, nearest, before, start, stop):
    """Let all 3x3 windows of a plane meet their samples at once, those between its rows in vain."""
    _, h, w = x.shape
    _, oh, ow = y.shape
    pitch = ow + 2
    padded = np.full((oh + 3) * pitch, -np.inf, x.dtype)
    largest, at = np.empty(oh * pitch, x.dtype), np.empty(oh * pitch, np.int32)
    rows, columns = min(h, oh + 2 - before[0]), min(w, pitch - before[1])
    for p in range(start, stop):
        for i in range(rows):
            to = (i + before[0]) * pitch + before[1]
            for j in range(columns):
                padded[to + j] = x[p, i, j]
        _meet_threes(padded, largest, at, places, nearest, pitch, np.int32(w))
        for i in range(oh):
            for j in range(ow):
                y[p, i, j] = largest[i * pitch + j]
                index[p, i, j] = at[i * pitch + j]


@compiled(_nrt=False)
def _meet_threes(padded, largest, at, places, nearest, pitch, w):
    """Let all windows meet their first tap, then the second, ...: each is a loop in vectors."""
    for q in range(largest.size):
        largest[q], at[q] = -np.inf, nearest[q]
    for r in range(3):
        for s in range(3):
            _meet_one(padded[r * pitch + s :], largest, at, places, np.int32(r * w + s))


@compiled(_nrt=False)
def _meet_one(samples, largest, at, places, step):
    for q in range(largest.size):
        largest[q], at[q] = larger(samples[q], places[q] + step, largest[q], at[q])


@compiled(_nrt=False)
def _deal(row, halves, left):
    """Copy a row behind its padding: what is even there to the first half, the rest to the second.

    Loops that skip samples are in vectors only if they use all of them, as this one does.
    """
    half, pairs = halves.size // 2, row.size // 2
    first = halves[(left % 2) * half + left // 2 :]
    second = halves[((left + 1) % 2) * half + (left + 1) // 2 :]
    for i in range(pairs):
        first[i] = row[2 * i]
        second[i] = row[2 * i + 1]
    if row.size % 2:
        first[pairs] = row[2 * pairs]


@compiled(_nrt=False)
def _three_of_pairs(halves, largest, at, place):
    """Let windows of three samples, two apart, meet a row in halves."""
    half = halves.size // 2
    even, odd, next_even = halves[:half], halves[half:], halves[1:]
    for j in range(largest.size):
        here = place + 2 * j
        best, k = larger(even[j], np.int32(here), largest[j], at[j])
        best, k = larger(odd[j], np.int32(here + 1), best, k)
        largest[j], at[j] = larger(next_even[j], np.int32(here + 2), best, k)


@compiled(_nrt=False)
def _copy(row, there):
    for j in range(row.size):
        there[j] = row[j]


@compiled(_nrt=False)
def _first_columns(begins, w, taps, step, spread, left):
    """Set for each window the column of its first sample, -1 where it has none."""
    for j in range(begins.size):
        start = j * step - left
        first, stop = _inside(start, w, taps, spread)
        begins[j] = start + first * spread if first < stop else -1


@compiled(inline="always")
def larger(value, place, best, at):
    """Return the larger value and its place: the first of equals, or the first NaN."""
    wins = (not value <= best) & (best == best)
    return (value if wins else best), (place if wins else at)


@compiled(_nrt=False)
def _begin(largest, at, begins, row, any_row):
    """Let windows begin below all samples, at their first: it wins where all are -inf."""
    for j in range(at.size):
        largest[j] = -np.inf
        at[j] = np.int32(row + begins[j] if any_row and begins[j] >= 0 else -1)


@compiled(_nrt=False)
def _meet(row, largest, at, place, taps, step, spread):
    """Let windows meet a row, whose first sample is the first one's and at `place`.

    A loop is in vectors only if its taps and its step are constants: the usual ones are.
    """
    if spread == 1 and taps == 2 and step == 2:
        _keeplarger(row, largest, at, place, 2, 2)
    elif spread == 1 and taps == 3 and step == 1:
        _keeplarger(row, largest, at, place, 3, 1)
    elif spread == 1 and taps == 3 and step == 3:
        _keeplarger(row, largest, at, place, 3, 3)
    elif spread == 1 and taps == 4 and step == 4:
        _keeplarger(row, largest, at, place, 4, 4)
    elif spread == 1 and taps == 5 and step == 5:
        _keeplarger(row, largest, at, place, 5, 5)
    else:
        for s in range(0, taps * spread, spread):
            if step == 1:
                _keeplarger(row[s:], largest, at, place + s, 1, 1)
            else:
                _keeplarger(row[s:], largest, at, place + s, 1, step)


@compiled(inline="always")
def _keeplarger(row, largest, at, place, taps, step):
    for j in range(largest.size):
        best, k = largest[j], at[j]
        for s in range(taps):
            best, k = larger(row[j * step + s], np.int32(place + j * step + s), best, k)
        largest[j], at[j] = best, k


@compiled(_nrt=False)
def _scatter(dx, dy, index):
    for p in range(dy.shape[0]):
        dx[p, :] = 0
        for i in range(dy.shape[1]):
            dx[p, index[p, i]] += dy[p, i]


@compiled(error_model="numpy")
def _average(x, y, rows, cols, kernel_size, stride, before):
    """Add up the rows of a window first, then their columns."""
    planes, h, w = x.shape
    oh, ow = y.shape[1:]
    step = stride[1] if ow > 1 else 1
    zero = x.dtype.type(0)
    lanes, total = empty_lanes(ow, kernel_size[1], step, 1, zero), np.empty(w, x.dtype)
    for p in range(planes):
        for i in range(oh):
            top = i * stride[0] - before[0]
            r0, r1 = _inside(top, h, kernel_size[0], 1)
            total[:] = zero
            for r in range(top + r0, top + r1):
                _add(x[p, r], total)
            deal(total, lanes, ow, kernel_size[1], step, 1, before[1])
            mean = y[p, i]
            mean[:] = zero
            for s in range(kernel_size[1]):
                k, a = first_lane(s, step, 1)
                _add(lanes[k, a : a + ow], mean)
            for j in range(ow):
                mean[j] /= rows[i] * cols[j]


@compiled(error_model="numpy")
def _spread(dx, dy, rows, cols, kernel_size, stride, before):
    """Add up the windows that a row of samples lies in, then give each sample its share."""
    planes, h = dx.shape[:2]
    oh, ow = dy.shape[1:]
    step = stride[1] if ow > 1 else 1
    zero = dx.dtype.type(0)
    lanes, share = empty_lanes(ow, kernel_size[1], step, 1, zero), np.empty(ow, dx.dtype)
    for p in range(planes):
        for r in range(h):
            share[:] = zero
            last = r + before[0]
            first = max(0, (last - kernel_size[0] + stride[0]) // stride[0])
            for i in range(first, min(oh, last // stride[0] + 1)):
                for j in range(ow):
                    share[j] += dy[p, i, j] / (rows[i] * cols[j])
            lanes[:] = zero
            for s in range(kernel_size[1]):
                k, a = first_lane(s, step, 1)
                _add(share, lanes[k, a : a + ow])
            collect(lanes, dx[p, r], ow, kernel_size[1], step, before[1])


@compiled(_nrt=False)
def _add(x, total):
    for j in range(total.size):
        total[j] += x[j]
