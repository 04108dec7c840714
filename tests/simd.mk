check_PROGRAMS += tests/test_formats tests/test_quantizers
tests_test_formats_SOURCES = tests/test_formats.c
tests_test_formats_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_formats_LDADD = $(TEST_LIBS)
tests_test_quantizers_SOURCES = tests/test_quantizers.c
tests_test_quantizers_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_quantizers_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/check_kernels
KERNEL_CHECKS = tests/check_kernels.h tests/check_kernels.c tests/check_linear.c \
  tests/check_attention.c tests/check_vectors.c tests/check_elementwise.c tests/check_recurrent.c
tests_check_kernels_SOURCES = tests/check_main.c $(KERNEL_CHECKS)
tests_check_kernels_LDADD = libsimd.la libbase.la

noinst_PROGRAMS += bench/bench_kernels
bench_bench_kernels_SOURCES = bench/bench_kernels.c $(KERNEL_CHECKS)
bench_bench_kernels_LDADD = libsimd.la libbase.la
