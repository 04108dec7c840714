check_PROGRAMS += tests/test_quantize
tests_test_quantize_SOURCES = tests/test_quantize.c $(PROGRAM_TEST) $(GGUF_BUILDER)
tests_test_quantize_CFLAGS = $(AM_CFLAGS) $(CRITERION_CFLAGS)
tests_test_quantize_LDADD = $(TEST_LIBS)
