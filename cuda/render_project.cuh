// One thread a Gaussian and camera: cull, project, colour; a record, perhaps a normal, and a depth key come out.
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

template <int DEGREE, bool PACKED>
__device__ __forceinline__ float3 colour(const Call& call, int count, int i, float x, float y, float z) {
    constexpr int K = (DEGREE + 1) * (DEGREE + 1);
    float w[K], c[3 * K], sum[3] = {0.5f, 0.5f, 0.5f};
    load_coefficients<DEGREE, PACKED>(call, count, i, c);
    harmonics<DEGREE>(x, y, z, w);
    for (int k = 0; k < K; k++)
        for (int j = 0; j < 3; j++) sum[j] += w[k] * c[3 * k + j];
    return make_float3(sum[0], sum[1], sum[2]);
}

struct Limits {
    int width, height, antialiased;
    float near, far, radius_clip;
};

// Everything of a splat but its colour; false where it is not seen. PyTorch twin: _gaussian and project_splats in recon/render/projection.py.
__device__ __forceinline__ bool project_shape(const View& v, const Limits& limits, const Gaussian& g, Splat& s) {
    float3 mean = g.mean;
    float opacity = g.opacity;
    float x = v.W[0] * mean.x + v.W[1] * mean.y + v.W[2] * mean.z + v.t[0];
    float y = v.W[3] * mean.x + v.W[4] * mean.y + v.W[5] * mean.z + v.t[1];
    float z = v.W[6] * mean.x + v.W[7] * mean.y + v.W[8] * mean.z + v.t[2];
    if (!(z >= limits.near && z <= limits.far) || opacity < 1.f / 255.f) return false;
    float width = (float)limits.width, height = (float)limits.height, iz = 1.f / z, ifx = 1.f / v.fx, ify = 1.f / v.fy;
    float mx = FIELD_MARGIN * width * ifx, my = FIELD_MARGIN * height * ify;
    float a = clamped(x * iz, -v.cx * ifx - mx, (width - v.cx) * ifx + mx), b = clamped(y * iz, -v.cy * ify - my, (height - v.cy) * ify + my);
    float R[9], jx[3], jy[3], px[3], py[3];
    rotation(g.quat, R);
    float jz = -(v.fx * a + v.skew * b);
    for (int i = 0; i < 3; i++) {  // rows of the projection's slope times the world's axes
        jx[i] = iz * (v.fx * v.W[i] + v.skew * v.W[3 + i] + jz * v.W[6 + i]);
        jy[i] = iz * v.fy * (v.W[3 + i] - b * v.W[6 + i]);
    }
    float size[3] = {g.scale.x, g.scale.y, g.scale.z};
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

// A surfel: the matrix m from (u, v, 1) in its plane, in standard deviations, to the screen's x, y, w; z is m[8].
struct Surfel {
    float m[9], lo, red, green, blue;
    Box box;
};

// PyTorch twin: _surfel in recon/render/projection.py.
__device__ __forceinline__ bool project_shape(const View& v, const Limits& limits, const Gaussian& g, Surfel& s) {
    float x = v.W[0] * g.mean.x + v.W[1] * g.mean.y + v.W[2] * g.mean.z + v.t[0];
    float y = v.W[3] * g.mean.x + v.W[4] * g.mean.y + v.W[5] * g.mean.z + v.t[1];
    float z = v.W[6] * g.mean.x + v.W[7] * g.mean.y + v.W[8] * g.mean.z + v.t[2];
    if (!(z >= limits.near && z <= limits.far) || g.opacity < 1.f / 255.f) return false;
    float R[9], size[2] = {g.scale.x, g.scale.y};
    rotation(g.quat, R);
    for (int k = 0; k < 3; k++) {  // the plane's two axes and its centre in camera axes, then on the screen
        float a = x, b = y, c = z;
        if (k < 2) {
            a = size[k] * (v.W[0] * R[k] + v.W[1] * R[3 + k] + v.W[2] * R[6 + k]);
            b = size[k] * (v.W[3] * R[k] + v.W[4] * R[3 + k] + v.W[5] * R[6 + k]);
            c = size[k] * (v.W[6] * R[k] + v.W[7] * R[3 + k] + v.W[8] * R[6 + k]);
        }
        s.m[k] = v.fx * a + v.skew * b + v.cx * c, s.m[3 + k] = v.fy * b + v.cy * c, s.m[6 + k] = c;
    }
    s.lo = fminf(log2f(g.opacity), 0.f);
    float reach = fmaxf(s.lo - LOG2_MIN_ALPHA, 0.f) * (2.f / LOG2_E), filtered = sqrtf(reach * (1.f / SURFEL_FILTER));
    float limit[2] = {(float)limits.width, (float)limits.height}, low[2], high[2];
    float distance = reach * (s.m[6] * s.m[6] + s.m[7] * s.m[7]) - s.m[8] * s.m[8];
    for (int k = 0; k < 2; k++) {
        const float* row = s.m + 3 * k;
        float centre = row[2] / s.m[8], middle = (reach * (row[0] * s.m[6] + row[1] * s.m[7]) - row[2] * s.m[8]) / distance;
        float half = sqrtf(fmaxf(middle * middle - (reach * (row[0] * row[0] + row[1] * row[1]) - row[2] * row[2]) / distance, 0.f));
        low[k] = distance >= 0.f ? 0.f : fminf(middle - half, centre - filtered);  // reaches behind the camera: anywhere on the screen
        high[k] = distance >= 0.f ? limit[k] : fmaxf(middle + half, centre + filtered);
        if (!(high[k] > 0.f && low[k] < limit[k])) return false;
    }
    if (ceilf((high[0] - low[0]) * 0.5f) <= limits.radius_clip && ceilf((high[1] - low[1]) * 0.5f) <= limits.radius_clip) return false;
    s.box = Box{low[0], low[1], high[0], high[1]};
    return true;
}

__device__ __forceinline__ float depth_of(const Splat& s) {
    return s.z;
}

__device__ __forceinline__ float depth_of(const Surfel& s) {
    return s.m[8];
}

__device__ __forceinline__ void store(const Splat& s, uint4* records, size_t r) {
    pack(s, records[2 * r], records[2 * r + 1]);
}

__device__ __forceinline__ void store(const Surfel& s, uint4* records, size_t r) {
    unsigned w[16];
    for (int k = 0; k < 9; k++) w[k] = __float_as_uint(s.m[k]);
    w[9] = __float_as_uint(s.lo), w[10] = pack_halves(s.red, s.green), w[11] = half_bits(s.blue);
    w[12] = __float_as_uint(s.box.left), w[13] = __float_as_uint(s.box.top), w[14] = __float_as_uint(s.box.right), w[15] = __float_as_uint(s.box.bottom);
    for (int k = 0; k < 4; k++) records[4 * r + k] = make_uint4(w[4 * k], w[4 * k + 1], w[4 * k + 2], w[4 * k + 3]);
}

// The unit normal (a Gaussian's shortest axis, a surfel's third) towards the camera, in world axes and 32 bits; x, y, z: from the camera.
template <bool SURFEL>
__device__ __forceinline__ unsigned normal_of(const Gaussian& g, float x, float y, float z) {
    float R[9];
    rotation(g.quat, R);
    int axis = SURFEL ? 2 : g.scale.x <= g.scale.y && g.scale.x <= g.scale.z ? 0 : g.scale.y <= g.scale.z ? 1 : 2;
    float nx = axis == 0 ? R[0] : axis == 1 ? R[1] : R[2], ny = axis == 0 ? R[3] : axis == 1 ? R[4] : R[5], nz = axis == 0 ? R[6] : axis == 1 ? R[7] : R[8];
    float sign = nx * x + ny * y + nz * z > 0 ? -1.f : 1.f;
    return pack_normal(sign * nx, sign * ny, sign * nz);
}

// Block b looks at Gaussians of chunk b / views for view b % views, so that all cameras read a chunk while it is in the cache.
template <int DEGREE, bool PACKED, class Shape>
__device__ __forceinline__ void project(
    const Call* call, int count, int views, int first_view, int width, int height, int antialiased, uint4* records, unsigned* normals,
    unsigned* keys, Status* status) {
    struct Shared {
        unsigned low[WARPS], high[WARPS];
    };
    SHARED(Shared, s);
    const Call& c = *call;
    int view = blockIdx.x % views, i = (blockIdx.x / views) * BLOCK + threadIdx.x;
    const float *K = c.K + 9 * (first_view + view), *T = c.T + 16 * (first_view + view);
    bool seen = false;
    unsigned key = CULLED, wrong = 0;
    if (i < count) {
        View v = view_of(K, T);
        Gaussian g = load_gaussian<PACKED>(c, count, i);
        if (!PACKED && suspect(g)) wrong = WRONG_GAUSSIANS;
        if (i == 0 && suspect_camera(K, T)) wrong |= WRONG_CAMERAS;
        Shape shape;
        size_t r = (size_t)view * count + i;
        seen = project_shape(v, Limits{width, height, antialiased, c.near, c.far, c.radius_clip}, g, shape);
        if (seen) {
            float x = g.mean.x - v.eye[0], y = g.mean.y - v.eye[1], z = g.mean.z - v.eye[2], n = rsqrtf(x * x + y * y + z * z);
            float3 rgb = colour<DEGREE, PACKED>(c, count, i, x * n, y * n, z * n);
            if (!(fabsf(rgb.x) + fabsf(rgb.y) + fabsf(rgb.z) < INFINITY)) wrong |= WRONG_GAUSSIANS;
            // 60,000 is near the largest half
            shape.red = clamped(rgb.x, 0.f, 6e4f), shape.green = clamped(rgb.y, 0.f, 6e4f), shape.blue = clamped(rgb.z, 0.f, 6e4f);
            store(shape, records, r);
            if (normals) normals[r] = normal_of<sizeof(Shape) != sizeof(Splat)>(g, x, y, z);
            key = __float_as_uint(depth_of(shape));  // z > 0, so its bits order as it does
        }
        keys[r] = key;
    }
    if (wrong) atomicOr(&status->flags, wrong);
    unsigned low = warp_max(seen ? ~key : 0), high = warp_max(seen ? key : 0);
    if (threadIdx.x % 32 == 0) s.low[threadIdx.x / 32] = low, s.high[threadIdx.x / 32] = high;
    int seen_here = __syncthreads_count(seen);
    if (threadIdx.x == 0 && seen_here) {
        for (int w = 1; w < WARPS; w++) low = max(low, s.low[w]), high = max(high, s.high[w]);
        atomicAdd(&status->visible, (unsigned)seen_here);
        if (low > *(volatile unsigned*)&status->low) atomicMax(&status->low, low);  // after the first blocks there is seldom more to say
        if (high > *(volatile unsigned*)&status->high) atomicMax(&status->high, high);
    }
}

#define PROJECT(NAME, DEGREE, PACKED, SHAPE)                                                                                               \
    extern "C" __global__ void __launch_bounds__(BLOCK) NAME(                                                                              \
        const Call* call, int count, int views, int first_view, int width, int height, int antialiased, uint4* records, unsigned* normals, \
        unsigned* keys, Status* status) {                                                                                                  \
        project<DEGREE, PACKED, SHAPE>(call, count, views, first_view, width, height, antialiased, records, normals, keys, status);        \
    }
#define PROJECT_DEGREE(DEGREE)                            \
    PROJECT(project_##DEGREE, DEGREE, false, Splat)       \
    PROJECT(project_packed_##DEGREE, DEGREE, true, Splat) \
    PROJECT(project_surfels_##DEGREE, DEGREE, false, Surfel)
PROJECT_DEGREE(0)
PROJECT_DEGREE(1)
PROJECT_DEGREE(2)
PROJECT_DEGREE(3)
PROJECT_DEGREE(4)
