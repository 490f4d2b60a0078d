// Splats in order of depth to (tile, splat) pairs, written in that order, and where each tile's pairs begin after the sort by tile.
#pragma once

constexpr unsigned long long SUM_PARTIAL = 1ull << 62, SUM_COMPLETE = 2ull << 62, SUM_VALUE = SUM_PARTIAL - 1;
constexpr int ROWS_ALONE = 6;  // a splat over more rows of tiles is spread over the lanes of its warp

// Pairs before this block (one warp looks at 32 predecessors at a time); all threads of warp 0 must call.
__device__ __forceinline__ unsigned long long pairs_before(unsigned long long* status, unsigned block) {
    unsigned long long sum = 0;
    int lane = threadIdx.x;
    for (int nearest = (int)block - 1; nearest >= 0; nearest -= 32) {
        int other = nearest - lane;
        unsigned long long word = other >= 0 ? await(status + other) : SUM_COMPLETE;
        unsigned complete = __ballot_sync(FULL, (word & SUM_COMPLETE) != 0);
        int stop = complete ? __ffs(complete) - 1 : 31;  // the nearest one that knows everything before it
        unsigned long long part = lane <= stop ? word & SUM_VALUE : 0;
        for (int step = 16; step > 0; step /= 2) part += __shfl_down_sync(FULL, part, step);
        sum += __shfl_sync(FULL, part, 0);
        if (complete) break;
    }
    return sum;
}

__device__ __forceinline__ Ellipse from_lane(const Ellipse& e, int lane) {
    Ellipse o;
    o.x = __shfl_sync(FULL, e.x, lane), o.y = __shfl_sync(FULL, e.y, lane), o.lb = __shfl_sync(FULL, e.lb, lane);
    o.lc = __shfl_sync(FULL, e.lc, lane), o.inverse_la = __shfl_sync(FULL, e.inverse_la, lane), o.reach = __shfl_sync(FULL, e.reach, lane);
    o.half_height = __shfl_sync(FULL, e.half_height, lane), o.tip = __shfl_sync(FULL, e.tip, lane);
    return o;
}

__device__ __forceinline__ unsigned warp_sum(unsigned value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(FULL, value, step);
    return value;
}

// Tiles that each lane's ellipse touches.
__device__ __forceinline__ unsigned count_tiles(const Ellipse& e, int top, int bottom, int columns) {
    unsigned count = 0;
    int lane = threadIdx.x % 32, first, last;
    bool large = bottom - top > ROWS_ALONE;
    if (!large)
        for (int row = top; row < bottom; row++) tile_span(e, row, columns, first, last), count += last - first;
    for (unsigned left = __ballot_sync(FULL, large); left; left &= left - 1) {
        int owner = __ffs(left) - 1, from = __shfl_sync(FULL, top, owner), to = __shfl_sync(FULL, bottom, owner);
        Ellipse other = from_lane(e, owner);
        unsigned part = 0;
        for (int row = from + lane; row < to; row += 32) tile_span(other, row, columns, first, last), part += last - first;
        part = warp_sum(part);
        if (lane == owner) count = part;
    }
    return count;
}

// The same walk, writing; pairs beyond the room are dropped (the count tells).
__device__ __forceinline__ void write_tiles(
    const Ellipse& e, int top, int bottom, int columns, unsigned long long place, unsigned splat, unsigned room, unsigned* keys, unsigned* values) {
    int lane = threadIdx.x % 32, first, last;
    bool large = bottom - top > ROWS_ALONE;
    if (!large) {
        for (int row = top; row < bottom; row++) {
            tile_span(e, row, columns, first, last);
            for (int column = first; column < last; column++, place++)
                if (place < room) keys[place] = row * columns + column, values[place] = splat;
        }
    }
    for (unsigned left = __ballot_sync(FULL, large); left; left &= left - 1) {
        int owner = __ffs(left) - 1, from = __shfl_sync(FULL, top, owner), to = __shfl_sync(FULL, bottom, owner);
        Ellipse other = from_lane(e, owner);
        unsigned long long at = __shfl_sync(FULL, place, owner);
        unsigned number = __shfl_sync(FULL, splat, owner);
        for (int row = from; row < to; row++) {  // all lanes work on one row: its tiles lie side by side in memory
            tile_span(other, row, columns, first, last);
            for (int column = first + lane; column < last; column += 32) {
                unsigned long long mine = at + (column - first);
                if (mine < room) keys[mine] = row * columns + column, values[mine] = number;
            }
            at += last - first;
        }
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) expand(
    const uint4* __restrict__ records, const unsigned* __restrict__ order, const unsigned* visible, int columns, int rows, unsigned room,
    unsigned* keys, unsigned* values, unsigned long long* status, unsigned* ticket, unsigned long long* pairs) {
    struct Shared {
        unsigned long long scratch[WARPS], before;
        unsigned block;
    };
    SHARED(Shared, s);
    if (threadIdx.x == 0) s.block = atomicAdd(ticket, 1u);
    __syncthreads();
    unsigned block = s.block, seen = *visible, i = block * BLOCK + threadIdx.x;
    if (block * BLOCK >= seen) return;
    Ellipse e = {};
    int top = 0, bottom = 0;
    unsigned splat = 0;
    if (i < seen) {
        splat = order[i];
        e = ellipse(unpack(records[2 * (size_t)splat], records[2 * (size_t)splat + 1]));
        row_span(e, rows, top, bottom);
    }
    unsigned long long count = count_tiles(e, top, bottom, columns), total;
    unsigned long long place = block_scan(count, s.scratch, total);
    if (threadIdx.x < 32) {
        if (threadIdx.x == 0) publish(status + block, (block ? SUM_PARTIAL : SUM_COMPLETE) | total);
        unsigned long long before = pairs_before(status, block);
        if (threadIdx.x == 0) {
            if (block) publish(status + block, SUM_COMPLETE | (before + total));
            s.before = before;
            if (block == (seen - 1) / BLOCK) *pairs = before + total;
        }
    }
    __syncthreads();
    write_tiles(e, top, bottom, columns, s.before + place, splat, room, keys, values);
}

// First and last pair of each tile: ranges [tiles, 2], zero at the start.
extern "C" __global__ void __launch_bounds__(BLOCK) tile_ranges(
    const unsigned* __restrict__ keys, unsigned room, const unsigned long long* pairs, uint2* ranges) {
    unsigned n = element_count(room, pairs);
    for (unsigned i = blockIdx.x * BLOCK + threadIdx.x; i < n; i += gridDim.x * BLOCK) {
        unsigned tile = keys[i];
        if (i == 0 || keys[i - 1] != tile) ranges[tile].x = i;
        if (i + 1 == n || keys[i + 1] != tile) ranges[tile].y = i + 1;
    }
}
