// A stable least-significant-digit radix sort of (key, value) pairs, one kernel a digit: each block ranks its keys, learns from its predecessors
// how many of each digit come before (decoupled look-back), and writes. Merrill and Garland 2016; Adinets and Merrill, "Onesweep" 2022.
// PyTorch twin: torch.argsort(stable=True).
#pragma once

constexpr int DIGITS = 256;
constexpr int ITEMS = 16;  // of a thread
constexpr int LOOK = 8;    // blocks before at once
constexpr unsigned PARTIAL = 1u << 30, COMPLETE = 2u << 30, VALUE = PARTIAL - 1;

// Sum over the threads before this one, and over all; `scratch` holds WARPS words and is free again after the next barrier.
template <class T>
__device__ __forceinline__ T block_scan(T value, T* scratch, T& total) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    T sum = value;
    for (int step = 1; step < 32; step *= 2) {
        T other = __shfl_up_sync(FULL, sum, step);
        if (lane >= step) sum += other;
    }
    if (lane == 31) scratch[warp] = sum;
    __syncthreads();
    T before = 0;
    total = 0;
    for (int w = 0; w < WARPS; w++) {
        if (w < warp) before += scratch[w];
        total += scratch[w];
    }
    __syncthreads();
    return before + sum - value;
}

constexpr int LOADS = 4;  // of a thread at the same time, where there is little else to wait for

enum Sorting { PAIRS, DEPTHS, DEPTHS_AGAIN };  // tiles of pairs; depths as they are; depths whose first digits are sorted already

// Pairs that are complete in the lists: all, or those before the first splat that had no room.
__device__ __forceinline__ unsigned listed_pairs(const Status* status) {
    return status->cut ? (unsigned)(~status->cut >> 32) : (unsigned)status->pairs;
}

// Depths as KEY_BITS bits of their range in this picture, as finely as that goes.
struct DepthRange {
    unsigned low, shift;
};

__device__ __forceinline__ DepthRange depth_range(const Status* status) {
    unsigned low = ~status->low, span = status->high - low;
    return DepthRange{low, (unsigned)max(32 - (int)KEY_BITS - __clz(span), 0)};
}

__device__ __forceinline__ unsigned depth_key(unsigned key, const DepthRange& range) {
    return key == CULLED ? LAST_KEY : min((key - range.low) >> range.shift, LAST_KEY - 1);
}

// Counts of each digit of each pass: out [passes, DIGITS], zero at the start. `count`: keys there are, or of pairs that there is room for.
extern "C" __global__ void __launch_bounds__(BLOCK) digit_counts(
    const unsigned* __restrict__ keys, unsigned count, int sorting, const Status* status, int bits, int passes, unsigned* out) {
    struct Shared {
        unsigned count[4][DIGITS];
    };
    SHARED(Shared, s);
    unsigned n = sorting == PAIRS ? listed_pairs(status) : count;
    DepthRange range = depth_range(status);
    for (int p = 0; p < passes; p++) s.count[p][threadIdx.x] = 0;
    __syncthreads();
    unsigned step = gridDim.x * BLOCK;
    for (unsigned i = blockIdx.x * BLOCK + threadIdx.x; i < n; i += LOADS * step) {
        unsigned key[LOADS];
#pragma unroll
        for (int k = 0; k < LOADS; k++) key[k] = i + k * step < n ? keys[i + k * step] : CULLED;  // no tile has this number
#pragma unroll
        for (int k = 0; k < LOADS; k++) {
            if (key[k] == CULLED) continue;  // one word for many would make their warps wait: they are counted below
            unsigned digits = sorting == DEPTHS ? depth_key(key[k], range) : key[k];
            for (int p = 0; p < passes; p++) atomicAdd(&s.count[p][(digits >> (p * bits)) & ((1u << bits) - 1)], 1u);
        }
    }
    __syncthreads();
    if (sorting == DEPTHS && blockIdx.x == 0 && threadIdx.x < passes) s.count[threadIdx.x][DIGITS - 1] += n - status->visible;
    __syncthreads();
    for (int p = 0; p < passes; p++) {
        unsigned count = s.count[p][threadIdx.x];
        if (count) atomicAdd(out + p * DIGITS + threadIdx.x, count);
    }
}

// Lanes of the warp with the same digit.
__device__ __forceinline__ unsigned equal_lanes(unsigned digit, int bits) {
    unsigned peers = FULL;
    for (int b = 0; b < bits; b++) {
        bool set = (digit >> b) & 1;
        unsigned votes = __ballot_sync(FULL, set);
        peers &= set ? votes : ~votes;
    }
    return peers;
}

// Keys of one digit in all blocks before: those of the nearest, which know only their own, and of one that knows all before it too. All blocks tend
// to start together, so that the way back is long: some steps at once, for each waits for the L2 cache.
__device__ __forceinline__ unsigned digits_before(unsigned* progress, unsigned block) {
    unsigned sum = 0, word[LOOK];
    for (int nearest = (int)block - 1;; nearest -= LOOK) {
#pragma unroll
        for (int k = 0; k < LOOK; k++) word[k] = nearest >= k ? *(volatile unsigned*)(progress + (nearest - k) * DIGITS) : COMPLETE;
#pragma unroll
        for (int k = 0; k < LOOK; k++) {
            if (!word[k]) word[k] = await(progress + (nearest - k) * DIGITS);
            sum += word[k] & VALUE;
            if (word[k] & COMPLETE) return sum;
        }
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK) sort_pass(
    const unsigned* __restrict__ keys_in, const unsigned* __restrict__ values_in, unsigned* keys_out, unsigned* values_out, unsigned count,
    int sorting, const Status* status, int shift, int bits, const unsigned* __restrict__ counts, unsigned* progress, unsigned* ticket) {
    constexpr int PART = BLOCK * ITEMS;
    struct Shared {
        unsigned before[WARPS][DIGITS];  // of each digit, in the warps before
        unsigned first[DIGITS];          // place of a digit's first key within the block
        unsigned target[DIGITS];         // what to add to get the place in the output
        unsigned staged[PART];
        unsigned scratch[WARPS];
        unsigned block;
    };
    SHARED(Shared, s);
    int t = threadIdx.x, lane = t % 32, warp = t / 32;
    if (t == 0) s.block = atomicAdd(ticket, 1u);  // blocks number themselves as they start: all predecessors are running or done
    for (int w = 0; w < WARPS; w++) s.before[w][t] = 0;
    __syncthreads();
    unsigned block = s.block, n = sorting == PAIRS ? listed_pairs(status) : count, base = block * PART;
    if (base >= n) return;
    unsigned held = min(n - base, (unsigned)PART), mask = (1u << bits) - 1;

    unsigned key[ITEMS], rank[ITEMS];
    unsigned start = warp * 32 * ITEMS + lane;
    for (int i = 0; i < ITEMS; i++) key[i] = start + i * 32 < held ? keys_in[base + start + i * 32] : 0xffffffffu;  // fillers rank last
    if (sorting == DEPTHS) {
        DepthRange range = depth_range(status);
        for (int i = 0; i < ITEMS; i++) key[i] = depth_key(key[i], range);
    }
    for (int i = 0; i < ITEMS; i++) {
        unsigned digit = (key[i] >> shift) & mask, peers = equal_lanes(digit, bits), earlier = peers & ((1u << lane) - 1);
        unsigned seen = s.before[warp][digit];
        __syncwarp();
        if (!earlier) s.before[warp][digit] = seen + __popc(peers);
        __syncwarp();
        rank[i] = seen + __popc(earlier);
    }
    __syncthreads();

    unsigned mine = 0, total;  // thread t looks after digit t
    for (int w = 0; w < WARPS; w++) {
        unsigned count = s.before[w][t];
        s.before[w][t] = mine;
        mine += count;
    }
    if (block == 0) publish(progress + t, COMPLETE | mine);
    else publish(progress + block * DIGITS + t, PARTIAL | mine);
    unsigned first = block_scan(mine, s.scratch, total), global = block_scan(counts[t], s.scratch, total), prefix = 0;
    if (block > 0) {
        prefix = digits_before(progress + t, block);
        publish(progress + block * DIGITS + t, COMPLETE | (prefix + mine));
    }
    s.first[t] = first;
    s.target[t] = global + prefix - first;
    __syncthreads();

    for (int i = 0; i < ITEMS; i++) {
        unsigned digit = (key[i] >> shift) & mask;
        rank[i] += s.before[warp][digit] + s.first[digit];
        s.staged[rank[i]] = key[i];
    }
    __syncthreads();
    unsigned place[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        unsigned j = i * BLOCK + t, sorted = s.staged[j];
        place[i] = s.target[(sorted >> shift) & mask] + j;
        if (keys_out && j < held) keys_out[place[i]] = sorted;
    }
    __syncthreads();
    for (int i = 0; i < ITEMS; i++) {
        unsigned j = start + i * 32;
        s.staged[rank[i]] = !values_in ? base + j : j < held ? values_in[base + j] : 0;  // without values: the elements' numbers
    }
    __syncthreads();
    for (int i = 0; i < ITEMS; i++) {
        unsigned j = i * BLOCK + t;
        if (j < held) values_out[place[i]] = s.staged[j];
    }
}
