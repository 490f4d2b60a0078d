// One block a tile of 16 x 16 pixels, one warp 8 x 4 of them, one thread a pixel. A batch of the tile's splats is brought to shared memory; each warp
// lists those that touch its pixels and blends them front to back, AT_ONCE together as far as they do not depend on each other. Splats whose pairs had
// no room come last, each looked at by every tile. The first `early` blocks take the tiles with long lists: one that begins late is still at it when
// all others are done.
#pragma once

// measured best of 2, 4 and 8 together, with 4, 5 and 6 blocks, in the mean of seven scenes on an H100
constexpr int AT_ONCE = 8;
constexpr int BLEND_BLOCKS = 4;                  // that shall fit on a processor at least: bounds the registers
constexpr int STRIP = 4, STRIPS = TILE / STRIP;  // rows of a strip, and strips of a tile
constexpr int CHECK = 32;                        // splats after which a warp looks whether all its pixels have ended

struct Picture {
    const uint2* ranges;
    const unsigned *listed, *order;  // splats tile by tile; all by depth
    const uint4* records;
    const unsigned* normals;
    const Call* call;
    const Status* status;
    const unsigned* long_tiles;
    unsigned long long* told;  // the status for the host, in page-locked main memory; or none
    int early, count, first_view, width, height, columns, tiles;
};

// Which of the tile's regions of 8 x 4 pixels the outline touches: bit STRIPS * column + strip.
template <class Outline>
__device__ __forceinline__ unsigned region_mask(const Outline& e, float x, float y) {
    unsigned mask = 0;
#pragma unroll
    for (int strip = 0; strip < STRIPS; strip++) {
        float top = y + STRIP * strip + 0.5f, left, right;
        if (!strip_span(e, top, top + (STRIP - 1), left, right)) continue;
        if (left <= x + 7.5f && right >= x + 0.5f) mask |= 1u << strip;
        if (left <= x + 15.5f && right >= x + 8.5f) mask |= 1u << (STRIPS + strip);
    }
    return mask;
}

// What of a splat a pixel needs, in shared memory; pixels are counted from the tile's corner.
struct alignas(16) StagedGaussian {
    using Outline = Ellipse;
    static constexpr int WORDS = 2;    // of 16 bytes, in a record
    float la, lb, across, lo, lc, down;  // u = la x + lb y + across, v = lc y + down

    __device__ __forceinline__ float4 set(const uint4* record, float left, float top) {
        Splat k = unpack(record[0], record[1]);
        la = k.la, lb = k.lb, lo = k.lo, lc = k.lc;
        across = -(k.la * (k.x - left) + k.lb * (k.y - top)), down = -k.lc * (k.y - top);
        return make_float4(k.red, k.green, k.blue, k.z);
    }

    // log2 of how much of the pixel it covers
    __device__ __forceinline__ float power(float x, float y) const {
        float u = la * x + (lb * y + across), v = lc * y + down;
        return lo - u * u - v * v;
    }
};

struct alignas(16) StagedSurfel {
    using Outline = Box;
    static constexpr int WORDS = 4;
    float m[9], lo, x, y;

    __device__ __forceinline__ float4 set(const uint4* record, float left, float top) {
        uint4 a = record[0], b = record[1], c = record[2];
        unsigned words[10] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, c.x, c.y};
        for (int k = 0; k < 9; k++) m[k] = __uint_as_float(words[k]);
        for (int k = 0; k < 3; k++) m[k] -= left * m[6 + k], m[3 + k] -= top * m[6 + k];
        lo = __uint_as_float(words[9]), x = m[2] / m[8], y = m[5] / m[8];
        return make_float4(half_value(c.z & 0xffffu), half_value(c.z >> 16), half_value(c.w & 0xffffu), m[8]);
    }

    // The pixel's ray meets the surfel's plane where two homogeneous lines cross (2DGS, eq. 8 to 10).
    __device__ __forceinline__ float power(float px, float py) const {
        float a0 = px * m[6] - m[0], a1 = px * m[7] - m[1], a2 = px * m[8] - m[2], dx = px - x;
        float b0 = py * m[6] - m[3], b1 = py * m[7] - m[4], b2 = py * m[8] - m[5], dy = py - y;
        float w = a0 * b1 - a1 * b0, flat = SURFEL_FILTER * (dx * dx + dy * dy), square = flat;
        if (fabsf(w) >= 1e-20f) {
            float u = (a1 * b2 - a2 * b1) / w, v = (a2 * b0 - a0 * b2) / w;
            if (m[6] * u + m[7] * v + m[8] > 0.f) square = fminf(u * u + v * v, flat);
        }
        return lo - (0.5f * LOG2_E) * square;
    }
};

template <class Staged, bool EXTRAS>
struct Entry {
    Staged shape;
    float4 color;  // red, green, blue, z
    float4 normal;
};

template <class Staged>
struct Entry<Staged, false> {
    Staged shape;
    float4 color;
};

template <class Staged, bool EXTRAS>
__device__ __forceinline__ void blend_tile(const Picture& b) {
    using Line = Entry<Staged, EXTRAS>;
    struct Shared {
        Line splat[BLOCK + 1];                             // the last covers nothing: it fills up the warps' lists
        alignas(16) unsigned listed[WARPS][BLOCK + AT_ONCE];  // of each warp: what touches its pixels, as bytes from the first
        unsigned mask[BLOCK];
    };
    SHARED(Shared, s);
    if (b.told && blockIdx.x == 0 && threadIdx.x < STATUS_WORDS) b.told[threadIdx.x] = ((const unsigned long long*)b.status)[threadIdx.x];
    bool early = blockIdx.x < (unsigned)b.early;
    if (early && blockIdx.x >= b.long_tiles[0]) return;
    unsigned place = early ? b.long_tiles[1 + blockIdx.x] : blockIdx.x - b.early;
    uint2 range = b.ranges[place];
    unsigned long long cut = b.status->cut;
    if (b.early && !early && !cut && range.y - range.x > long_list(b.status)) return;
    int t = threadIdx.x, lane = t % 32, warp = t / 32, view = place / b.tiles, tile = place % b.tiles;
    int left = (tile % b.columns) * TILE, top = (tile / b.columns) * TILE;
    int column = 8 * (warp & 1) + lane % 8, row = STRIP * (warp >> 1) + lane / 8;  // within the tile
    int region = STRIPS * (warp & 1) + (warp >> 1);                                // bit of the masks
    bool inside = left + column < b.width && top + row < b.height;
    float x = column + 0.5f, y = row + 0.5f, light = 1.f, red = 0.f, green = 0.f, blue = 0.f, depth = 0.f;
    float median = 0.f, nx = 0.f, ny = 0.f, nz = 0.f;
    float least = inside ? LOG2_MIN_ALPHA : INFINITY;  // a pixel that has ended takes nothing more
    if (t == 0) s.splat[BLOCK] = Line{}, s.splat[BLOCK].shape.lo = -INFINITY;

    // the tile's list, then all from the first splat whose pairs had no room
    unsigned from_list = range.y - range.x, rank = (unsigned)~cut, total = from_list + (cut ? b.status->visible - rank : 0u);
    auto splat_at = [&](unsigned k) { return k >= total ? 0 : k < from_list ? b.listed[range.x + k] : b.order[rank + (k - from_list)]; };
    unsigned splat = 0, normal = 0, ahead = splat_at(t);
    uint4 record[Staged::WORDS];
    auto fetch = [&](unsigned k) {
        if (k >= total) return;
        splat = ahead;
#pragma unroll
        for (int w = 0; w < Staged::WORDS; w++) record[w] = b.records[Staged::WORDS * (size_t)splat + w];
        if constexpr (EXTRAS) normal = b.normals[splat];
        ahead = splat_at(k + BLOCK);
    };
    fetch(t);
    for (unsigned base = 0; base < total; base += BLOCK) {
        if (!__syncthreads_count(least < INFINITY)) break;
        unsigned mask = 0;
        if (base + t < total && (base + t < from_list || (int)(splat / b.count) == view)) {
            s.splat[t].color = s.splat[t].shape.set(record, (float)left, (float)top);
            if constexpr (EXTRAS) {
                float3 n = unpack_normal(normal);
                s.splat[t].normal = make_float4(n.x, n.y, n.z, 0.f);
            }
            mask = region_mask(outline_of<typename Staged::Outline>(record, 0), (float)left, (float)top);
        }
        s.mask[t] = mask;
        fetch(base + BLOCK + t);  // the next batch travels while this one is drawn
        __syncthreads();
        if (!__any_sync(FULL, least < INFINITY)) continue;
        unsigned held = min(total - base, (unsigned)BLOCK), touching = 0;
        for (unsigned group = 0; group < held; group += 32) {
            bool touches = s.mask[group + lane] >> region & 1;
            unsigned votes = __ballot_sync(FULL, touches);
            if (touches) s.listed[warp][touching + __popc(votes & ((1u << lane) - 1))] = (group + lane) * (unsigned)sizeof(Line);
            touching += __popc(votes);
        }
        if (lane < AT_ONCE) s.listed[warp][touching + lane] = BLOCK * (unsigned)sizeof(Line);
        __syncwarp();
        for (unsigned k = 0; k < touching; k += AT_ONCE) {
            if (k % CHECK == 0 && !__any_sync(FULL, least < INFINITY)) break;
            const Line* lines[AT_ONCE];
            float power[AT_ONCE], share[AT_ONCE];
            float4 color[AT_ONCE];
#pragma unroll
            for (int a = 0; a < AT_ONCE; a++) {
                lines[a] = (const Line*)((const char*)s.splat + s.listed[warp][k + a]);
                power[a] = lines[a]->shape.power(x, y), color[a] = lines[a]->color;
                share[a] = fminf(power_of_two(power[a]), MAX_ALPHA);
            }
#pragma unroll
            for (int a = 0; a < AT_ONCE; a++) {
                float weight = power[a] >= least ? share[a] * light : 0.f, next = light - weight;
                if (next <= MIN_TRANSMITTANCE) least = INFINITY, weight = 0.f, next = light;
                red += weight * color[a].x, green += weight * color[a].y, blue += weight * color[a].z, depth += weight * color[a].w;
                if constexpr (EXTRAS) {
                    float4 n = lines[a]->normal;
                    nx += weight * n.x, ny += weight * n.y, nz += weight * n.z;
                    if (light > 0.5f && next <= 0.5f) median = color[a].w;
                }
                light = next;
            }
        }
    }
    if (!inside) return;
    const Call& c = *b.call;
    const float* background = c.background + 3 * (b.first_view + view);
    size_t at = ((size_t)(b.first_view + view) * b.height + top + row) * b.width + left + column;
    float alpha = 1.f - light;
    c.color[3 * at] = red + light * background[0];
    c.color[3 * at + 1] = green + light * background[1];
    c.color[3 * at + 2] = blue + light * background[2];
    c.alpha[at] = alpha;
    c.depth[at] = depth / fmaxf(alpha, 1e-10f);
    if constexpr (EXTRAS) {
        float length = fmaxf(sqrtf(nx * nx + ny * ny + nz * nz), 1e-12f);
        c.median[at] = median;
        c.normal[3 * at] = nx / length, c.normal[3 * at + 1] = ny / length, c.normal[3 * at + 2] = nz / length;
    }
}

#define BLEND(NAME, STAGED, EXTRAS, BLOCKS)                                                                                             \
    extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS) NAME(                                                                   \
        const uint2* __restrict__ ranges, const unsigned* __restrict__ listed, const unsigned* __restrict__ order,                      \
        const uint4* __restrict__ records, const unsigned* __restrict__ normals, const Call* __restrict__ call,                         \
        const Status* __restrict__ status, const unsigned* __restrict__ long_tiles, unsigned long long* told, int early,                \
        int count, int first_view, int width, int height, int columns, int tiles) {                                                     \
        blend_tile<STAGED, EXTRAS>(Picture{                                                                                             \
            ranges, listed, order, records, normals, call, status, long_tiles, told, early, count, first_view, width, height, columns,  \
            tiles});                                                                                                                    \
    }
BLEND(blend, StagedGaussian, false, BLEND_BLOCKS)
BLEND(blend_extras, StagedGaussian, true, BLEND_BLOCKS)
BLEND(blend_surfels, StagedSurfel, false, 1)
BLEND(blend_surfels_extras, StagedSurfel, true, 1)
