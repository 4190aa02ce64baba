"""Rows dealt out into lanes: side by side, what one tap of a window meets in all windows of a row.

Up to a stride of 4 there are as many lanes as the stride, dealt like cards, and a tap takes a part
of one; loops of a constant stride are vectors. Beyond, each tap has its own lane.
"""

import numpy as np

from .compiled import linked


@linked()
def empty_lanes(windows, taps, step, spread, fill):
    """Return lanes (lane, sample) with this value everywhere, which is that of the padding."""
    if step > 4:
        return np.full((taps, windows), fill)
    reach = (windows - 1) * step + (taps - 1) * spread + 1
    return np.full((step, reach // step + 1), fill)


@linked(inline="always")
def first_lane(tap, step, spread):
    """Return the lane of a tap, and where in it the first window is."""
    if step > 4:
        return tap, 0
    return tap * spread % step, tap * spread // step


@linked()
def deal(row, lanes, windows, taps, step, spread, before):
    """Deal out a row, which begins after so much padding."""
    if step > 4:
        _deal_to_taps(row, lanes, step, spread, before)
        return
    reach = (windows - 1) * step + (taps - 1) * spread + 1
    met = row[: max(0, min(row.size, reach - before))]
    if step == 1:
        lanes[0, before : before + met.size] = met
    elif step == 2:
        _deal_by(met, lanes, 2, before)
    elif step == 3:
        _deal_by(met, lanes, 3, before)
    else:
        _deal_by(met, lanes, 4, before)


@linked(inline="always")
def _deal_by(row, lanes, step, before):
    """Deal out a row, in rounds of one sample for each lane."""
    head = min(-before % step, row.size)
    rounds = (row.size - head) // step
    for c in range(head):
        lanes[(before + c) % step, (before + c) // step] = row[c]
    first = (before + head) // step
    whole, there = row[head:], lanes[:, first : first + rounds]
    for i in range(rounds):
        for lane in range(step):
            there[lane, i] = whole[step * i + lane]
    for c in range(head + rounds * step, row.size):
        lanes[(before + c) % step, (before + c) // step] = row[c]


@linked()
def _deal_to_taps(row, lanes, step, spread, before):
    for tap in range(lanes.shape[0]):
        for j in range(lanes.shape[1]):
            column = j * step + tap * spread - before
            if 0 <= column < row.size:
                lanes[tap, j] = row[column]


@linked()
def collect(lanes, row, windows, taps, step, before):
    """Set a row to what was added up in its lanes, and to 0 what no window reaches."""
    row[:] = 0
    if step > 4:
        for tap in range(taps):
            for j in range(windows):
                column = j * step + tap - before
                if 0 <= column < row.size:
                    row[column] += lanes[tap, j]
        return
    reach = (windows - 1) * step + taps
    met = row[: max(0, min(row.size, reach - before))]
    if step == 1:
        met[:] = lanes[0, before : before + met.size]
    elif step == 2:
        _collect_by(lanes, met, 2, before)
    elif step == 3:
        _collect_by(lanes, met, 3, before)
    else:
        _collect_by(lanes, met, 4, before)


@linked(inline="always")
def _collect_by(lanes, row, step, before):
    head = min(-before % step, row.size)
    rounds = (row.size - head) // step
    for c in range(head):
        row[c] = lanes[(before + c) % step, (before + c) // step]
    first = (before + head) // step
    whole, there = row[head:], lanes[:, first : first + rounds]
    for i in range(rounds):
        for lane in range(step):
            whole[step * i + lane] = there[lane, i]
    for c in range(head + rounds * step, row.size):
        row[c] = lanes[(before + c) % step, (before + c) // step]
