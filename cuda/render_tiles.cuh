// Splats in order of depth to (tile, splat) pairs, written in that order, and where each tile's pairs begin after the sort by tile.
#pragma once

constexpr unsigned long long SUM_PARTIAL = 1ull << 62, SUM_COMPLETE = 2ull << 62, SUM_VALUE = SUM_PARTIAL - 1;
constexpr int STAGED_PAIRS = 4096, TILE_BITS = 24;  // of a block, to be written side by side: tile | thread << TILE_BITS
constexpr int ROWS_ALONE = 6;  // a splat over more rows of tiles is spread over the lanes of its warp

// Pairs before this block (one warp looks at 32 predecessors at a time); all threads of warp 0 must call.
__device__ __forceinline__ unsigned long long pairs_before(unsigned long long* progress, unsigned block) {
    unsigned long long sum = 0;
    for (int nearest = (int)block - 1 - (int)threadIdx.x;; nearest -= 32) {
        unsigned long long word = nearest >= 0 ? await(progress + nearest) : SUM_COMPLETE;
        unsigned complete = __ballot_sync(FULL, (word & SUM_COMPLETE) != 0);
        int stop = complete ? __ffs(complete) - 1 : 31;  // the nearest one that knows everything before it
        unsigned long long part = threadIdx.x <= stop ? word & SUM_VALUE : 0;
        for (int step = 16; step > 0; step /= 2) part += __shfl_down_sync(FULL, part, step);
        sum += __shfl_sync(FULL, part, 0);
        if (complete) return sum;
    }
}

__device__ __forceinline__ Ellipse from_lane(const Ellipse& e, int lane) {
    Ellipse o;
    o.x = __shfl_sync(FULL, e.x, lane), o.y = __shfl_sync(FULL, e.y, lane), o.lb = __shfl_sync(FULL, e.lb, lane);
    o.lc = __shfl_sync(FULL, e.lc, lane), o.inverse_la = __shfl_sync(FULL, e.inverse_la, lane), o.reach = __shfl_sync(FULL, e.reach, lane);
    o.half_height = __shfl_sync(FULL, e.half_height, lane), o.tip = __shfl_sync(FULL, e.tip, lane);
    return o;
}

__device__ __forceinline__ Box from_lane(const Box& b, int lane) {
    return Box{__shfl_sync(FULL, b.left, lane), __shfl_sync(FULL, b.top, lane), __shfl_sync(FULL, b.right, lane), __shfl_sync(FULL, b.bottom, lane)};
}

__device__ __forceinline__ unsigned warp_sum(unsigned value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(FULL, value, step);
    return value;
}

// Tiles that each lane's outline touches; those of each row, first | last << 16, are kept in `spans` where there are few rows.
template <class Outline>
__device__ __forceinline__ unsigned count_tiles(const Outline& e, int top, int bottom, int columns, unsigned* spans) {
    unsigned count = 0;
    int lane = threadIdx.x % 32, first, last;
    bool large = bottom - top > ROWS_ALONE;
#pragma unroll
    for (int k = 0; k < ROWS_ALONE; k++) {
        first = last = 0;
        if (!large && top + k < bottom) tile_span(e, top + k, columns, first, last);
        spans[k] = (unsigned)first | ((unsigned)last << 16), count += last - first;
    }
    for (unsigned left = __ballot_sync(FULL, large); left; left &= left - 1) {
        int owner = __ffs(left) - 1, from = __shfl_sync(FULL, top, owner), to = __shfl_sync(FULL, bottom, owner);
        Outline other = from_lane(e, owner);
        unsigned part = 0;
#pragma unroll 1
        for (int row = from + lane; row < to; row += 32) tile_span(other, row, columns, first, last), part += last - first;
        part = warp_sum(part);
        if (lane == owner) count = part;
    }
    return count;
}

// Calls put(place, tile, thread) for the pairs of each thread's splat from its `place` on; none for a splat that has no room for all of them.
template <class Outline, class Put>
__device__ __forceinline__ void write_tiles(
    const Outline& e, int top, int bottom, int columns, unsigned tile0, unsigned place, bool fits, const unsigned* spans, Put put) {
    int lane = threadIdx.x % 32, first, last;
    bool large = fits && bottom - top > ROWS_ALONE;
    if (fits && !large) {
#pragma unroll
        for (int k = 0; k < ROWS_ALONE; k++) {
#pragma unroll 1  // mostly one to three; unrolled, the kernel would leave the instruction cache
            for (unsigned column = spans[k] & 0xffffu, end = spans[k] >> 16; column < end; column++, place++)
                put(place, tile0 + (top + k) * columns + column, threadIdx.x);
        }
    }
    for (unsigned left = __ballot_sync(FULL, large); left; left &= left - 1) {
        int owner = __ffs(left) - 1, from = __shfl_sync(FULL, top, owner), to = __shfl_sync(FULL, bottom, owner);
        Outline other = from_lane(e, owner);
        unsigned at = __shfl_sync(FULL, place, owner), tile = __shfl_sync(FULL, tile0, owner), thread = threadIdx.x - lane + owner;
#pragma unroll 1
        for (int row = from; row < to; row++) {  // all lanes work on one row: its tiles lie side by side in memory
            tile_span(other, row, columns, first, last);
#pragma unroll 1
            for (int column = first + lane; column < last; column += 32) put(at + column - first, tile + row * columns + column, thread);
            at += last - first;
        }
    }
}

// Splat r of the records is Gaussian r % count seen by view r / count, whose tiles follow those of the view before.
template <class Outline>
__device__ __forceinline__ void expand_splats(
    const uint4* __restrict__ records, const unsigned* __restrict__ order, int count, int columns, int rows, unsigned room, unsigned* keys,
    unsigned* values, unsigned long long* progress, unsigned* ticket, Status* status) {
    struct Shared {
        unsigned long long scratch[WARPS], before;
        unsigned block, splat[BLOCK], staged[STAGED_PAIRS];
    };
    SHARED(Shared, s);
    if (threadIdx.x == 0) s.block = atomicAdd(ticket, 1u);
    __syncthreads();
    unsigned block = s.block, seen = status->visible, i = block * BLOCK + threadIdx.x;
    if (block * BLOCK >= seen) return;
    Outline e = {};
    int top = 0, bottom = 0;
    unsigned splat = 0, spans[ROWS_ALONE];
    if (i < seen) {
        splat = order[i];
        e = outline_of<Outline>(records, splat);
        row_span(e, rows, top, bottom);
    }
    s.splat[threadIdx.x] = splat;
    unsigned mine = count_tiles(e, top, bottom, columns, spans);
    unsigned long long total, place = block_scan((unsigned long long)mine, s.scratch, total);
    if (threadIdx.x < 32) {
        if (threadIdx.x == 0) publish(progress + block, (block ? SUM_PARTIAL : SUM_COMPLETE) | total);
        unsigned long long before = pairs_before(progress, block);
        if (threadIdx.x == 0) {
            if (block) publish(progress + block, SUM_COMPLETE | (before + total));
            s.before = before;
            if (block == (seen - 1) / BLOCK) status->pairs = before + total;
        }
    }
    __syncthreads();
    unsigned long long before = s.before;
    bool staged = total <= STAGED_PAIRS && before + total <= room, fits = before + place + mine <= room;
    if (!fits && before + place <= room) status->cut = ~((before + place) << 32 | i);  // the first without room: of later ones the list holds nothing
    write_tiles(e, top, bottom, columns, splat / count * (columns * rows), (unsigned)place, fits, spans, [&](unsigned at, unsigned tile, unsigned thread) {
        if (staged) s.staged[at] = tile | thread << TILE_BITS;
        else keys[before + at] = tile, values[before + at] = s.splat[thread];
    });
    if (!staged) return;
    __syncthreads();
    for (unsigned j = threadIdx.x; j < total; j += BLOCK) {
        unsigned word = s.staged[j];
        keys[before + j] = word & ((1u << TILE_BITS) - 1), values[before + j] = s.splat[word >> TILE_BITS];
    }
}

#define EXPAND(NAME, OUTLINE)                                                                                                           \
    extern "C" __global__ void __launch_bounds__(BLOCK) NAME(                                                                           \
        const uint4* records, const unsigned* order, int count, int columns, int rows, unsigned room, unsigned* keys, unsigned* values, \
        unsigned long long* progress, unsigned* ticket, Status* status) {                                                               \
        expand_splats<OUTLINE>(records, order, count, columns, rows, room, keys, values, progress, ticket, status);                     \
    }
EXPAND(expand, Ellipse)
EXPAND(expand_surfels, Box)

// Pairs of a tile from which on its list is long: more than a block's share of all. Fewer than LONG_LISTS lists are.
__device__ __forceinline__ unsigned long_list(const Status* status) {
    return max(LEAST_LONG, (unsigned)((status->pairs + LONG_LISTS - 1) / LONG_LISTS));
}

// First and last pair of each tile: ranges [tiles, 2], zero at the start. Tiles with long lists are listed too, if there was room for all pairs:
// their number in long_tiles[0], zero at the start, and then they, in any order.
extern "C" __global__ void __launch_bounds__(BLOCK) tile_ranges(
    const unsigned* __restrict__ keys, const Status* status, uint2* ranges, unsigned* long_tiles) {
    unsigned n = listed_pairs(status), step = gridDim.x * BLOCK, length = status->cut ? n : long_list(status);
    auto ends = [&](unsigned tile, unsigned end) {
        ranges[tile].y = end;
        if (end > length && keys[end - 1 - length] == tile) long_tiles[1 + atomicAdd(long_tiles, 1u)] = tile;
    };
    for (unsigned i = blockIdx.x * BLOCK + threadIdx.x; i < n; i += LOADS * step) {
        unsigned tile[LOADS], before[LOADS];
#pragma unroll
        for (int k = 0; k < LOADS; k++) {
            unsigned j = i + k * step;
            tile[k] = j < n ? keys[j] : 0, before[k] = j < n && j > 0 ? keys[j - 1] : CULLED;
        }
#pragma unroll
        for (int k = 0; k < LOADS; k++) {
            unsigned j = i + k * step;
            if (j >= n) continue;
            if (before[k] != tile[k]) {
                ranges[tile[k]].x = j;
                if (j > 0) ends(before[k], j);
            }
            if (j + 1 == n) ends(tile[k], n);
        }
    }
}
