// What the prelude of the generated text writes as inline PTX, and built-ins of CUDA that the shim lacks.
#pragma once

static void ganc_begin() {} // kernels run one after the other here

static float ganc_from_f16(unsigned short h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  const float sign = h >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? __uint_as_float(0x7fffffffu) : sign * INFINITY;
  return sign * (exponent ? ldexpf(1024 + fraction, exponent - 25) : ldexpf(fraction, -24));
}
static unsigned short ganc_to_f16(float v) {
  const unsigned sign = __float_as_uint(v) >> 16 & 0x8000u;
  const float a = fabsf(v);
  if (v != v) return 0x7fff;
  if (a >= 65520.0f) return sign | 0x7c00;
  if (a < 0x1p-14f) return sign | (unsigned)rintf(a * 0x1p24f);
  unsigned u = __float_as_uint(a);
  u += 0xfff + (u >> 13 & 1);
  return sign | ((u >> 13) - (112 << 10));
}
static float ganc_from_bf16(unsigned short h) { return shim_bf16_f32(h); }
static unsigned short ganc_to_bf16(float v) { return shim_f32_bf16(v); }
static float ganc_larger(float a, float b) { return a != a ? a : b != b ? b : a > b ? a : b; }
static float ganc_smaller(float a, float b) { return a != a ? a : b != b ? b : a < b ? a : b; }
static void sincospif(float x, float* s, float* c) {
  *s = (float)sin(x * 3.14159265358979323846);
  *c = (float)cos(x * 3.14159265358979323846);
}
static unsigned __float2uint_rz(float x) { return x >= 4294967296.0f ? 0xffffffffu : x > 0.0f ? (unsigned)x : 0u; }
static float ganc_as_tf32(float v) {
  const unsigned u = __float_as_uint(v);
  return (u & 0x7f800000u) == 0x7f800000u ? v : __uint_as_float((u + 0x1000u) & 0xffffe000u);
}
