// One block a tile of 16 x 16 pixels, one warp 8 x 4 of them: splats front to back, those that do not touch the warp's pixels skipped by a mask.
#pragma once

struct Blend {
    const uint2* ranges;
    const unsigned* order;
    const uint4* records;
    const float* normals;
    const float* background;
    int width, height, columns;
    float *color, *depth, *alpha, *median, *normal;
};

// Which of the tile's 8 x 4 regions the ellipse touches: bit 2 * row + column.
__device__ __forceinline__ unsigned region_mask(const Ellipse& e, float x, float y) {
    unsigned mask = 0;
    for (int row = 0; row < 4; row++) {
        float top = y + 4 * row + 0.5f, left, right;
        if (!strip_span(e, top, top + 3.f, left, right)) continue;
        if (left <= x + 7.5f && right >= x + 0.5f) mask |= 1u << (2 * row);
        if (left <= x + 15.5f && right >= x + 8.5f) mask |= 2u << (2 * row);
    }
    return mask;
}

template <bool EXTRAS>
__device__ __forceinline__ void blend_tile(const Blend& b) {
    struct Shared {
        float4 shape[BLOCK];  // x, y, la, lb
        float4 color[BLOCK];  // red, green, blue, z
        float2 rest[BLOCK];   // lc, log2 opacity
        float4 normal[EXTRAS ? BLOCK : 1];
        unsigned mask[BLOCK];
    };
    SHARED(Shared, s);
    int t = threadIdx.x, lane = t % 32, warp = t / 32;
    int left = (blockIdx.x % b.columns) * TILE, top = (blockIdx.x / b.columns) * TILE;
    int column = left + 8 * (warp & 1) + lane % 8, row = top + 4 * (warp >> 1) + lane / 8;
    bool inside = column < b.width && row < b.height, alive = inside;
    float px = inside ? column + 0.5f : INFINITY, py = row + 0.5f;  // at infinity nothing covers a pixel
    float light = 1.f, red = 0.f, green = 0.f, blue = 0.f, depth = 0.f, median = 0.f, nx = 0.f, ny = 0.f, nz = 0.f;

    uint2 range = b.ranges[blockIdx.x];
    unsigned splat = 0;
    uint4 first = make_uint4(0, 0, 0, 0), second = first;
    if (range.x + t < range.y) {
        splat = b.order[range.x + t];
        first = b.records[2 * (size_t)splat], second = b.records[2 * (size_t)splat + 1];
    }
    for (unsigned base = range.x; base < range.y; base += BLOCK) {
        if (!__syncthreads_count(alive)) break;
        unsigned mask = 0;
        if (base + t < range.y) {
            Splat k = unpack(first, second);
            s.shape[t] = make_float4(k.x, k.y, k.la, k.lb);
            s.rest[t] = make_float2(k.lc, k.lo);
            s.color[t] = make_float4(k.red, k.green, k.blue, k.z);
            if constexpr (EXTRAS) {
                const float* n = b.normals + 3 * (size_t)splat;
                s.normal[t] = make_float4(n[0], n[1], n[2], 0.f);
            }
            mask = region_mask(ellipse(k), (float)left, (float)top);
        }
        s.mask[t] = mask;
        if (base + BLOCK + t < range.y) {  // the next batch travels while this one is drawn
            splat = b.order[base + BLOCK + t];
            first = b.records[2 * (size_t)splat], second = b.records[2 * (size_t)splat + 1];
        }
        __syncthreads();
        int held = min(range.y - base, (unsigned)BLOCK);
        for (int group = 0; group < held; group += 32) {
            if (!__any_sync(FULL, alive)) break;
            unsigned bits = __ballot_sync(FULL, (s.mask[group + lane] >> warp) & 1);
            for (; bits; bits &= bits - 1) {
                int j = group + __ffs(bits) - 1;
                float4 shape = s.shape[j];
                float2 rest = s.rest[j];
                float dy = py - shape.y, u = shape.z * (px - shape.x) + shape.w * dy, v = rest.x * dy;
                float power = rest.y - u * u - v * v;
                if (power < LOG2_MIN_ALPHA) continue;
                float share = fminf(power_of_two(power), MAX_ALPHA), next = light * (1.f - share);
                if (next <= MIN_TRANSMITTANCE) {
                    alive = false, px = INFINITY;
                    continue;
                }
                float4 color = s.color[j];
                float weight = share * light;
                red += weight * color.x, green += weight * color.y, blue += weight * color.z, depth += weight * color.w;
                if constexpr (EXTRAS) {
                    float4 n = s.normal[j];
                    nx += weight * n.x, ny += weight * n.y, nz += weight * n.z;
                    if (light > 0.5f && next <= 0.5f) median = color.w;
                }
                light = next;
            }
        }
    }
    if (!inside) return;
    size_t at = (size_t)row * b.width + column;
    float alpha = 1.f - light;
    b.color[3 * at] = red + light * b.background[0];
    b.color[3 * at + 1] = green + light * b.background[1];
    b.color[3 * at + 2] = blue + light * b.background[2];
    b.alpha[at] = alpha;
    b.depth[at] = depth / fmaxf(alpha, 1e-10f);
    if constexpr (EXTRAS) {
        float length = fmaxf(sqrtf(nx * nx + ny * ny + nz * nz), 1e-12f);
        b.median[at] = median;
        b.normal[3 * at] = nx / length, b.normal[3 * at + 1] = ny / length, b.normal[3 * at + 2] = nz / length;
    }
}

#define BLEND(NAME, EXTRAS)                                                                                                                \
    extern "C" __global__ void __launch_bounds__(BLOCK) NAME(                                                                              \
        const uint2* __restrict__ ranges, const unsigned* __restrict__ order, const uint4* __restrict__ records,                           \
        const float* __restrict__ normals, const float* __restrict__ background, int width, int height, int columns, float* color,         \
        float* depth, float* alpha, float* median, float* normal) {                                                                        \
        blend_tile<EXTRAS>(Blend{ranges, order, records, normals, background, width, height, columns, color, depth, alpha, median, normal}); \
    }
BLEND(blend, false)
BLEND(blend_extras, true)
