# One convenience library per instruction set, because each has its own flags.
noinst_LTLIBRARIES += libsimd.la libsimd_ref.la
libsimd_la_SOURCES = simd/quant.def simd/formats.h simd/formats.c simd/fp8.h simd/half.h simd/blocks.h simd/block_layouts.h \
  simd/fp_mode.c simd/fp_mode.h simd/kernels.h simd/linear.h simd/kernel_params.h simd/peak.h simd/inline.h simd/block_scales.h \
  simd/panels.h simd/panels.c simd/kv_layout.h simd/vec/kv_store_vec.h simd/vec/attention_tile_vec.h \
  simd/vec/attention_vec.h simd/vec/panels_vec.h simd/vec/math_vec.h simd/vec/vectors_vec.h \
  simd/vec/acts_vec.h simd/vec/recurrent_vec.h simd/acts.h \
  simd/cpu_features.c simd/dequantize.h simd/dequantize.c simd/quantize.h simd/quantize.c \
  simd/quantize_blocks.h simd/quantize_round.c simd/quantize_search.h simd/quantize_search.c \
  simd/quantize_small.c simd/quantize_k.c simd/quantize_grid.h simd/quantize_grid.c simd/quantize_iq.c \
  simd/grids.h simd/grids.c simd/grid_codes.h simd/grid_codes_iq1.h
libsimd_la_LIBADD = libsimd_ref.la

libsimd_ref_la_SOURCES = simd/ref/ref.h simd/ref/init_ref.c simd/ref/unpack_ref.c \
  simd/ref/unpack_small_ref.c simd/ref/unpack_grid_ref.c \
  simd/ref/linear_ref.c simd/ref/activation_ref.c simd/ref/attention_ref.c simd/ref/vector_ref.c \
  simd/ref/acts_ref.c simd/ref/recurrent_ref.c simd/ref/peak_ref.c

if HAVE_AVX2
noinst_LTLIBRARIES += libsimd_avx2.la
libsimd_avx2_la_SOURCES = simd/avx2/avx2.h simd/avx2/linears_avx2.h simd/avx2/vec_avx2.h simd/avx2/veci_avx2.h simd/avx2/init_avx2.c \
  simd/avx2/linear_avx2.c \
  simd/avx2/activation_avx2.c simd/avx2/attention_avx2.c simd/avx2/vectors_avx2.c simd/avx2/recurrent_avx2.c \
  simd/avx2/peak_avx2.c
libsimd_avx2_la_CFLAGS = $(AM_CFLAGS) $(NANO_AVX2_CFLAGS)
libsimd_la_LIBADD += libsimd_avx2.la
endif

if HAVE_AVXVNNI
noinst_LTLIBRARIES += libsimd_avxvnni.la
libsimd_avxvnni_la_SOURCES = simd/avxvnni/avxvnni.h simd/avxvnni/linears_avxvnni.h simd/avxvnni/init_avxvnni.c \
  simd/avxvnni/linear_avxvnni.c simd/avxvnni/peak_avxvnni.c
libsimd_avxvnni_la_CFLAGS = $(AM_CFLAGS) $(NANO_AVXVNNI_CFLAGS)
libsimd_la_LIBADD += libsimd_avxvnni.la
endif

if HAVE_AVX512
noinst_LTLIBRARIES += libsimd_avx512.la
libsimd_avx512_la_SOURCES = simd/avx512/avx512.h simd/avx512/linears_avx512.h simd/avx512/vec_avx512.h simd/avx512/veci_avx512.h simd/avx512/init_avx512.c \
  simd/avx512/linear_avx512.c simd/avx512/linear_amd_avx512.c \
  simd/avx512/activation_avx512.c simd/avx512/attention_avx512.c simd/avx512/vectors_avx512.c simd/avx512/recurrent_avx512.c \
  simd/avx512/peak_avx512.c
libsimd_avx512_la_CFLAGS = $(AM_CFLAGS) $(NANO_AVX512_CFLAGS)
libsimd_la_LIBADD += libsimd_avx512.la
endif

if HAVE_NEON
noinst_LTLIBRARIES += libsimd_neon.la
libsimd_neon_la_SOURCES = simd/neon/neon.h simd/neon/linears_neon.h simd/neon/vec_neon.h simd/neon/veci_neon.h \
  simd/neon/dots_neon.h simd/neon/init_neon.c simd/neon/linear_neon.c \
  simd/neon/activation_neon.c simd/neon/attention_neon.c simd/neon/vectors_neon.c simd/neon/recurrent_neon.c \
  simd/neon/peak_int8_neon.h simd/neon/peak_neon.c
libsimd_neon_la_CFLAGS = $(AM_CFLAGS) $(NANO_NEON_CFLAGS)
libsimd_la_LIBADD += libsimd_neon.la
endif

if HAVE_NEON_DOTPROD
noinst_LTLIBRARIES += libsimd_neon_dotprod.la
libsimd_neon_dotprod_la_SOURCES = simd/neon_dotprod/neon_dotprod.h simd/neon_dotprod/linears_neon_dotprod.h \
  simd/neon_dotprod/init_neon_dotprod.c simd/neon_dotprod/linear_neon_dotprod.c
libsimd_neon_dotprod_la_CFLAGS = $(AM_CFLAGS) $(NANO_NEON_DOTPROD_CFLAGS)
libsimd_la_LIBADD += libsimd_neon_dotprod.la
endif

if HAVE_NEON_I8MM
noinst_LTLIBRARIES += libsimd_neon_i8mm.la
libsimd_neon_i8mm_la_SOURCES = simd/neon_i8mm/neon_i8mm.h simd/neon_i8mm/linears_neon_i8mm.h \
  simd/neon_i8mm/init_neon_i8mm.c simd/neon_i8mm/linear_neon_i8mm.c
libsimd_neon_i8mm_la_CFLAGS = $(AM_CFLAGS) $(NANO_NEON_I8MM_CFLAGS)
libsimd_la_LIBADD += libsimd_neon_i8mm.la
endif
