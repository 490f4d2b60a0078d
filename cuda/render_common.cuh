// Shared by the renderer's kernels: constants, what a call brings, the 32-byte record of a splat, and where an ellipse crosses a strip of pixel rows.
//
// A record is one memory sector, since the blending kernel gathers it once for each tile that a splat touches:
//   a: x, y (pixels), la, lb        b: lc, z, log2 opacity (16 bits, fixed point) | red (half), green (half) | blue (half)
// A splat covers the pixel at (x + dx, y + dy) by 2^(lo - u^2 - v^2), u = la dx + lb dy, v = lc dy, lo = log2 opacity.
// The PyTorch twin of everything here is recon/render/projection.py and recon/render/specification.py.
#pragma once

constexpr int BLOCK = 256;              // threads of a block, in every kernel
constexpr int WARPS = BLOCK / 32;
constexpr int TILE = 16;                // pixels; a block blends one tile, a warp 8 x 4 pixels of it
constexpr float DILATION = 0.3f;        // the constants of recon/render/options.py
constexpr float MAX_ALPHA = 0.999f;
constexpr float MIN_TRANSMITTANCE = 1e-4f;
constexpr float FIELD_MARGIN = 0.15f;
constexpr float LOG2_MIN_ALPHA = -7.994353436858858f;  // log2(1 / 255)
constexpr float LOG2_E = 1.4426950408889634f;
constexpr float SQRT_HALF_LOG2_E = 0.8493218002880191f;
constexpr float SURFEL_FILTER = 2.f;
constexpr float OPACITY_STEPS = 8191.f;  // of -log2 opacity: 0 to 8 in 16 bits
constexpr float REACH_MARGIN = 2e-3f;    // keeps the tile tests on the safe side of rounding
constexpr unsigned LONG_LISTS = 528;     // blocks that all pairs could be shared among: four on each of the H200's processors
constexpr unsigned LEAST_LONG = 1024;    // pairs of a tile that are long for any picture
constexpr unsigned CULLED = 0xffffffffu;
constexpr unsigned FULL = 0xffffffffu;

// All that may change from call to call without a new CUDA graph, in device memory; recon/render/cuda_table.py writes it.
struct Call {
    const float* means;  // [N, 3]
    const float4* quats;
    const float* scales;     // [N, 3]
    const float* opacities;  // [N]
    const float* sh;         // [N, K, 3]
    const uint4* packed;     // instead of the five: see render_source.cuh
    const float *K, *T;      // [C, 3, 3], [C, 4, 4] camera to world
    const float* background;                        // [C, 3]
    float *color, *depth, *alpha, *median, *normal;  // [C, H, W, ...]; the last two with extras only
    float near, far, radius_clip, unused;
};

// What a picture tells: zero at the start. The host reads pairs and flags, the kernels the rest.
struct Status {
    unsigned long long pairs;  // (tile, splat) pairs there are, whether they had room or not
    unsigned long long cut;    // ~(place << 32 | rank) of the first splat in order of depth whose pairs had no room; 0: all had
    unsigned visible, flags;   // flags: what is wrong with the values
    unsigned low, high;        // ~ of the smallest and the largest depth key
};
constexpr int STATUS_WORDS = sizeof(Status) / 8;
constexpr unsigned WRONG_GAUSSIANS = 1, WRONG_CAMERAS = 2;
constexpr unsigned KEY_BITS = 24, LAST_KEY = (1u << KEY_BITS) - 1;  // depths are sorted by so many bits of their range; the last: not seen

// Copies the next call from page-locked main memory, slots [ahead, words] that the host fills in turn; `calls`: how many were copied. A kernel of the
// graph, so that nothing waits for the copy engine in front of it. Meanwhile all blocks but the first put zeros into `zero` [zeros], on 16 bytes.
extern "C" __global__ void __launch_bounds__(BLOCK) bring_call(
    const unsigned long long* slots, int words, int ahead, unsigned* calls, unsigned long long* table, unsigned* zero, int zeros) {
    if (blockIdx.x > 0) {
        int first = (blockIdx.x - 1) * BLOCK + threadIdx.x, step = (gridDim.x - 1) * BLOCK;
        for (int k = first; k < zeros / 4; k += step) ((uint4*)zero)[k] = make_uint4(0, 0, 0, 0);
        if (first < zeros % 4) zero[zeros / 4 * 4 + first] = 0;
        return;
    }
    const volatile unsigned long long* slot = slots + (size_t)(*calls % ahead) * words;
    for (int w = threadIdx.x; w < words; w += BLOCK) table[w] = slot[w];
    __syncthreads();
    if (threadIdx.x == 0) *calls += 1;
}

__device__ __forceinline__ unsigned pack_halves(float low, float high) {
    return (unsigned)half_bits(low) | ((unsigned)half_bits(high) << 16);
}

__device__ __forceinline__ unsigned warp_max(unsigned value) {
    for (int step = 16; step > 0; step /= 2) value = max(value, __shfl_xor_sync(FULL, value, step));
    return value;
}

// A unit vector as a point of the octahedron, 16 bits a coordinate (Meyer et al. 2010).
__device__ __forceinline__ unsigned pack_normal(float x, float y, float z) {
    float n = 1.f / fmaxf(fabsf(x) + fabsf(y) + fabsf(z), 1e-30f), u = x * n, v = y * n;
    if (z < 0.f) {
        float folded = (1.f - fabsf(v)) * (u < 0.f ? -1.f : 1.f);
        v = (1.f - fabsf(u)) * (v < 0.f ? -1.f : 1.f), u = folded;
    }
    return (unsigned)(u * 32767.f + 32767.5f) | ((unsigned)(v * 32767.f + 32767.5f) << 16);
}

__device__ __forceinline__ float3 unpack_normal(unsigned bits) {
    float u = (float)(bits & 0xffffu) * (1.f / 32767.f) - 1.f, v = (float)(bits >> 16) * (1.f / 32767.f) - 1.f;
    float z = 1.f - fabsf(u) - fabsf(v), below = fmaxf(-z, 0.f);
    u += u < 0.f ? below : -below, v += v < 0.f ? below : -below;
    float n = rsqrtf(u * u + v * v + z * z);
    return make_float3(u * n, v * n, z * n);
}

struct Splat {
    float x, y, la, lb, lc, z, lo, red, green, blue;
};

__device__ __forceinline__ void pack(const Splat& s, uint4& a, uint4& b) {
    a = make_uint4(__float_as_uint(s.x), __float_as_uint(s.y), __float_as_uint(s.la), __float_as_uint(s.lb));
    unsigned steps = (unsigned)(fminf(-s.lo, 8.f) * OPACITY_STEPS + 0.5f);
    b = make_uint4(__float_as_uint(s.lc), __float_as_uint(s.z), steps | ((unsigned)half_bits(s.red) << 16), pack_halves(s.green, s.blue));
}

__device__ __forceinline__ Splat unpack(const uint4& a, const uint4& b) {
    Splat s;
    s.x = __uint_as_float(a.x), s.y = __uint_as_float(a.y), s.la = __uint_as_float(a.z), s.lb = __uint_as_float(a.w);
    s.lc = __uint_as_float(b.x), s.z = __uint_as_float(b.y);
    s.lo = -(float)(b.z & 0xffffu) * (1.f / OPACITY_STEPS);
    s.red = half_value(b.z >> 16), s.green = half_value(b.w & 0xffffu), s.blue = half_value(b.w >> 16);
    return s;
}

// The ellipse u^2 + v^2 <= reach outside of which a splat covers less than 1/255, ready for tests against strips.
struct Ellipse {
    float x, y, lb, lc, inverse_la, reach, half_height, tip;  // tip: dy of its leftmost point, -tip that of its rightmost
};

// Rounding is spelled out, so that counting and writing pairs come to the same numbers whatever the compiler would contract; roots and inverses are
// the GPU's approximations, far within the margin.
__device__ __forceinline__ Ellipse ellipse(const Splat& s) {
    Ellipse e;
    e.x = s.x, e.y = s.y, e.lb = s.lb, e.lc = s.lc;
    e.inverse_la = inverse(s.la);
    e.reach = __fadd_rn(s.lo, REACH_MARGIN - LOG2_MIN_ALPHA);
    float radius = root(e.reach);
    e.half_height = __fmul_rn(radius, inverse(s.lc));
    float slope = root(__fmaf_rn(s.lc, s.lc, __fmul_rn(s.lb, s.lb)));
    e.tip = __fmul_rn(__fmul_rn(s.lb, e.half_height), inverse(slope));
    return e;
}

__device__ __forceinline__ float clamped(float value, float low, float high) {
    return fminf(fmaxf(value, low), high);
}

// Leftmost and rightmost x of the ellipse between the rows whose pixel centres are at `top` and `bottom`; false where it does not reach them.
__device__ __forceinline__ bool strip_span(const Ellipse& e, float top, float bottom, float& left, float& right) {
    float low = fmaxf(__fadd_rn(top, -e.y), -e.half_height), high = fminf(__fadd_rn(bottom, -e.y), e.half_height);
    if (!(low <= high)) return false;
    float d = clamped(-e.tip, low, high), v = __fmul_rn(e.lc, d);
    float width = root(fmaxf(__fmaf_rn(-v, v, e.reach), 0.f));
    right = __fmaf_rn(__fmaf_rn(-e.lb, d, width), e.inverse_la, e.x);
    d = clamped(e.tip, low, high), v = __fmul_rn(e.lc, d);
    width = root(fmaxf(__fmaf_rn(-v, v, e.reach), 0.f));
    left = __fmaf_rn(__fmaf_rn(-e.lb, d, -width), e.inverse_la, e.x);
    return true;
}

// Tiles [first, last) of one row of tiles that the ellipse touches.
__device__ __forceinline__ void tile_span(const Ellipse& e, int row, int columns, int& first, int& last) {
    float top = (float)(row * TILE) + 0.5f, left, right;
    first = last = 0;
    if (!strip_span(e, top, top + (TILE - 1), left, right)) return;
    float limit = (float)columns;
    first = (int)clamped(ceilf(__fmul_rn(__fadd_rn(left, 0.5f - TILE), 1.f / TILE)), 0.f, limit);
    last = (int)clamped(floorf(__fmul_rn(__fadd_rn(right, -0.5f), 1.f / TILE)) + 1.f, 0.f, limit);
    last = max(first, last);
}

// Rows of tiles [first, last) that can be touched.
__device__ __forceinline__ void row_span(const Ellipse& e, int rows, int& first, int& last) {
    float limit = (float)rows;
    first = (int)clamped(ceilf(__fmul_rn(__fadd_rn(__fadd_rn(e.y, -e.half_height), 0.5f - TILE), 1.f / TILE)), 0.f, limit);
    last = (int)clamped(floorf(__fmul_rn(__fadd_rn(__fadd_rn(e.y, e.half_height), -0.5f), 1.f / TILE)) + 1.f, 0.f, limit);
    last = max(first, last);
}

// The same of a box, outside of which a surfel covers less than 1/255: tiles and strips that its inside touches.
struct Box {
    float left, top, right, bottom;  // pixels
};

__device__ __forceinline__ bool strip_span(const Box& b, float top, float bottom, float& left, float& right) {
    left = b.left - 0.5f, right = b.right + 0.5f;
    return b.top <= bottom + 0.5f && b.bottom >= top - 0.5f;
}

__device__ __forceinline__ void tile_span(const Box& b, int, int columns, int& first, int& last) {
    first = (int)clamped(floorf(b.left * (1.f / TILE)), 0.f, (float)columns);
    last = max(first, (int)clamped(ceilf(b.right * (1.f / TILE)), 0.f, (float)columns));
}

__device__ __forceinline__ void row_span(const Box& b, int rows, int& first, int& last) {
    first = (int)clamped(floorf(b.top * (1.f / TILE)), 0.f, (float)rows);
    last = max(first, (int)clamped(ceilf(b.bottom * (1.f / TILE)), 0.f, (float)rows));
}

// What of a record the tile tests need.
template <class Outline>
__device__ __forceinline__ Outline outline_of(const uint4* records, size_t r);

template <>
__device__ __forceinline__ Ellipse outline_of<Ellipse>(const uint4* records, size_t r) {
    return ellipse(unpack(records[2 * r], records[2 * r + 1]));
}

template <>
__device__ __forceinline__ Box outline_of<Box>(const uint4* records, size_t r) {
    uint4 d = records[4 * r + 3];
    return Box{__uint_as_float(d.x), __uint_as_float(d.y), __uint_as_float(d.z), __uint_as_float(d.w)};
}
