// Lists so long that one block would still be at them when the rest of the picture is done are cut into parts, which blocks of their own blend side by
// side. A part is blended first as if all light came to it; when the parts before have told what light they let through, its sums become shares of that
// (over-composition is associative), but for pixels that end within it, which are blended again with the right light: so each pixel ends where the
// specification says. The part that is done last adds up all of them, in their order, so that the picture does not depend on who was last.
//
// What is long depends on the picture alone: more than a block's share of all pairs. Lists that most tiles have are never cut: there is work for all
// then, and of cut ones also that is blended which lies behind what lets no light through.
#pragma once

constexpr unsigned SHARES = 1056;  // blocks that the pairs are thought to be spread over; eight on each of the H200's processors
constexpr unsigned LEAST_PART = 1024;

// A waiting part is only ever waited for by one that was taken later: by a block that runs.
struct Parts {
    uint2* queue;     // tile, part | parts << 16; those of a tile side by side
    unsigned* words;  // zero at the start: how many are queued, how many taken, of each whether it has told its light, of each first one how many are done
    float* gathered;  // [room, PLANES, BLOCK]
    int room;

    __device__ __forceinline__ unsigned* queued() const { return words; }
    __device__ __forceinline__ unsigned* taken() const { return words + 1; }
    __device__ __forceinline__ unsigned* told() const { return words + 2; }
    __device__ __forceinline__ unsigned* done() const { return words + 2 + room; }
};

// Pairs that a part has at most; at most 2 * pairs / part_length, so 2 * SHARES, parts come of that (recon/render/cuda_draw.py makes room for them).
__device__ __forceinline__ unsigned part_length(const Status* status) {
    return max(LEAST_PART, (unsigned)((status->pairs + SHARES - 1) / SHARES));
}

// Queues the parts of a tile whose list ends at `end`, if it is long: how long is seen by its keys alone, as other threads find where lists begin.
__device__ __forceinline__ void queue_parts(const unsigned* keys, unsigned tile, unsigned end, unsigned length, const Parts& to) {
    unsigned parts = 1, more;
    do {
        more = 0;
#pragma unroll
        for (unsigned k = 0; k < 4; k++) more += end > (parts + k) * length && keys[end - 1 - (parts + k) * length] == tile;
        parts += more;
    } while (more == 4);
    if (parts == 1) return;
    unsigned first = atomicAdd(to.queued(), parts);
    for (unsigned p = 0; p < parts; p++) to.queue[first + p] = make_uint2(tile, p | parts << 16);
}

// What a pixel has gathered from front to back.
template <bool EXTRAS>
struct Gathered {
    static constexpr int VALUES = EXTRAS ? 9 : 5, PLANES = VALUES + 1;  // one plane more: the light that the part alone lets through
    float light = 1.f, red = 0.f, green = 0.f, blue = 0.f, depth = 0.f, median = 0.f, nx = 0.f, ny = 0.f, nz = 0.f;

    // The values in the order of their planes.
    template <class Do>
    __device__ __forceinline__ void each(Do act) {
        act(0, light), act(1, red), act(2, green), act(3, blue), act(4, depth);
        if constexpr (EXTRAS) act(5, median), act(6, nx), act(7, ny), act(8, nz);
    }
};

// Of a pixel that part number `first + part` blended as if all light came to it: the share of what does come, once the parts before have told. True
// where it must be blended again, since it ends (or with EXTRAS has its median) within the part; it then holds nothing but its light.
template <bool EXTRAS>
__device__ __forceinline__ bool put_behind(const Parts& parts, unsigned first, unsigned part, bool ended, Gathered<EXTRAS>& pixel) {
    for (unsigned q = threadIdx.x; q < part; q += BLOCK) await(parts.told() + first + q);
    __threadfence();
    __syncthreads();
    constexpr int PLANES = Gathered<EXTRAS>::PLANES;
    float before = 1.f;
    for (unsigned q = 0; q < part; q++) before *= *(volatile float*)(parts.gathered + ((first + q) * PLANES + PLANES - 1) * BLOCK + threadIdx.x);
    float behind = ended ? 0.f : before * pixel.light;
    bool lit = before > MIN_TRANSMITTANCE;
    bool again = lit && (behind <= MIN_TRANSMITTANCE || (EXTRAS && before > 0.5f && behind <= 0.5f));
    float share = lit && !again ? before : 0.f;
    pixel.each([&](int, float& value) { value *= share; });
    pixel.light = !lit ? 1.f : again ? before : behind, pixel.median = 0.f;
    return again;
}

// Tells later parts what light this one lets through.
template <bool EXTRAS>
__device__ __forceinline__ void tell_light(const Parts& parts, unsigned number, float light) {
    constexpr int PLANES = Gathered<EXTRAS>::PLANES;
    parts.gathered[(number * PLANES + PLANES - 1) * BLOCK + threadIdx.x] = light;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) publish(parts.told() + number, 1u);
}

// Leaves a part's pixels for the last one of its tile; true in that one, which then has the sums of all. `scratch`: a word of shared memory.
template <bool EXTRAS>
__device__ __forceinline__ bool add_up(const Parts& parts, unsigned first, unsigned part, unsigned count, unsigned* scratch, Gathered<EXTRAS>& pixel) {
    auto plane = [&](unsigned number, int p) { return parts.gathered + (number * Gathered<EXTRAS>::PLANES + p) * BLOCK + threadIdx.x; };
    pixel.each([&](int p, float& value) { *plane(first + part, p) = value; });
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) *scratch = atomicAdd(parts.done() + first, 1u);
    __syncthreads();
    if (*scratch + 1 < count) return false;
    __threadfence();
    pixel = Gathered<EXTRAS>{};
    for (unsigned q = 0; q < count; q++)
        pixel.each([&](int p, float& value) {
            float of_part = *(volatile float*)plane(first + q, p);
            value = p == 0 ? fminf(value, of_part) : value + of_part;  // light only falls, and a part that none came to says 1
        });
    return true;
}
