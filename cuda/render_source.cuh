// How the kernels read a Gaussian: as five float tensors, or packed once a scene by recon/render/packed.py.
//
// Packed: chunks of 16 bytes, chunk c of Gaussian i at packed[c * N + i], so that a warp reads side by side:
//   0: mean (3 floats), opacity (float)
//   1: quaternion (64 bits: which part is the largest, positive and left out, and the others, 20 bits each), log2 of the scales (21 bits each)
//   2...: the coefficients (halves)
#pragma once

struct Gaussian {
    float3 mean, scale;
    float4 quat;
    float opacity;
};

__device__ __forceinline__ float low_half(unsigned two) {
    return half_value(two & 0xffffu);
}

__device__ __forceinline__ float high_half(unsigned two) {
    return half_value(two >> 16);
}

__device__ __forceinline__ float4 unpack_quaternion(unsigned low, unsigned high) {
    constexpr float STEP = 1.4142135623730951f / 1048575.f, LEAST = 0.70710678118654752f;
    unsigned long long bits = low | ((unsigned long long)high << 32);
    float a = (float)((unsigned)(bits >> 2) & 0xfffffu) * STEP - LEAST, b = (float)((unsigned)(bits >> 22) & 0xfffffu) * STEP - LEAST;
    float c = (float)((unsigned)(bits >> 42) & 0xfffffu) * STEP - LEAST, d = sqrtf(fmaxf(1.f - a * a - b * b - c * c, 0.f));
    unsigned largest = low & 3u;
    float w = largest == 0 ? d : a, x = largest == 1 ? d : largest == 0 ? a : b, y = largest == 2 ? d : largest == 3 ? c : b;
    return make_float4(w, x, y, largest == 3 ? d : c);
}

__device__ __forceinline__ float unpack_scale(unsigned steps) {
    return steps ? exp2f((float)steps * (1.f / 32768.f) - 32.f) : 0.f;
}

template <bool PACKED>
__device__ __forceinline__ Gaussian load_gaussian(const Call& c, int count, int i) {
    Gaussian g;
    if constexpr (PACKED) {
        uint4 a = c.packed[i], b = c.packed[(size_t)count + i];
        g.mean = make_float3(__uint_as_float(a.x), __uint_as_float(a.y), __uint_as_float(a.z));
        g.quat = unpack_quaternion(b.x, b.y);
        g.scale = make_float3(unpack_scale(b.z & 0x1fffffu), unpack_scale(b.z >> 21 | (b.w & 0x3ffu) << 11), unpack_scale(b.w >> 10 & 0x1fffffu));
        g.opacity = __uint_as_float(a.w);
    } else {
        g.mean = make_float3(c.means[3 * (size_t)i], c.means[3 * (size_t)i + 1], c.means[3 * (size_t)i + 2]);
        g.scale = make_float3(c.scales[3 * (size_t)i], c.scales[3 * (size_t)i + 1], c.scales[3 * (size_t)i + 2]);
        g.quat = c.quats[i];
        g.opacity = c.opacities[i];
    }
    return g;
}

// The 3 * (DEGREE + 1)^2 coefficients of Gaussian i.
template <int DEGREE, bool PACKED>
__device__ __forceinline__ void load_coefficients(const Call& c, int count, int i, float* out) {
    constexpr int VALUES = 3 * (DEGREE + 1) * (DEGREE + 1);
    if constexpr (PACKED) {
        for (int k = 0; 8 * k < VALUES; k++) {
            uint4 eight = c.packed[(size_t)(2 + k) * count + i];
            unsigned two[4] = {eight.x, eight.y, eight.z, eight.w};
            for (int j = 0; j < 8; j++)
                if (8 * k + j < VALUES) out[8 * k + j] = j % 2 ? high_half(two[j / 2]) : low_half(two[j / 2]);
        }
    } else if constexpr (VALUES % 4 == 0) {  // rows are then multiples of 16 bytes
        const float4* row = (const float4*)(c.sh + (size_t)i * VALUES);
        for (int k = 0; k < VALUES / 4; k++) {
            float4 four = load_once(row + k);
            out[4 * k] = four.x, out[4 * k + 1] = four.y, out[4 * k + 2] = four.z, out[4 * k + 3] = four.w;
        }
    } else {
        for (int k = 0; k < VALUES; k++) out[k] = __ldg(c.sh + (size_t)i * VALUES + k);
    }
}

// Whether something of the Gaussian may be what recon/render/checks.py refuses: a little stricter, since that looks again where this says so.
__device__ __forceinline__ bool suspect(const Gaussian& g) {
    float all = fabsf(g.mean.x) + fabsf(g.mean.y) + fabsf(g.mean.z) + fabsf(g.scale.x) + fabsf(g.scale.y) + fabsf(g.scale.z);
    float length = g.quat.x * g.quat.x + g.quat.y * g.quat.y + g.quat.z * g.quat.z + g.quat.w * g.quat.w;
    bool fine = all < INFINITY && length > 0.9803f && length < 1.0199f && g.opacity >= 0.f && g.opacity <= 1.f;
    return !(fine && fminf(g.scale.x, fminf(g.scale.y, g.scale.z)) >= 0.f);
}

__device__ __forceinline__ bool suspect_camera(const float* K, const float* T) {
    float off = 0.f, all = 0.f;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            float dot = T[4 * i] * T[4 * j] + T[4 * i + 1] * T[4 * j + 1] + T[4 * i + 2] * T[4 * j + 2];
            off = fmaxf(off, fabsf(dot - (i == j)));
        }
    for (int i = 0; i < 16; i++) all += fabsf(T[i]) + (i < 9 ? fabsf(K[i]) : 0.f);
    bool last = T[12] == 0.f && T[13] == 0.f && T[14] == 0.f && T[15] == 1.f && K[3] == 0.f && K[6] == 0.f && K[7] == 0.f && K[8] == 1.f;
    return !(off < 9e-4f && all < INFINITY && last && K[0] > 0.f && K[4] > 0.f);
}
