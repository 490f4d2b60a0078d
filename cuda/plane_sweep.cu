// The plane sweep: dot products of a reference's features with the features of sources, at a series of inverse depths, and their gradients.
// Driven by models/layers/plane_sweep/cuda.py, whose PyTorch twin is specification.py there. Compiled by NVRTC, and for the host by the tests.
//
// Features lie channels last, each group of channels filled up to whole chunks of 16 bytes. A team of LANES threads has one cell of the reference and
// one group; lane l holds the chunks l, l + LANES, ... of the reference's features in registers. The dot products with the four texels around a place
// do not depend on where between them it lies: a team keeps them while it walks along the hypotheses, and reads only when the place leaves its square.
// Backwards, the weights of the four texels are summed while the place stays in its square, and applied when it leaves.
#ifndef ELEMENT  // type of the features: 0 float, 1 half, 2 bfloat16
#define ELEMENT 0
#endif
#ifndef LANES  // threads of a team, a power of two up to 32
#define LANES 8
#endif
#ifndef CHUNKS  // of each lane, at most
#define CHUNKS 4
#endif
#ifndef SLOTS  // hypotheses that a lane keeps in the forward kernel: a team takes LANES * SLOTS
#define SLOTS 1
#endif

#include "half.cuh"

constexpr int BLOCK = 256;
constexpr int VALUES = ELEMENT == 0 ? 4 : 8;  // channels of a chunk
constexpr unsigned FULL = 0xffffffffu;
constexpr float NEAREST_Z = 1e-4f, LEAST_WEIGHT = 1e-6f, NONE_SEES = -1.f;  // the constants of arguments.py
constexpr float LOWEST = -3.402823466e38f;
constexpr int NOWHERE = -2;  // no square begins there: the first begins at -1

struct Chunk {
    float value[VALUES];
};

__device__ __forceinline__ Chunk load(const uint4* place) {
    const uint4 bits = __ldg(place);
    const unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
    Chunk chunk;
#pragma unroll
    for (int i = 0; i < VALUES; i++) {
        if (ELEMENT == 0) chunk.value[i] = __uint_as_float(words[i]);
        if (ELEMENT == 1) chunk.value[i] = half_value((words[i / 2] >> (i % 2 * 16)) & 0xffffu);
        if (ELEMENT == 2) chunk.value[i] = __uint_as_float(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
    }
    return chunk;
}

struct Features {  // one lane's share
    Chunk chunk[CHUNKS];
};

// Adds four floats to 16 aligned bytes.
__device__ __forceinline__ void add_four(float* place, float a, float b, float c, float d) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    atomicAdd((float4*)place, make_float4(a, b, c, d));
#else
    atomicAdd(place, a), atomicAdd(place + 1, b), atomicAdd(place + 2, c), atomicAdd(place + 3, d);
#endif
}

__device__ __forceinline__ float team_sum(float value) {
    for (int by = LANES / 2; by; by /= 2) value += __shfl_xor_sync(FULL, value, by);
    return value;
}

// Which cell of which reference a team has. All threads of a warp stay to the end, for they shuffle: spare ones repeat the last cell.
struct Team {
    int lane, group, pixel, part, reference;
    bool live;
    __device__ Team(int references, int parts, int pixels, int groups) {
        const unsigned teams = (unsigned)references * parts * pixels * groups;  // the driver sees to it that they fit
        unsigned rest = blockIdx.x * (BLOCK / LANES) + threadIdx.x / LANES;
        live = rest < teams;
        rest = live ? rest : teams - 1;
        lane = threadIdx.x % LANES;
        group = rest % groups, rest /= groups;
        pixel = rest % pixels, rest /= pixels;
        part = rest % parts;
        reference = rest / parts;
    }
};

// The way of a reference's cell through a source: at inverse depth w it lies at p + w o (homogeneous, 0..1 across the picture).
struct Way {
    float px, py, pz, ox, oy, oz;
    __device__ Way(const float* m, const float* o, float u, float v) {
        px = __fmaf_rn(m[0], u, __fmaf_rn(m[1], v, m[2]));
        py = __fmaf_rn(m[3], u, __fmaf_rn(m[4], v, m[5]));
        pz = __fmaf_rn(m[6], u, __fmaf_rn(m[7], v, m[8]));
        ox = o[0], oy = o[1], oz = o[2];
    }
};

// A square of four texels, named by its first, and how far inside it (0..1) a place lies.
struct Place {
    bool seen;
    int x, y;
    float right, down;
};

// Rounding is spelled out, so that both kernels come to the same places.
__device__ __forceinline__ Place place(const Way& way, float first, float step, int plane, int width, int height) {
    const float w = fmaxf(__fadd_rn(first, __fmul_rn((float)plane, step)), 0.f);
    const float z = __fmaf_rn(w, way.oz, way.pz), scale = 1.f / z;
    const float u = __fmul_rn(__fmaf_rn(w, way.ox, way.px), scale), v = __fmul_rn(__fmaf_rn(w, way.oy, way.py), scale);
    Place p;
    p.seen = z > NEAREST_Z && u > 0.f && u < 1.f && v > 0.f && v < 1.f;
    const float x = __fmaf_rn(u, (float)width, -0.5f), y = __fmaf_rn(v, (float)height, -0.5f);
    const float left = floorf(x), top = floorf(y);
    p.x = p.seen ? (int)left : NOWHERE, p.y = p.seen ? (int)top : NOWHERE;
    p.right = x - left, p.down = y - top;
    return p;
}

// Weights of the four texels, row by row.
__device__ __forceinline__ void shares(const Place& p, float share[4]) {
    share[3] = p.right * p.down;
    share[2] = p.down - share[3];
    share[1] = p.right - share[3];
    share[0] = 1.f - p.right - share[2];
}

// The features of one picture as a team sees them.
struct Picture {
    int width, height, lane, chunks;
    size_t first, stride;  // of the team's group in the first texel, and from texel to texel, in chunks
    __device__ bool has(int x, int y) const { return x >= 0 && y >= 0 && x < width && y < height; }
    __device__ bool has_chunk(int c) const { return lane + c * LANES < chunks; }
    __device__ size_t at(int x, int y, int c) const { return first + ((size_t)y * width + x) * stride + lane + c * LANES; }
};

__device__ __forceinline__ Features read(const uint4* features, const Picture& picture, int x, int y) {
    Features texel{};
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
        if (picture.has_chunk(c)) texel.chunk[c] = load(features + picture.at(x, y, c));
    return texel;
}

// This lane's part of the dot products with the four texels of a square; 0 outside the picture.
__device__ __forceinline__ void dots(const uint4* features, const Picture& picture, const Features& reference, int x, int y, float dot[4]) {
#pragma unroll
    for (int t = 0; t < 4; t++) {
        dot[t] = 0.f;
        if (!picture.has(x + t % 2, y + t / 2)) continue;
        const Features texel = read(features, picture, x + t % 2, y + t / 2);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
            for (int i = 0; i < VALUES; i++) dot[t] += reference.chunk[c].value[i] * texel.chunk[c].value[i];
    }
}

// similarity: [M, S, G, D, h, w] of each source where `best` is null, else [M, G, D, h, w] the mean over the sources, with `best` and the number of
// the source that has it (-1: none) of the same shape. weights [M, S, h, w] or null: all 1.
extern "C" __global__ void __launch_bounds__(BLOCK, 3) plane_sweep_forward(
    const uint4* __restrict__ references, const uint4* __restrict__ sources, const long long* __restrict__ source_index,
    const float* __restrict__ matrix, const float* __restrict__ offset, const float* __restrict__ first, const float* __restrict__ step,
    const float* __restrict__ weights, int count, int sources_each, int source_count, int groups, int chunks, int planes, int height, int width,
    int source_height, int source_width, float* __restrict__ similarity, float* __restrict__ best, signed char* __restrict__ best_source,
    unsigned char* __restrict__ seen) {
    const int pixels = height * width;
    const Team team(count, (planes + LANES * SLOTS - 1) / (LANES * SLOTS), pixels, groups);
    const int row = team.pixel / width, column = team.pixel % width, m = team.reference, first_plane = team.part * LANES * SLOTS;
    const size_t cell = (size_t)m * pixels + team.pixel, stride = (size_t)groups * chunks;
    const Picture own{width, height, team.lane, chunks, (size_t)m * pixels * stride + team.group * chunks, stride};
    const Features reference = read(references, own, column, row);
    const float w0 = first[cell], dw = step[cell];
    float sum[SLOTS] = {}, weight_sum[SLOTS] = {}, greatest[SLOTS];  // of the hypotheses that this lane keeps
    int winner[SLOTS];
    for (int i = 0; i < SLOTS; i++) greatest[i] = LOWEST, winner[i] = -1;
    for (int s = 0; s < sources_each; s++) {
        const size_t pair = (size_t)m * sources_each + s;
        const long long n = source_index[pair];
        const bool there = n >= 0 && n < source_count;
        const Way way(matrix + pair * 9, offset + pair * 3, (column + 0.5f) / width, (row + 0.5f) / height);
        const Picture picture{source_width, source_height, team.lane, chunks, (size_t)n * source_height * source_width * stride + team.group * chunks, stride};
        const float weight = weights ? weights[pair * pixels + team.pixel] : 1.f;
        int x = NOWHERE, y = NOWHERE;
        float dot[4] = {};
#pragma unroll
        for (int i = 0; i < SLOTS; i++) {
            float kept = 0.f;
            bool kept_seen = false;
#pragma unroll 1
            for (int lane = 0; lane < LANES; lane++) {
                Place p = place(way, w0, dw, first_plane + i * LANES + lane, source_width, source_height);
                p.seen = p.seen && there;
                if (p.seen && (p.x != x || p.y != y)) x = p.x, y = p.y, dots(sources, picture, reference, x, y, dot);
                float share[4], value = 0.f;
                shares(p, share);
                for (int t = 0; t < 4; t++) value += share[t] * dot[t];
                value = team_sum(p.seen ? value : 0.f);
                if (lane == team.lane) kept = value, kept_seen = p.seen;
            }
            const int plane = first_plane + i * LANES + team.lane;
            const bool writes = team.live && plane < planes;
            if (writes && team.group == 0) seen[(pair * planes + plane) * pixels + team.pixel] = kept_seen;
            if (writes && !best) similarity[((pair * groups + team.group) * planes + plane) * pixels + team.pixel] = kept;
            if (!kept_seen) continue;
            sum[i] += weight * kept, weight_sum[i] += weight;
            if (kept > greatest[i]) greatest[i] = kept, winner[i] = s;
        }
    }
    if (!best || !team.live) return;
#pragma unroll
    for (int i = 0; i < SLOTS; i++) {
        const int plane = first_plane + i * LANES + team.lane;
        if (plane >= planes) continue;
        const size_t at = (((size_t)m * groups + team.group) * planes + plane) * pixels + team.pixel;
        similarity[at] = sum[i] / fmaxf(weight_sum[i], LEAST_WEIGHT);
        best[at] = winner[i] < 0 ? NONE_SEES : greatest[i];
        best_source[at] = (signed char)winner[i];
    }
}

// The texels of a square and what its hypotheses ask of them.
struct Square {
    int x = NOWHERE, y = NOWHERE;
    float mean[4] = {}, best[4] = {};  // sums of the texels' shares times the gradient of the mean and of the greatest
};

// Adds what a square's hypotheses ask to the gradients of the reference (this lane's share) and of the source (or null), and returns this lane's part
// of what they ask of the weight.
__device__ __forceinline__ float apply(const Square& square, float weight, const uint4* sources, const Picture& picture, const Features& reference,
                                       Features& gradient, float* source_slope) {
    float felt = 0.f;
#pragma unroll
    for (int t = 0; t < 4; t++) {
        const int x = square.x + t % 2, y = square.y + t / 2;
        if (!picture.has(x, y)) continue;
        const float share = weight * square.mean[t] + square.best[t];
        const Features texel = read(sources, picture, x, y);
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            if (!picture.has_chunk(c)) continue;
            const float *own = reference.chunk[c].value, *other = texel.chunk[c].value;
#pragma unroll
            for (int i = 0; i < VALUES; i++) {
                gradient.chunk[c].value[i] += share * other[i];
                felt += square.mean[t] * own[i] * other[i];
            }
            if (!source_slope) continue;
            float* target = source_slope + picture.at(x, y, c) * VALUES;
#pragma unroll
            for (int i = 0; i < VALUES; i += 4) add_four(target + i, share * own[i], share * own[i + 1], share * own[i + 2], share * own[i + 3]);
        }
    }
    return felt;
}

// Gradients of the float32 sum behind `similarity` and `best`. `slope`: gradient of the similarity, [M, S, G, D, h, w] where `each` is 1, else
// [M, G, D, h, w] and divided by the sum of weights; `best_slope` [M, G, D, h, w] or null. `pull`: slope times the mean, or null where no gradient of
// the weights is wanted. Outputs, channels last as the features: reference_slope [M, h, w, G C] is written, source_slope [N, H, W, G C] is added to,
// each may be null; weight_slope [M, S, G, h, w] is written where `pull` is given.
extern "C" __global__ void __launch_bounds__(BLOCK, 2) plane_sweep_backward(
    const uint4* __restrict__ references, const uint4* __restrict__ sources, const long long* __restrict__ source_index,
    const float* __restrict__ matrix, const float* __restrict__ offset, const float* __restrict__ first, const float* __restrict__ step,
    const float* __restrict__ weights, int count, int sources_each, int source_count, int groups, int chunks, int planes, int height, int width,
    int source_height, int source_width, const float* __restrict__ slope, int each, const float* __restrict__ best_slope,
    const signed char* __restrict__ best_source, const float* __restrict__ pull, float* __restrict__ reference_slope,
    float* __restrict__ source_slope, float* __restrict__ weight_slope) {
    const int pixels = height * width;
    const Team team(count, 1, pixels, groups);
    const int row = team.pixel / width, column = team.pixel % width, m = team.reference;
    const size_t cell = (size_t)m * pixels + team.pixel, stride = (size_t)groups * chunks;
    const Picture own{width, height, team.lane, chunks, (size_t)m * pixels * stride + team.group * chunks, stride};
    const Features reference = read(references, own, column, row);
    const float w0 = first[cell], dw = step[cell];
    Features gradient{};
    for (int s = 0; s < sources_each; s++) {
        const size_t pair = (size_t)m * sources_each + s;
        const long long n = source_index[pair];
        const bool there = n >= 0 && n < source_count && team.live;
        const Way way(matrix + pair * 9, offset + pair * 3, (column + 0.5f) / width, (row + 0.5f) / height);
        const Picture picture{source_width, source_height, team.lane, chunks, (size_t)n * source_height * source_width * stride + team.group * chunks, stride};
        const float weight = weights ? weights[pair * pixels + team.pixel] : 1.f;
        const size_t pooled_at = ((size_t)m * groups + team.group) * planes, slope_at = each ? (pair * groups + team.group) * planes : pooled_at;
        float felt = 0.f, pulled = 0.f;  // this source's part of the gradient of its weight: by lane, and as a whole
        Square square;
        for (int plane = 0; there && plane <= planes; plane++) {
            const Place p = plane < planes ? place(way, w0, dw, plane, source_width, source_height) : Place{false, NOWHERE, NOWHERE, 0.f, 0.f};
            if (p.x != square.x || p.y != square.y) {
                if (square.x != NOWHERE) felt += apply(square, weight, sources, picture, reference, gradient, source_slope);
                square = Square{};
                square.x = p.x, square.y = p.y;
            }
            if (!p.seen) continue;
            const float along = slope ? slope[(slope_at + plane) * pixels + team.pixel] : 0.f;
            const size_t at = (pooled_at + plane) * pixels + team.pixel;
            const float extra = best_slope && best_source[at] == s ? best_slope[at] : 0.f;
            float share[4];
            shares(p, share);
            for (int t = 0; t < 4; t++) square.mean[t] += along * share[t], square.best[t] += extra * share[t];
            if (pull) pulled += pull[at];
        }
        if (pull) {
            felt = team_sum(felt) - pulled;
            if (team.live && team.lane == 0) weight_slope[(pair * groups + team.group) * pixels + team.pixel] = felt;
        }
    }
    if (!reference_slope || !team.live) return;
#pragma unroll
    for (int c = 0; c < CHUNKS; c++)
        if (own.has_chunk(c))
            for (int i = 0; i < VALUES; i++) reference_slope[own.at(column, row, c) * VALUES + i] = gradient.chunk[c].value[i];
}
