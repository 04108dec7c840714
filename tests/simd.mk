check_PROGRAMS += tests/test_formats
tests_test_formats_SOURCES = tests/test_formats.c
tests_test_formats_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_formats_LDADD = $(TEST_LIBS)

check_PROGRAMS += tests/check_kernels
tests_check_kernels_SOURCES = tests/check_kernels.h tests/check_kernels.c tests/check_linear.c \
  tests/check_attention.c tests/check_vectors.c tests/check_bench.c
tests_check_kernels_LDADD = libsimd.la libbase.la
