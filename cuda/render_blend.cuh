// One block a tile of 16 x 16 pixels, one warp 8 x (4 BLEND_ROWS) of them, one thread a column of BLEND_ROWS pixels 4 apart: splats front to back,
// those that do not touch the warp's pixels skipped by a mask. Splats whose pairs had no room come last, each looked at by every tile.
#pragma once

#ifndef BLEND_ROWS
#define BLEND_ROWS 1
#endif
constexpr int REGION = 4 * BLEND_ROWS, BLENDERS = BLOCK / BLEND_ROWS;  // rows of a warp's pixels; threads of a block

struct Picture {
    const uint2* ranges;
    const unsigned *listed, *order;  // splats tile by tile; all by depth
    const uint4* records;
    const unsigned* normals;
    const Call* call;
    const Status* status;
    int count, first_view, width, height, columns, tiles;
};

// Which of the tile's regions of 8 x REGION pixels the outline touches: bit 2 * row + column.
template <class Outline>
__device__ __forceinline__ unsigned region_mask(const Outline& e, float x, float y) {
    unsigned mask = 0;
#pragma unroll
    for (int row = 0; row < TILE / REGION; row++) {
        float top = y + REGION * row + 0.5f, left, right;
        if (!strip_span(e, top, top + (REGION - 1), left, right)) continue;
        if (left <= x + 7.5f && right >= x + 0.5f) mask |= 1u << (2 * row);
        if (left <= x + 15.5f && right >= x + 8.5f) mask |= 2u << (2 * row);
    }
    return mask;
}

// What of a splat a pixel needs, in shared memory, and log2 of how much of the pixel it covers.
struct StagedGaussian {
    using Outline = Ellipse;
    static constexpr int WORDS = 2;  // of 16 bytes, in a record
    float4 shape;                    // x, y, la, lb
    float2 rest;                     // lc, log2 opacity

    __device__ __forceinline__ float4 set(const uint4* record) {
        Splat k = unpack(record[0], record[1]);
        shape = make_float4(k.x, k.y, k.la, k.lb), rest = make_float2(k.lc, k.lo);
        return make_float4(k.red, k.green, k.blue, k.z);
    }
};

struct StagedSurfel {
    using Outline = Box;
    static constexpr int WORDS = 4;
    float m[9], lo, x, y;

    __device__ __forceinline__ float4 set(const uint4* record) {
        uint4 a = record[0], b = record[1], c = record[2];
        unsigned words[10] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, c.x, c.y};
        for (int k = 0; k < 9; k++) m[k] = __uint_as_float(words[k]);
        lo = __uint_as_float(words[9]), x = m[2] / m[8], y = m[5] / m[8];
        return make_float4(half_value(c.z & 0xffffu), half_value(c.z >> 16), half_value(c.w & 0xffffu), m[8]);
    }
};

__device__ __forceinline__ void powers(const StagedGaussian& s, float px, float py, float* power) {
    float4 shape = s.shape;
    float2 rest = s.rest;
    float across = shape.z * (px - shape.x), dy = py - shape.y;
#pragma unroll
    for (int k = 0; k < BLEND_ROWS; k++, dy += 4.f) {
        float u = across + shape.w * dy, v = rest.x * dy;
        power[k] = rest.y - u * u - v * v;
    }
}

// The pixel's ray meets the surfel's plane where two homogeneous lines cross (2DGS, eq. 8 to 10).
__device__ __forceinline__ void powers(const StagedSurfel& s, float px, float py, float* power) {
    float a0 = px * s.m[6] - s.m[0], a1 = px * s.m[7] - s.m[1], a2 = px * s.m[8] - s.m[2], dx = px - s.x;
#pragma unroll
    for (int k = 0; k < BLEND_ROWS; k++, py += 4.f) {
        float b0 = py * s.m[6] - s.m[3], b1 = py * s.m[7] - s.m[4], b2 = py * s.m[8] - s.m[5], dy = py - s.y;
        float w = a0 * b1 - a1 * b0, flat = SURFEL_FILTER * (dx * dx + dy * dy), square = flat;
        if (fabsf(w) >= 1e-20f) {
            float u = (a1 * b2 - a2 * b1) / w, v = (a2 * b0 - a0 * b2) / w;
            if (s.m[6] * u + s.m[7] * v + s.m[8] > 0.f) square = fminf(u * u + v * v, flat);
        }
        power[k] = s.lo - (0.5f * LOG2_E) * square;
    }
}

template <class Staged, bool EXTRAS>
__device__ __forceinline__ void blend_tile(const Picture& b) {
    struct Shared {
        Staged splat[BLENDERS];
        float4 color[BLENDERS];  // red, green, blue, z
        float4 normal[EXTRAS ? BLENDERS : 1];
        unsigned mask[BLENDERS];
    };
    SHARED(Shared, s);
    int t = threadIdx.x, lane = t % 32, warp = t / 32, view = blockIdx.x / b.tiles, tile = blockIdx.x % b.tiles;
    int left = (tile % b.columns) * TILE, top = (tile / b.columns) * TILE;
    int column = left + 8 * (warp & 1) + lane % 8, row = top + REGION * (warp >> 1) + lane / 8;
    float px = column + 0.5f, py = row + 0.5f;
    float light[BLEND_ROWS], least[BLEND_ROWS], red[BLEND_ROWS], green[BLEND_ROWS], blue[BLEND_ROWS], depth[BLEND_ROWS];
    float median[BLEND_ROWS], nx[BLEND_ROWS], ny[BLEND_ROWS], nz[BLEND_ROWS];
    int alive = 0;
#pragma unroll
    for (int k = 0; k < BLEND_ROWS; k++) {
        bool inside = column < b.width && row + 4 * k < b.height;
        light[k] = 1.f, red[k] = green[k] = blue[k] = depth[k] = median[k] = nx[k] = ny[k] = nz[k] = 0.f;
        least[k] = inside ? LOG2_MIN_ALPHA : INFINITY;  // a pixel that has ended takes nothing more
        alive += inside;
    }

    // the tile's list, then all from the first splat whose pairs had no room
    uint2 range = b.ranges[blockIdx.x];
    unsigned long long cut = b.status->cut;
    unsigned from_list = range.y - range.x, rank = (unsigned)~cut, total = from_list + (cut ? b.status->visible - rank : 0u);
    auto splat_at = [&](unsigned k) { return k < from_list ? b.listed[range.x + k] : b.order[rank + (k - from_list)]; };
    unsigned splat = 0;
    uint4 record[Staged::WORDS];
    auto fetch = [&](unsigned k) {
        if (k >= total) return;
        splat = splat_at(k);
#pragma unroll
        for (int w = 0; w < Staged::WORDS; w++) record[w] = b.records[Staged::WORDS * (size_t)splat + w];
    };
    fetch(t);
    for (unsigned base = 0; base < total; base += BLENDERS) {
        if (!__syncthreads_count(alive)) break;
        unsigned mask = 0;
        if (base + t < total && (base + t < from_list || (int)(splat / b.count) == view)) {
            s.color[t] = s.splat[t].set(record);
            if constexpr (EXTRAS) {
                float3 n = unpack_normal(b.normals[splat]);
                s.normal[t] = make_float4(n.x, n.y, n.z, 0.f);
            }
            mask = region_mask(outline_of<typename Staged::Outline>(record, 0), (float)left, (float)top);
        }
        s.mask[t] = mask;
        fetch(base + BLENDERS + t);  // the next batch travels while this one is drawn
        __syncthreads();
        int held = min(total - base, (unsigned)BLENDERS);
        for (int group = 0; group < held; group += 32) {
            if (!__any_sync(FULL, alive)) break;
            unsigned bits = __ballot_sync(FULL, (s.mask[group + lane] >> warp) & 1);
            for (; bits; bits &= bits - 1) {
                int j = group + __ffs(bits) - 1;
                float power[BLEND_ROWS];
                powers(s.splat[j], px, py, power);
#pragma unroll
                for (int k = 0; k < BLEND_ROWS; k++) {
                    if (power[k] < least[k]) continue;
                    float share = fminf(power_of_two(power[k]), MAX_ALPHA), next = light[k] * (1.f - share);
                    if (next <= MIN_TRANSMITTANCE) {
                        alive--, least[k] = INFINITY;
                        continue;
                    }
                    float4 color = s.color[j];
                    float weight = share * light[k];
                    red[k] += weight * color.x, green[k] += weight * color.y, blue[k] += weight * color.z, depth[k] += weight * color.w;
                    if constexpr (EXTRAS) {
                        float4 n = s.normal[j];
                        nx[k] += weight * n.x, ny[k] += weight * n.y, nz[k] += weight * n.z;
                        if (light[k] > 0.5f && next <= 0.5f) median[k] = color.w;
                    }
                    light[k] = next;
                }
            }
        }
    }
    const Call& c = *b.call;
    const float* background = c.background + 3 * (b.first_view + view);
#pragma unroll
    for (int k = 0; k < BLEND_ROWS; k++) {
        if (column >= b.width || row + 4 * k >= b.height) continue;
        size_t at = ((size_t)(b.first_view + view) * b.height + row + 4 * k) * b.width + column;
        float alpha = 1.f - light[k];
        c.color[3 * at] = red[k] + light[k] * background[0];
        c.color[3 * at + 1] = green[k] + light[k] * background[1];
        c.color[3 * at + 2] = blue[k] + light[k] * background[2];
        c.alpha[at] = alpha;
        c.depth[at] = depth[k] / fmaxf(alpha, 1e-10f);
        if constexpr (EXTRAS) {
            float length = fmaxf(sqrtf(nx[k] * nx[k] + ny[k] * ny[k] + nz[k] * nz[k]), 1e-12f);
            c.median[at] = median[k];
            c.normal[3 * at] = nx[k] / length, c.normal[3 * at + 1] = ny[k] / length, c.normal[3 * at + 2] = nz[k] / length;
        }
    }
}

#define BLEND(NAME, STAGED, EXTRAS)                                                                                                              \
    extern "C" __global__ void __launch_bounds__(BLENDERS) NAME(                                                                                 \
        const uint2* __restrict__ ranges, const unsigned* __restrict__ listed, const unsigned* __restrict__ order,                               \
        const uint4* __restrict__ records, const unsigned* __restrict__ normals, const Call* __restrict__ call, const Status* __restrict__ status, \
        int count, int first_view, int width, int height, int columns, int tiles) {                                                              \
        blend_tile<STAGED, EXTRAS>(                                                                                                              \
            Picture{ranges, listed, order, records, normals, call, status, count, first_view, width, height, columns, tiles});                   \
    }
BLEND(blend, StagedGaussian, false)
BLEND(blend_extras, StagedGaussian, true)
BLEND(blend_surfels, StagedSurfel, false)
BLEND(blend_surfels_extras, StagedSurfel, true)
