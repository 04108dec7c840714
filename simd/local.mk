noinst_LTLIBRARIES += libsimd.la
libsimd_la_SOURCES = simd/formats.h simd/kernels.h simd/quant.def
