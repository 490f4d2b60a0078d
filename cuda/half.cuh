// Half floats without NVIDIA's headers, which NVRTC would have to find; tests/host_cuda.h has the same two functions.
#pragma once
#ifndef HOST_CUDA
__device__ __forceinline__ unsigned short half_bits(float value) {
    unsigned short bits;
    asm("{.reg .f16 h; cvt.rn.f16.f32 h, %1; mov.b16 %0, h;}" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ __forceinline__ float half_value(unsigned bits) {
    float value;
    asm("{.reg .f16 h; mov.b16 h, %1; cvt.f32.f16 %0, h;}" : "=f"(value) : "h"((unsigned short)bits));
    return value;
}
#endif
