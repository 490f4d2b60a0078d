// The inference renderer: project -> sort by depth -> expand to (tile, splat) pairs -> sort by tile -> blend. Driven by recon/render/cuda_draw.py.
// Compiled by NVRTC; tests/render/test_cuda_host.py compiles the same text for the host with HOST_CUDA, which then supplies the few functions below.
#ifndef HOST_CUDA
#define SHARED(TYPE, NAME) __shared__ TYPE NAME
#define INFINITY __int_as_float(0x7f800000)

__device__ __forceinline__ float power_of_two(float x) {
    float value;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
    return value;
}

__device__ __forceinline__ float root(float x) {
    float value;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
    return value;
}

__device__ __forceinline__ float inverse(float x) {
    float value;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
    return value;
}

// Data that is read once: do not keep it in L2 at the cost of what is read again.
__device__ __forceinline__ float4 load_once(const float4* p) {
    return __ldcs(p);
}

// A word that other blocks wait for, flag and value in one, so that no fence is needed.
template <class T>
__device__ __forceinline__ void publish(T* p, T word) {
    *(volatile T*)p = word;
}

template <class T>
__device__ __forceinline__ T await(T* p) {
    T word;
    while (!(word = *(volatile T*)p));
    return word;
}
#endif

#include "half.cuh"

#include "render_common.cuh"

#include "render_source.cuh"

#include "render_project.cuh"

#include "render_sort.cuh"

#include "render_tiles.cuh"

#include "render_blend.cuh"
