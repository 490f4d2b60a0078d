// One thread a Gaussian: cull, project, colour; one 32-byte record and a depth key come out.
#pragma once

struct View {
    float W[9], t[3], eye[3], fx, fy, skew, cx, cy;
};

__device__ __forceinline__ View view_of(const float* __restrict__ K, const float* __restrict__ T) {
    View v;
    for (int i = 0; i < 3; i++) {
        v.eye[i] = T[4 * i + 3];
        for (int j = 0; j < 3; j++) v.W[3 * i + j] = T[4 * j + i];
    }
    for (int i = 0; i < 3; i++) v.t[i] = -(v.W[3 * i] * v.eye[0] + v.W[3 * i + 1] * v.eye[1] + v.W[3 * i + 2] * v.eye[2]);
    v.fx = K[0], v.skew = K[1], v.cx = K[2], v.fy = K[4], v.cy = K[5];
    return v;
}

__device__ __forceinline__ void rotation(float4 q, float R[9]) {
    float n = rsqrtf(q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w);
    float w = q.x * n, x = q.y * n, y = q.z * n, z = q.w * n;
    R[0] = 1 - 2 * (y * y + z * z), R[1] = 2 * (x * y - w * z), R[2] = 2 * (x * z + w * y);
    R[3] = 2 * (x * y + w * z), R[4] = 1 - 2 * (x * x + z * z), R[5] = 2 * (y * z - w * x);
    R[6] = 2 * (x * z - w * y), R[7] = 2 * (y * z + w * x), R[8] = 1 - 2 * (x * x + y * y);
}

// The basis functions of recon/spherical_harmonics.py.
template <int DEGREE>
__device__ __forceinline__ void harmonics(float x, float y, float z, float* w) {
    w[0] = 0.28209479177387814f;
    if constexpr (DEGREE >= 1) w[1] = -0.4886025119029199f * y, w[2] = 0.4886025119029199f * z, w[3] = -0.4886025119029199f * x;
    if constexpr (DEGREE >= 2) {
        float zz = z * z, c2 = x * x - y * y, s2 = 2 * x * y, a = -1.0925484305920792f * z;
        w[4] = 0.5462742152960396f * s2, w[5] = a * y, w[6] = 0.9461746957575601f * zz - 0.31539156525252005f, w[7] = a * x;
        w[8] = 0.5462742152960396f * c2;
        if constexpr (DEGREE >= 3) {
            float c3 = x * c2 - y * s2, s3 = x * s2 + y * c2, b = 1.445305721320277f * z;
            a = -2.2852289973223288f * zz + 0.4570457994644658f;
            w[9] = -0.5900435899266435f * s3, w[10] = b * s2, w[11] = a * y, w[12] = z * (1.8658816629505769f * zz - 1.1195289977703462f);
            w[13] = a * x, w[14] = b * c2, w[15] = -0.5900435899266435f * c3;
            if constexpr (DEGREE >= 4) {
                float c4 = x * c3 - y * s3, s4 = x * s3 + y * c3, c = -1.7701307697799304f * z;
                a = z * (-4.683325804901025f * zz + 2.007139630671868f), b = 3.3116114351514603f * zz - 0.47308734787878004f;
                w[16] = 0.6258357354491761f * s4, w[17] = c * s3, w[18] = b * s2, w[19] = a * y;
                w[20] = 1.9843134832984433f * z * w[12] - 1.0062305898749053f * w[6], w[21] = a * x, w[22] = b * c2, w[23] = c * c3;
                w[24] = 0.6258357354491761f * c4;
            }
        }
    }
}

template <int DEGREE>
__device__ __forceinline__ void colour(const float* __restrict__ sh, float x, float y, float z, Splat& s) {
    constexpr int K = (DEGREE + 1) * (DEGREE + 1), VALUES = 3 * K;
    float w[K], c[VALUES], sum[3] = {0.5f, 0.5f, 0.5f};
    if constexpr (VALUES % 4 == 0) {  // rows are then multiples of 16 bytes
        for (int i = 0; i < VALUES / 4; i++) {
            float4 four = load_once((const float4*)sh + i);
            c[4 * i] = four.x, c[4 * i + 1] = four.y, c[4 * i + 2] = four.z, c[4 * i + 3] = four.w;
        }
    } else {
        for (int i = 0; i < VALUES; i++) c[i] = __ldg(sh + i);
    }
    harmonics<DEGREE>(x, y, z, w);
    for (int k = 0; k < K; k++)
        for (int i = 0; i < 3; i++) sum[i] += w[k] * c[3 * k + i];
    // 60,000 is near the largest half
    s.red = clamped(sum[0], 0.f, 6e4f), s.green = clamped(sum[1], 0.f, 6e4f), s.blue = clamped(sum[2], 0.f, 6e4f);
}

struct Limits {
    int width, height, antialiased;
    float near, far, radius_clip;
};

// Everything of a splat but its colour; false where it is not seen. PyTorch twin: _gaussian and project_splats in recon/render_projection.py.
__device__ __forceinline__ bool project_shape(const View& v, const Limits& limits, float3 mean, float4 quat, float3 scale, float opacity, Splat& s) {
    float x = v.W[0] * mean.x + v.W[1] * mean.y + v.W[2] * mean.z + v.t[0];
    float y = v.W[3] * mean.x + v.W[4] * mean.y + v.W[5] * mean.z + v.t[1];
    float z = v.W[6] * mean.x + v.W[7] * mean.y + v.W[8] * mean.z + v.t[2];
    if (!(z >= limits.near && z <= limits.far) || opacity < 1.f / 255.f) return false;
    float width = (float)limits.width, height = (float)limits.height, iz = 1.f / z, ifx = 1.f / v.fx, ify = 1.f / v.fy;
    float mx = FIELD_MARGIN * width * ifx, my = FIELD_MARGIN * height * ify;
    float a = clamped(x * iz, -v.cx * ifx - mx, (width - v.cx) * ifx + mx), b = clamped(y * iz, -v.cy * ify - my, (height - v.cy) * ify + my);
    float R[9], jx[3], jy[3], px[3], py[3];
    rotation(quat, R);
    float jz = -(v.fx * a + v.skew * b);
    for (int i = 0; i < 3; i++) {  // rows of the projection's slope times the world's axes
        jx[i] = iz * (v.fx * v.W[i] + v.skew * v.W[3 + i] + jz * v.W[6 + i]);
        jy[i] = iz * v.fy * (v.W[3 + i] - b * v.W[6 + i]);
    }
    float size[3] = {scale.x, scale.y, scale.z};
    for (int k = 0; k < 3; k++) {
        px[k] = size[k] * (jx[0] * R[k] + jx[1] * R[3 + k] + jx[2] * R[6 + k]);
        py[k] = size[k] * (jy[0] * R[k] + jy[1] * R[3 + k] + jy[2] * R[6 + k]);
    }
    float cx = px[1] * py[2] - px[2] * py[1], cy = px[2] * py[0] - px[0] * py[2], cz = px[0] * py[1] - px[1] * py[0];
    float det = cx * cx + cy * cy + cz * cz;  // of the covariance; xx * yy - xy^2 cancels for needles
    float xx = px[0] * px[0] + px[1] * px[1] + px[2] * px[2], yy = py[0] * py[0] + py[1] * py[1] + py[2] * py[2];
    float xy = px[0] * py[0] + px[1] * py[1] + px[2] * py[2];
    float wide = det + DILATION * (xx + yy) + DILATION * DILATION;
    xx += DILATION, yy += DILATION;
    if (limits.antialiased) opacity *= sqrtf(det / wide);
    if (opacity < 1.f / 255.f || !(wide < 3e38f)) return false;
    s.lo = fminf(log2f(opacity), 0.f);
    float extent = sqrtf(fmaxf(s.lo - LOG2_MIN_ALPHA, 0.f)) / SQRT_HALF_LOG2_E;
    float rx = ceilf(extent * sqrtf(xx)), ry = ceilf(extent * sqrtf(yy));
    if (rx <= limits.radius_clip && ry <= limits.radius_clip) return false;
    s.x = (v.fx * x + v.skew * y) * iz + v.cx, s.y = v.fy * y * iz + v.cy, s.z = z;
    if (s.x + rx <= 0 || s.x - rx >= width || s.y + ry <= 0 || s.y - ry >= height) return false;
    float root = sqrtf(yy), spread = sqrtf(wide);
    s.la = SQRT_HALF_LOG2_E * root / spread, s.lb = -SQRT_HALF_LOG2_E * xy / (spread * root), s.lc = SQRT_HALF_LOG2_E / root;
    return true;
}

template <int DEGREE>
__device__ __forceinline__ void project(
    const float* __restrict__ means, const float4* __restrict__ quats, const float* __restrict__ scales, const float* __restrict__ opacities,
    const float* __restrict__ sh, int count, const float* __restrict__ K, const float* __restrict__ T, Limits limits, uint4* records,
    unsigned* keys, unsigned* visible) {
    int i = blockIdx.x * BLOCK + threadIdx.x;
    bool seen = false;
    if (i < count) {
        View v = view_of(K, T);
        float3 mean = make_float3(means[3 * i], means[3 * i + 1], means[3 * i + 2]);
        float3 scale = make_float3(scales[3 * i], scales[3 * i + 1], scales[3 * i + 2]);
        Splat s;
        seen = project_shape(v, limits, mean, quats[i], scale, opacities[i], s);
        if (seen) {
            float x = mean.x - v.eye[0], y = mean.y - v.eye[1], z = mean.z - v.eye[2], n = rsqrtf(x * x + y * y + z * z);
            colour<DEGREE>(sh + (size_t)i * (3 * (DEGREE + 1) * (DEGREE + 1)), x * n, y * n, z * n, s);
            uint4 a, b;
            pack(s, a, b);
            records[2 * (size_t)i] = a, records[2 * (size_t)i + 1] = b;
        }
        keys[i] = seen ? __float_as_uint(s.z) : CULLED;  // z > 0, so its bits order as it does
    }
    int seen_here = __syncthreads_count(seen);
    if (threadIdx.x == 0 && seen_here) atomicAdd(visible, (unsigned)seen_here);
}

#define PROJECT(DEGREE)                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(BLOCK) project_##DEGREE(                                                                  \
        const float* means, const float4* quats, const float* scales, const float* opacities, const float* sh, int count, const float* K,  \
        const float* T, int width, int height, int antialiased, float near, float far, float radius_clip, uint4* records, unsigned* keys,  \
        unsigned* visible) {                                                                                                               \
        project<DEGREE>(means, quats, scales, opacities, sh, count, K, T, Limits{width, height, antialiased, near, far, radius_clip},      \
                        records, keys, visible);                                                                                           \
    }
PROJECT(0)
PROJECT(1)
PROJECT(2)
PROJECT(3)
PROJECT(4)

// The unit normal of each Gaussian (its shortest axis) towards the camera, in world axes.
extern "C" __global__ void __launch_bounds__(BLOCK) normals(
    const float* __restrict__ means, const float4* __restrict__ quats, const float* __restrict__ scales, int count, const float* __restrict__ T,
    float* out) {
    int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= count) return;
    float R[9];
    rotation(quats[i], R);
    float sx = scales[3 * i], sy = scales[3 * i + 1], sz = scales[3 * i + 2];
    int axis = sx <= sy && sx <= sz ? 0 : sy <= sz ? 1 : 2;
    float x = axis == 0 ? R[0] : axis == 1 ? R[1] : R[2], y = axis == 0 ? R[3] : axis == 1 ? R[4] : R[5], z = axis == 0 ? R[6] : axis == 1 ? R[7] : R[8];
    float away = x * (means[3 * i] - T[3]) + y * (means[3 * i + 1] - T[7]) + z * (means[3 * i + 2] - T[11]);
    float sign = away > 0 ? -1.f : 1.f;
    out[3 * i] = sign * x, out[3 * i + 1] = sign * y, out[3 * i + 2] = sign * z;
}
